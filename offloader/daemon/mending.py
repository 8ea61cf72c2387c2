"""The exact command that mends a broken link here: with this installation's addresses, files and process ids.

engine.remedies says what would mend a reason anywhere. Nothing here asks anybody: a command that shows what is wrong
(does Prometheus answer?) is the first thing that a person types anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from shlex import join

from offloader.config.targets import exporter_target
from offloader.daemon.setup import Setup
from offloader.engine.explain import Link, Status
from offloader.model import Decision, Reason

__all__ = ["Place", "mended"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where commands act. `unlock` takes the kill-switch away; `pid` is the controller's, None: none runs."""

    setup: Setup
    unlock: str
    pid: int | None = None

    @property
    def prometheus(self) -> str:
        """Shows whether Prometheus answers."""
        return join(["curl", "-fsS", f"{self.setup.cluster.prometheus.url.rstrip('/')}/-/ready"])

    @property
    def exporter(self) -> str:
        """Shows whether the head's exporter answers."""
        return join(["curl", "-fsS", f"http://{exporter_target(self.setup.cluster.head)}/metrics"])

    @property
    def reload(self) -> str:
        """Has the controller read its files again."""
        return f"kill -HUP {self.pid}" if self.pid is not None else ""


_Mending = Callable[[Place, Decision | None], tuple[str, str]]
"""What to do in a sentence, and the command."""


def mended(link: Link, place: Place, decision: Decision | None) -> Link:
    """The link with what mends it here; a link that is not broken, or needs no more than time, as it is."""
    if link.status is not Status.BROKEN or link.reason not in _MENDING:
        return link
    remedy, command = _MENDING[link.reason](place, decision)
    return replace(link, remedy=remedy, command=command or None)


def _prometheus(place: Place, _: Decision | None) -> tuple[str, str]:
    return "see whether Prometheus answers; if not, start it", place.prometheus


def _exporter(place: Place, _: Decision | None) -> tuple[str, str]:
    head, url = place.setup.policy.head, place.setup.cluster.prometheus.url.rstrip("/")
    first = f"see whether the exporter of {head} answers; if not, start it"
    return f"{first}; if it does, {url}/targets says what Prometheus makes of it", place.exporter


def _rules(place: Place, _: Decision | None) -> tuple[str, str]:
    return "correct the rule's `expr` so that it gives one number per node", join(
        ["grid-offloader", "rules", "check", "--config", str(place.setup.file)]
    )


def _kill_switch(place: Place, _: Decision | None) -> tuple[str, str]:
    return "when the reason for it is gone, take the kill-switch away", place.unlock


def _budget(key: str) -> _Mending:
    def mending(place: Place, _: Decision | None) -> tuple[str, str]:
        return f"wait, or raise `budgets.{key}` in {place.setup.file} and have the controller read it", place.reload

    return mending


def _refused(place: Place, decision: Decision | None) -> tuple[str, str]:
    """The largest job that was looked at is the one that people ask about."""
    _ = place
    pid = next((pid for pid, _, _ in decision.considered), None) if decision is not None else None
    if pid is None:
        return "see what runs on the head", "grid-offloader scan --all"
    return (
        "see why the largest job is not moved (all of them: `grid-offloader scan --all`)",
        f"grid-offloader why {pid}",
    )


def _no_target(place: Place, decision: Decision | None) -> tuple[str, str]:
    _ = place
    homeless = decision.considered if decision is not None else ()
    pid = next((pid for pid, reason, _ in homeless if reason is Reason.NO_TARGET), None)
    command = f"grid-offloader why {pid}" if pid is not None else "grid-offloader status"
    return "free a worker or add one; see what each worker lacks", command


_MENDING: Mapping[Reason | None, _Mending] = {
    **dict.fromkeys((Reason.QUERY_FAILED, Reason.WARNINGS, Reason.RULE_UNKNOWN), _prometheus),
    **dict.fromkeys((Reason.NO_DATA, Reason.STALE, Reason.DOWN), _exporter),
    **dict.fromkeys((Reason.NOT_A_NUMBER, Reason.AMBIGUOUS), _rules),
    Reason.KILL_SWITCH: _kill_switch,
    Reason.BUDGET_HOUR: _budget("per_hour"),
    Reason.BUDGET_CLUSTER: _budget("in_flight"),
    Reason.NO_CANDIDATE: _refused,
    Reason.NO_TARGET: _no_target,
}
