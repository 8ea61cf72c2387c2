"""`status --mine`: the caller's own jobs, in words."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from offloader.cli import render, screens

__all__ = ["show_mine"]

Document = Mapping[str, Any]

_WORDS = {
    "follow": "to follow it",
    "output": "its output",
    "undo": "to take it back",
    "end": "to end it",
    "why": "why",
}


def show_mine(document: Document) -> None:
    """Notices first: they can still be objected to."""
    if not any(document[key] for key in ("notices", "proposals", "kept", "jobs", "moves")):
        render.say(f"nothing happened to jobs of {render.clean(document['user'])}, and nothing is announced")
        return
    if document["notices"]:
        _title("GOING TO BE MOVED")
        screens.show_notices(document["notices"])
    if document["proposals"]:
        _title("WAITING FOR AN ANSWER")
        screens.show_proposals(document["proposals"])
    if document["kept"]:
        _title("KEPT HERE")
        screens.show_keeps(document["kept"])
    if document["jobs"]:
        _title("JOBS OF RUN")
        screens.show_jobs(document["jobs"])
    if document["moves"]:
        _title("MOVES")
        for move in document["moves"]:
            _show(move)


def _show(move: Document) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(move["created_t"]))
    code = screens.outcome_words(move)
    click.echo(f"{when}  {screens.move_words(move)}  {screens.state_style(move['state'])}  {code}".rstrip())
    pairs = [("", render.clean(move["sentence"])), ("where", move["where"] or "it does not run, as far as is known")]
    pairs += [(words, move["commands"][key]) for key, words in _WORDS.items() if key in move["commands"]]
    if "end" in move["commands"]:
        pairs.append(("to bring it back", f"no command does that: end it, and start it again on {move['source']}"))
    render.show_pairs(pairs, indent="    ")


def _title(text: str) -> None:
    click.echo(render.style(text, bold=True))
