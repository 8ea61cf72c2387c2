"""Writes samples down for Prometheus: the text format 0.0.4, or OpenMetrics 1.0 where it is asked for.

Sources: prometheus.io/docs/instrumenting/exposition_formats, prometheus.io/docs/specs/om/open_metrics_spec. The names
of series come rendered (`Metric.series`): of a process that goes on, they are made once and not at every scrape.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from exporter.metrics import Kind, Metric, Sample

__all__ = ["Family", "Format", "encode", "group", "negotiate"]


class Format(Enum):
    """An exposition format; its value is the content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with its samples."""

    metric: Metric
    samples: Sequence[Sample]


def group(metrics: Iterable[Metric], samples: Iterable[Sample]) -> list[Family]:
    """By metric, in the order of declaration; a metric without samples is left out. Raises ValueError for others."""
    grouped: dict[Metric, list[Sample]] = {metric: [] for metric in metrics}
    try:
        for sample in samples:
            grouped[sample.metric].append(sample)
    except KeyError as error:
        raise ValueError(f"{error.args[0].name} is none of the metrics that it declares") from None
    return [Family(metric, members) for metric, members in grouped.items() if members]


def encode(families: Iterable[Family], wanted: Format) -> bytes:
    """One document. What is no text (a lone surrogate in a label) becomes a question mark: it costs no scrape."""
    lines: list[str] = []
    for family in families:
        lines.append(_heading(family.metric, wanted))
        lines += [f"{series} {value!r}" for _, value, series in family.samples]
    if wanted is Format.OPENMETRICS:
        lines.append("# EOF")
    lines.append("")
    return "\n".join(lines).encode(errors="replace")


@lru_cache(maxsize=512)
def _heading(metric: Metric, wanted: Format) -> str:
    name, kind = metric.name, metric.kind.value
    if wanted is Format.OPENMETRICS:
        name = name.removesuffix("_total") if metric.kind is Kind.COUNTER else name
        name = name.removesuffix("_info") if metric.kind is Kind.INFO else name
    elif metric.kind is Kind.INFO:
        kind = Kind.GAUGE.value
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}"


@lru_cache(maxsize=64)
def negotiate(accept: str) -> Format:
    """The format for an Accept header (RFC 9110, 12.5.1): OpenMetrics only where it is named and not disliked more."""
    best = {Format.TEXT: -1.0, Format.OPENMETRICS: -1.0}
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        quality = _quality(parameters)
        if media == "application/openmetrics-text" and _version(parameters) in ("", "1.0.0"):
            best[Format.OPENMETRICS] = max(best[Format.OPENMETRICS], quality)
        elif media in ("text/plain", "text/*", "*/*"):
            best[Format.TEXT] = max(best[Format.TEXT], quality)
    openmetrics = best[Format.OPENMETRICS]
    return Format.OPENMETRICS if openmetrics > 0 and openmetrics >= best[Format.TEXT] else Format.TEXT


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _version(parameters: Iterable[str]) -> str:
    found = (parameter.partition("=") for parameter in parameters)
    return next((value.strip().strip('"') for name, _, value in found if name.strip() == "version"), "")
