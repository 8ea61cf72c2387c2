"""What goes wrong after a hand-off, for whoever tells people: event log, metrics, quarantine, status."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Incident", "IncidentKind"]


class IncidentKind(StrEnum):
    """Each is an event; those in which nobody can help by waiting are alerts, too (rules/prometheus/alerts.yml)."""

    LOST = "lost"  # the job has ended without a word, and is not started again
    RELAUNCHED = "relaunched"  # it was started again: its node died, or it had failed soon after its restart
    FAILED_EARLY = "failed_early"  # it failed soon after it was started elsewhere: again at its source, quarantined
    OUT_OF_REACH = "out_of_reach"  # its node does not answer: it may run there, so it is not started again
    WITHIN_REACH = "within_reach"  # its node answers again
    NO_PLACE = "no_place"  # it is to be started again, and no worker can take it
    UNCOLLECTED = "uncollected"  # it has ended, and its results cannot be brought back yet
    CONFLICTS = "conflicts"  # files had changed at the source: its results lie beside them
    NOT_STARTED = "not_started"  # `run` accepted it, and no worker brought it to life
    RESPAWNED = "respawned"  # something at the source has started the original's command again


@dataclass(frozen=True, slots=True)
class Incident:
    """One of them. `detail` is shown to everybody: neither argv nor directories.

    `move`: what people type to mean it: its move's id, or the job's own where it never moved. `quarantine`: the name
    (user:comm) that no rule is to move for a while, if any.
    """

    kind: IncidentKind
    job: str
    move: str
    detail: str
    quarantine: str | None = None
