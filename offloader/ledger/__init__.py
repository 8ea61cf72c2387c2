"""Who holds which capacity on which node: every reservation, allocation and move in flight, in one place."""
