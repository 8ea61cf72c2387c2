"""The controller: assembly, tick loop, API and self-metrics."""
