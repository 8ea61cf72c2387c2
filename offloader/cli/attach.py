"""`grid-offloader attach`: show what a job writes until it ends, again or from now on."""

from __future__ import annotations

import click

from offloader.cli import following
from offloader.cli.session import client, run

__all__ = ["attach"]


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--new", is_flag=True, help="Only what it writes from now on. [default: from its start]")
def attach(*, job_id: str, new: bool) -> None:
    """Show the output of job ID (of `run`, or a move's id) until it ends, and return its exit code.

    Ctrl-C leaves it running (exit code 130). Exit codes are those of `run`.
    """
    click.get_current_context().exit(run(following.attach(client(), job_id, new=new)))
