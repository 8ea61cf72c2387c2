"""Care for a node: what it is like, the environments and files it needs, the services kept running there."""
