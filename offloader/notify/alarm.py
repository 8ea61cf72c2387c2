"""What administrators are told by the controller itself: that Prometheus, hence every alert, is out of reach."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never

__all__ = ["Alarm", "AlarmKind"]


class AlarmKind(StrEnum):
    """What happened."""

    UNREACHABLE = "prometheus_unreachable"
    BACK = "prometheus_back"


@dataclass(frozen=True, slots=True)
class Alarm:
    """One message. Times are Unix seconds; `detail` is what the last query said."""

    kind: AlarmKind
    t: float
    since_t: float
    cluster: str
    head: str
    url: str
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `notify.admin`."""
        return {
            "version": 1,
            "kind": self.kind.value,
            "t": self.t,
            "since_t": self.since_t,
            "cluster": self.cluster,
            "head": self.head,
            "prometheus": self.url,
            "detail": self.detail,
            "lines": list(self._lines()),
        }

    def _lines(self) -> tuple[str, ...]:
        minutes = f"{(self.t - self.since_t) / 60:.0f} min"
        match self.kind:
            case AlarmKind.UNREACHABLE:
                return (
                    f"{self.cluster}: Prometheus at {self.url} has not answered {self.head} for {minutes}",
                    "nothing moves by itself, and no alert can tell anything else that goes wrong",
                    f"the last answer: {self.detail}",
                    "what to do: docs/alerting.md, Prometheus out of reach",
                )
            case AlarmKind.BACK:
                return (f"{self.cluster}: Prometheus at {self.url} answers again, after {minutes}",)
            case _:
                assert_never(self.kind)
