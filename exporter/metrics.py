"""How metrics are declared: once, as data, so that exposition and docs/metrics.md cannot disagree.

A collector lists its `Metric`s and yields `Sample`s of them; `exporter.exposition` writes those down.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Prometheus' metric types, as far as they are used here."""

    GAUGE = "gauge"
    COUNTER = "counter"
    INFO = "info"


@dataclass(frozen=True, slots=True, eq=False)
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

    def series(self, *labels: str) -> str:
        """The metric's name with label values in the order of `self.labels`, as exposed. Raises ValueError."""
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} takes the labels {self.labels}, got {labels}")
        if not labels:
            return self.name
        pairs = sorted(f'{name}="{_escaped(value)}"' for name, value in zip(self.labels, labels, strict=True))
        return f"{self.name}{{{','.join(pairs)}}}"

    def sample(self, value: float, *labels: str) -> "Sample":
        """One value; `labels` in the order of `self.labels`."""
        return Sample(self, float(value), self.series(*labels))


class Sample(NamedTuple):
    """A value of a metric, and the series that it belongs to as exposed (`Metric.series`)."""

    metric: Metric
    value: float
    series: str


def label_text(text: str) -> str:
    """What a kernel string looks like as a label value: valid UTF-8 and without control characters.

    A command name may hold any byte but NUL (man 2 prctl, PR_SET_NAME).
    """
    if text.isprintable():
        return text
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in clean)


def _escaped(value: str) -> str:
    """Backslash, line feed and quote (Prometheus, exposition formats)."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
