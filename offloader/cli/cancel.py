"""`grid-offloader cancel`: take a move back, or end what it moved."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from offloader.cli import render, screens
from offloader.cli.session import client, format_option, is_move, run
from offloader.client import JOB_OPEN

__all__ = ["cancel"]

_POLL_S = 0.2


@click.command()
@click.argument("move_id", metavar="ID")
@click.option("--detach", is_flag=True, help="Do not wait until it is rolled back.")
@format_option
def cancel(*, move_id: str, detach: bool, form: str) -> None:
    """Cancel ID: a move (such as offload_1700000000_4242), or a job that `run` started.

    A job is ended (TERM, then KILL); one that waits is not started. A move is rolled back until its successor owns
    the work, and the original goes on where it was; afterwards the moved job itself is ended. You may cancel what
    you could signal yourself.
    """
    document = run(_cancel(move_id, detach) if is_move(move_id) else _end(move_id, detach))
    if form == "json":
        render.show_json(document)
    elif not is_move(move_id):
        click.echo(f"{document['id']}  {document['state']}  {screens.job_words(document)}")
    else:
        click.echo(f"{document['id']}  {screens.state_words(document['state'])}  {screens.move_words(document)}")


async def _end(job_id: str, detach: bool) -> dict[str, Any]:
    controller = client()
    document = await controller.end_job(job_id)
    while not detach and document["state"] in JOB_OPEN:
        await asyncio.sleep(_POLL_S)
        document = await controller.job(job_id)
    return document


async def _cancel(move_id: str, detach: bool) -> dict[str, Any]:
    controller = client()
    document = await controller.cancel(move_id)
    if detach or document["state"] in ("done", "lost"):
        return document
    return await controller.wait(move_id)
