"""`grid-offloader cancel`: take a move back, or end what it moved."""

from __future__ import annotations

from typing import Any

import click

from offloader.cli import render, screens
from offloader.cli.session import client, format_option, run

__all__ = ["cancel"]


@click.command()
@click.argument("move_id", metavar="MOVE")
@click.option("--detach", is_flag=True, help="Do not wait until it is rolled back.")
@format_option
def cancel(*, move_id: str, detach: bool, form: str) -> None:
    """Cancel MOVE (an id such as offload_1700000000_4242).

    Until its successor owns the work, the move is rolled back and the original goes on where it was. Afterwards
    the moved job itself is ended (TERM, then KILL). You may cancel what you could signal yourself.
    """
    document = run(_cancel(move_id, detach))
    if form == "json":
        render.show_json(document)
    else:
        click.echo(f"{document['id']}  {screens.state_words(document['state'])}  {screens.move_words(document)}")


async def _cancel(move_id: str, detach: bool) -> dict[str, Any]:
    controller = client()
    document = await controller.cancel(move_id)
    if detach or document["state"] in ("done", "lost"):
        return document
    return await controller.wait(move_id)
