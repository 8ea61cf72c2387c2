"""grid-exporter: tells Prometheus how loaded a node is, and by which processes."""

from importlib import metadata

try:
    __version__ = metadata.version("grid-offloader")
except metadata.PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "unknown"
