"""The story as a running controller tells it: its last view, its switches, its own troubles."""

from __future__ import annotations

import os

from offloader.daemon.controller import Controller
from offloader.daemon.mending import Place
from offloader.daemon.problems import Trouble
from offloader.daemon.story import Running, Story, story
from offloader.model import Obstacle, Reason

__all__ = ["held_back", "serving_story"]


def serving_story(controller: Controller, trouble: Trouble, now: float, *, private: bool) -> Story:
    """What `status` and `why` say of the present (story.story)."""
    parts, setup = controller.parts, controller.setup
    degraded = "the disk of the state directory is full" if parts.store.degraded else None
    running = Running(trouble.beat, setup.tick_interval_s, controller.journal_error or degraded)
    return story(
        controller.view,
        parts.switches.read(),
        running.link(now, looked=controller.view is not None),
        Place(setup, parts.switches.unlock, os.getpid()),
        held_back(parts.records_only),
        private=private,
    )


def held_back(records_only: str | None) -> Obstacle | None:
    """Why decisions are only written down, if they are."""
    if records_only is None:
        return None
    seen = f"this controller moves nothing, it only records: {records_only}"
    return Obstacle(Reason.DISABLED, seen, "mend that, then start the controller again (`grid-offloader serve`)")
