"""`grid-offloader logs`: the output of a moved job."""

from __future__ import annotations

import sys

import click

from offloader.cli.session import client, run

__all__ = ["logs"]


@click.command()
@click.argument("move_id", metavar="MOVE")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job ends.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Begin at this byte.")
def logs(*, move_id: str, follow: bool, offset: int) -> None:
    """Show what the job of MOVE wrote since it was moved, byte for byte."""
    run(_copy(move_id, offset=offset, follow=follow))


async def _copy(move_id: str, *, offset: int, follow: bool) -> None:
    async for chunk in client().logs(move_id, offset=offset, follow=follow):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
