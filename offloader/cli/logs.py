"""`grid-offloader logs`: the output of a job that was moved, or started by `run`."""

from __future__ import annotations

import sys

import click

from offloader.cli.session import client, is_move, run

__all__ = ["logs"]


@click.command()
@click.argument("move_id", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job ends.")
@click.option("--errors", is_flag=True, help="Standard error, of a job of `run` that keeps it apart.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Begin at this byte.")
def logs(*, move_id: str, follow: bool, errors: bool, offset: int) -> None:
    """Show what a job wrote, byte for byte: since the move ID, or where job ID of `run` runs or ran last."""
    run(_copy(move_id, errors=errors, offset=offset, follow=follow))


async def _copy(name: str, *, errors: bool, offset: int, follow: bool) -> None:
    controller = client()
    if is_move(name) and not errors:
        chunks = controller.logs(name, offset=offset, follow=follow)
    else:
        chunks = controller.output(name, stream=2 if errors else 1, offset=offset, follow=follow)
    async for chunk in chunks:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
