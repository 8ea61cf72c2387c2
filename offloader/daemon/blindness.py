"""Telling administrators that Prometheus is out of reach: the one trouble that no alert of its can tell of."""

from __future__ import annotations

import logging
from typing import Protocol

from offloader.daemon.controller import View
from offloader.daemon.toggles import Settings
from offloader.errors import JournalError
from offloader.model import Reason
from offloader.notify.alarm import Alarm, AlarmKind

__all__ = ["BlindWatch"]

log = logging.getLogger(__name__)

SETTING = "prometheus_unreachable"
_AGAIN_S = 3600.0
"""While it lasts it is told again, in case the command failed or nobody read it."""


class _Post(Protocol):
    def offer(self, alarm: Alarm) -> None:
        """Take it at once."""


class BlindWatch:
    """Listens to the controller. When it began, and when it was last told, outlive a restart."""

    def __init__(self, settings: Settings, post: _Post) -> None:
        self._settings = settings
        self._post = post
        stored = settings.setting(SETTING) or {}
        self._since_t: float | None = stored.get("since_t")
        self._told_t: float | None = stored.get("told_t")

    def ticked(self, view: View) -> None:
        """Called with every view. Nothing here waits for the command."""
        now, detail = view.snapshot.now, _unreachable(view)
        if detail is None:
            if self._since_t is not None:
                self._over(view)
            return
        if self._since_t is None:
            self._since_t = now
            self._keep()
        again_t = self._told_t + _AGAIN_S if self._told_t is not None else 0.0
        if now - self._since_t >= view.setup.cluster.notify.admin_after_s and now >= again_t:
            self._tell(AlarmKind.UNREACHABLE, view, self._since_t, detail)
            self._told_t = now
            self._keep()

    def _over(self, view: View) -> None:
        assert self._since_t is not None
        if self._told_t is not None:
            self._tell(AlarmKind.BACK, view, self._since_t, "")
        self._since_t = self._told_t = None
        self._keep()

    def _tell(self, kind: AlarmKind, view: View, since_t: float, detail: str) -> None:
        cluster = view.setup.cluster
        now, url = view.snapshot.now, cluster.prometheus.url
        self._post.offer(Alarm(kind, now, since_t, cluster.name, view.setup.policy.head, url, detail))

    def _keep(self) -> None:
        document = {"since_t": self._since_t, "told_t": self._told_t}
        try:
            self._settings.set_setting(SETTING, document)
        except JournalError as error:
            log.warning("that Prometheus is out of reach is not kept", extra={"error": error})


def _unreachable(view: View) -> str | None:
    """What the queries say when none of them was answered; None: one was, or there is none."""
    readings = tuple(view.snapshot.values.values())
    if not readings or any(one.problem is not Reason.QUERY_FAILED for one in readings):
        return None
    return readings[0].detail
