"""`grid-offloader bring`: a moved job goes on to another worker, or comes home."""

from __future__ import annotations

from typing import Any

import click

from offloader.cli import render, screens
from offloader.cli.progress import watched
from offloader.cli.session import client, format_option, run
from offloader.errors import OffloaderError

__all__ = ["bring"]


@click.command()
@click.argument("job", metavar="ID")
@click.option("--target-node", "-t", "target", metavar="NODE", help="Where to. [default: home, to the head]")
@click.option("--close-connections", is_flag=True, help="Its TCP connections with other hosts may be closed.")
@click.option("--detach", is_flag=True, help="Return once the move has begun.")
@format_option
def bring(*, job: str, target: str | None, close_connections: bool, detach: bool, form: str) -> None:
    """Bring the job ID home, or on to another worker, live.

    ID is that of the job, or of one of its moves. The job goes on from where it is; it stands still while its memory
    travels. Whatever goes wrong before that, it simply goes on where it is. You may bring what you could signal
    yourself.

    \b
    Examples:
      grid-offloader bring offload_1700000000_4242
      grid-offloader bring offload_1700000000_4242 --target-node gpu2
    """
    document, error = run(_brought(job, target, close_connections=close_connections, detach=detach))
    if form == "json":
        render.show_json(document)
    else:
        screens.show_moves([document])
    if error is not None:
        render.show_error(error)
        click.get_current_context().exit(error.exit_code)


async def _brought(
    job: str, target: str | None, *, close_connections: bool, detach: bool
) -> tuple[dict[str, Any], OffloaderError | None]:
    controller = client()
    document = await controller.bring(job, target, close_connections=close_connections)
    if detach:
        return document, None
    render.say(f"{document['id']}  {screens.move_words(document)}")
    return await watched(controller, document)
