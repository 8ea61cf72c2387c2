"""Moved jobs that the cluster's commands would end: found, refused to end, brought home."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from offloader.cli import render
from offloader.client import Client
from offloader.errors import JournalError, OffloaderError
from offloader.model import Role

if TYPE_CHECKING:
    from offloader.cluster.fleet import Fleet
    from offloader.cluster.moved import InCare
    from offloader.config.models import Node

__all__ = ["affected", "drained", "in_care_on", "refuse"]

_POLL_S = 1.0


def affected(fleet: Fleet, nodes: tuple[Node, ...], services: tuple[str, ...], *, head_matters: bool) -> set[str]:
    """The workers on which jobs would end."""
    if "ray" not in services:
        return set()
    everywhere = head_matters and any(node.role is Role.HEAD for node in nodes)
    return {node.name for node in (fleet.cluster.nodes if everywhere else nodes) if node.role is not Role.HEAD}


def in_care_on(fleet: Fleet, nodes: set[str]) -> tuple[InCare, ...]:
    """By the journal, which knows it also without a controller. Raises JournalError: there is one, and it is broken."""
    from offloader.adapters.journal.reading import JOURNAL_NAME, open_read_only
    from offloader.cluster.moved import in_care

    folder = fleet.cluster.controller.state_dir
    if not (folder / JOURNAL_NAME).exists():
        return ()
    try:
        with open_read_only(folder) as journal:
            return in_care(journal, nodes)
    except JournalError as error:
        raise JournalError(
            f"{error}\nwhich jobs run on the workers is not known: --force stops all the same"
        ) from error


def refuse(jobs: tuple[InCare, ...]) -> None:
    """Raise JobsThere if there are any."""
    from offloader.cluster.moved import JobsThere

    if jobs:
        raise JobsThere(jobs)


async def drained(fleet: Fleet, nodes: set[str], timeout_s: float | None) -> None:
    """Bring every job home, once; wait until none is left. Raises JobsThere when the time is over."""
    controller = Client(fleet.cluster.controller.socket)
    asked: set[str] = set()
    deadline = asyncio.get_running_loop().time() + timeout_s if timeout_s is not None else None
    while jobs := in_care_on(fleet, nodes):
        for one in jobs:
            if one.job not in asked and one.move is None:
                asked.add(one.job)
                await _bring(controller, one)
        if deadline is not None and asyncio.get_running_loop().time() > deadline:
            refuse(jobs)
        await asyncio.sleep(_POLL_S)


async def _bring(controller: Client, one: InCare) -> None:
    try:
        move = await controller.bring(one.job)
    except OffloaderError as error:
        render.say(
            f"{one.node:12}  {one.name}: waited for, cannot be brought: {render.clean(str(error).splitlines()[0])}"
        )
    else:
        render.say(f"{one.node:12}  {one.name}: comes home ({move['id']})")
