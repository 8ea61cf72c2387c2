"""What goes wrong after hand-offs, as people meet it: an event, a number for alerts, a problem in `status`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from offloader.daemon.decisions import DecisionLog
from offloader.daemon.quarantine import Quarantine
from offloader.errors import JournalError
from offloader.jobs.events import EventKind
from offloader.jobs.store import Store
from offloader.moves.incidents import Incident, IncidentKind

__all__ = ["RECENT_S", "IncidentLog"]

log = logging.getLogger(__name__)

SETTING = "incidents"
RECENT_S = 3600.0
"""For so long an incident is a problem in `status` and counts for alerts."""

_KEPT = 100
_TROUBLE = frozenset({IncidentKind.LOST, IncidentKind.FAILED_EARLY, IncidentKind.RESPAWNED})


class IncidentLog:
    """Implements what `moves.tools.Tools.on_incident` is given. Those of the last hour outlive a restart."""

    def __init__(
        self,
        store: Store,
        decisions: DecisionLog,
        quarantine: Quarantine,
        now: Callable[[], float],
        quarantine_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._decisions = decisions
        self._quarantine = quarantine
        self._now = now
        self._quarantine_s = quarantine_s
        self._recent: list[dict[str, Any]] = list(store.setting(SETTING) or ())

    def __call__(self, incident: Incident) -> None:
        """Never raises: what happened has happened."""
        now = self._now()
        data = {"incident": incident.kind.value, "job": incident.job, "quarantined": incident.quarantine}
        self._decisions.told(EventKind.JOB, incident.move, incident.detail, now, data=data)
        if incident.quarantine is not None:
            self._quarantine.add(incident.quarantine, incident.detail, now=now, for_s=self._quarantine_s())
        entry = {"t": now, "kind": incident.kind.value, "move": incident.move, "detail": incident.detail}
        self._recent = [*self.recent(), entry][-_KEPT:]
        try:
            self._store.set_setting(SETTING, self._recent)
        except JournalError as error:
            log.warning("incident not kept", extra={"error": error})

    def recent(self) -> list[dict[str, Any]]:
        """Those of the last hour, oldest first: t, kind, move, detail."""
        return [one for one in self._recent if one["t"] > self._now() - RECENT_S]

    def counts(self) -> dict[str, int]:
        """How many of the last hour, by kind; every kind has its number."""
        seen = [one["kind"] for one in self.recent()]
        return {kind.value: seen.count(kind.value) for kind in IncidentKind}

    def troubles(self) -> list[dict[str, Any]]:
        """Those of the last hour that somebody should look at, the newest first."""
        return [one for one in reversed(self.recent()) if one["kind"] in _TROUBLE]
