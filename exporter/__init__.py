"""grid-exporter: tells Prometheus how loaded a node is, and by which processes."""

__version__ = "0.1.0"
"""Of the whole distribution; pyproject.toml reads it here. importlib.metadata costs the exporter 2 MB."""
