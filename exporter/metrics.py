"""How metrics are declared: once, as data, so that exposition and docs/metrics.md cannot disagree.

A collector lists its `Metric`s and yields `Sample`s of them; the registry turns those into prometheus_client families.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import InfoMetricFamily
from prometheus_client.metrics_core import Metric as Family


class Kind(StrEnum):
    """Prometheus' metric types, as far as they are used here."""

    GAUGE = "gauge"
    COUNTER = "counter"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its full name as exposed (`_total`, `_info` included), what it means, and in which unit.

    `example` is PromQL that answers a question with it, for the reference.
    """

    name: str
    kind: Kind
    help: str
    unit: str
    labels: tuple[str, ...] = ()
    example: str = ""

    def sample(self, value: float, *labels: str) -> "Sample":
        """One value; `labels` in the order of `self.labels`."""
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} takes the labels {self.labels}, got {labels}")
        return Sample(self, float(value), labels)


class Sample(NamedTuple):
    """A value of a metric with its label values."""

    metric: Metric
    value: float
    labels: tuple[str, ...]


def label_text(text: str) -> str:
    """What a kernel string looks like as a label value: valid UTF-8 and without control characters.

    A command name may hold any byte but NUL (man 2 prctl, PR_SET_NAME).
    """
    if text.isprintable():
        return text
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in clean)


def families(metrics: Iterable[Metric], samples: Iterable[Sample]) -> list[Family]:
    """Group samples by metric, in the order of declaration; a metric without samples is left out."""
    grouped: dict[Metric, list[Sample]] = {metric: [] for metric in metrics}
    for sample in samples:
        grouped[sample.metric].append(sample)
    return [_family(metric, members) for metric, members in grouped.items() if members]


def _family(metric: Metric, samples: list[Sample]) -> Family:
    match metric.kind:
        case Kind.INFO:
            info = InfoMetricFamily(metric.name.removesuffix("_info"), metric.help)
            for sample in samples:
                info.add_metric([], dict(zip(metric.labels, sample.labels, strict=True)))
            return info
        case Kind.COUNTER:
            counter = CounterMetricFamily(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
            for sample in samples:
                counter.add_metric(sample.labels, sample.value)
            return counter
        case Kind.GAUGE:
            gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for sample in samples:
                gauge.add_metric(sample.labels, sample.value)
            return gauge
