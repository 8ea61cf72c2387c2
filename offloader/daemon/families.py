"""Gauges that are read off when somebody asks, as metric_table declares them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily

from offloader.daemon.metric_table import METRICS, PREFIX, Declared

__all__ = ["Sample", "family", "gauge"]

Sample = tuple[Sequence[str], float | None]
"""The values of its labels in their declared order, and its value; None: there is none, and the sample is left out."""


def gauge(name: str, samples: Iterable[Sample]) -> GaugeMetricFamily:
    """One of the controller's own gauges, named without their common prefix."""
    return family(METRICS[PREFIX + name], samples)


def family(declared: Declared, samples: Iterable[Sample]) -> GaugeMetricFamily:
    """Any declared gauge."""
    made = GaugeMetricFamily(declared.name, declared.help, labels=declared.labels)
    for values, value in samples:
        if value is not None:
            made.add_metric(values, value)
    return made
