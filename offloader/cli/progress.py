"""A move on its way, told on stderr state by state, and how it ended as an exit code."""

from __future__ import annotations

import asyncio
from typing import Any

from offloader.cli import render, screens
from offloader.client import Client
from offloader.errors import MoveFailed, OffloaderError

__all__ = ["watched"]

_MEANING = {
    "planned": "written down",
    "preflighted": "nothing in the way",
    "reserved": "room is kept on {target}",
    "queued": "asked for a place to run on {target}",
    "held": "successor ready on {target}, waiting",
    "frozen": "original frozen",
    "saved": "its files are recorded",
    "go": "successor launched",
    "proven": "successor runs well",
    "owning": "handing over",
    "owned": "successor owns the work",
    "ended": "original ended",
    "done": "done",
    "rolling_back": "turning back",
    "rolled_back": "rolled back: the original goes on",
    "lost": "LOST: neither side runs for certain",
}

_LIVE = {
    "saved": "its memory is at {target}",
    "go": "copy restored, not running yet",
    "proven": "copy complete",
    "owning": "handing over",
    "owned": "the copy owns the work",
    "ended": "original ended, the copy goes on",
}


async def watched(controller: Client, document: dict[str, Any]) -> tuple[dict[str, Any], OffloaderError | None]:
    """Follow a move to its end: its last document, and what went wrong."""
    try:
        final = await controller.wait(document["id"], changed=_Progress(document))
    except asyncio.CancelledError:
        render.say(f"{document['id']} goes on without you: grid-offloader status; to undo: cancel {document['id']}")
        raise
    except OffloaderError as error:
        return document, error
    if final["state"] == "done":
        return final, None
    why = ": ".join(part for part in (final["reason"], final["detail"]) if part)
    return final, MoveFailed(f"{final['id']} was {screens.state_words(final['state'])}: {why or 'see its log'}")


class _Progress:
    """Tells each new state on stderr."""

    def __init__(self, move: dict[str, Any]) -> None:
        self._began_t = move["created_t"]
        self._told: set[tuple[float, str]] = set()

    def __call__(self, document: dict[str, Any]) -> None:
        for step in document.get("timeline", ()):
            key = (step["t"], step["event"])
            if key not in self._told:
                self._told.add(key)
                meanings = {**_MEANING, **_LIVE} if document["strategy"] == "live" else _MEANING
                meaning = meanings.get(step["event"], step["event"]).format(target=document["target"])
                state = render.style(f"{screens.state_words(step['event']):12}", bold=True, err=True)
                render.say(f"{step['t'] - self._began_t:7.1f} s  {state} {render.clean(meaning)}")
