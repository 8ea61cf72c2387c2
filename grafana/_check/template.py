"""Grafana's variables in queries, put in as Grafana does.

https://grafana.com/docs/grafana/latest/dashboards/variables/variable-syntax/ and, for those of its own,
https://grafana.com/docs/grafana/latest/dashboards/variables/add-template-variables/#global-variables
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

__all__ = ["Window", "filled", "own"]

PLACE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]|\$(\w+)")
DURATION = re.compile(r"(\d+)(ms|[smhd])")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
POINTS = 1000
SCRAPES = 4


@dataclass(frozen=True)
class Window:
    """The time that a dashboard shows, Unix seconds, how often Prometheus scrapes (s), and a panel's least step (s)."""

    start: float
    end: float
    scrape_s: float
    least_s: float = 0.0

    @property
    def step_s(self) -> float:
        """Between two points of a graph that is a thousand pixels wide, never less than a scrape."""
        return max(self.scrape_s, self.least_s, (self.end - self.start) / POINTS)

    def at_least(self, interval: str) -> "Window":
        """With a least step, as in 10s, 1m or 1h30m; the empty text: none. Raises ValueError for anything else."""
        parts = DURATION.findall(interval)
        if "".join(number + unit for number, unit in parts) != interval:
            raise ValueError(f"{interval!r} is no interval")
        return replace(self, least_s=sum(int(number) * SECONDS[unit] for number, unit in parts))


def own(window: Window) -> Mapping[str, str]:
    """Grafana's own variables."""
    step, length = window.step_s, window.end - window.start
    rate = max(step + window.scrape_s, SCRAPES * window.scrape_s)
    return {
        "__interval": _duration(step),
        "__interval_ms": f"{step * 1000:.0f}",
        "__rate_interval": _duration(rate),
        "__range": f"{length:.0f}s",
        "__range_s": f"{length:.0f}",
        "__range_ms": f"{length * 1000:.0f}",
        "__from": f"{window.start * 1000:.0f}",
        "__to": f"{window.end * 1000:.0f}",
    }


def filled(text: str, values: Mapping[str, Sequence[str]], window: Window) -> str:
    """With every variable's values in its place: one as it is, several as a regular expression.

    Raises:
        KeyError: a variable has no value.
    """
    known = {**{name: [value] for name, value in own(window).items()}, **values}

    def put(found: re.Match[str]) -> str:
        name = found[1] or found[3] or found[5]
        chosen = known[name]
        return chosen[0] if len(chosen) == 1 else f"({'|'.join(chosen)})"

    return PLACE.sub(put, text)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 1 or seconds % 1 else f"{seconds:.0f}s"
