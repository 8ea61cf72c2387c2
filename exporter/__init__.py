"""grid-exporter: tells Prometheus how loaded a node is, and by which processes."""
