"""`grid-offloader attach`: a job's output again, or the terminal of one that lost its own."""

from __future__ import annotations

import sys

import click

from offloader.cli import following, render
from offloader.cli.session import client, local_home, run
from offloader.errors import NotFound

__all__ = ["attach"]

_HUNG_UP = 129  # 128 + SIGHUP


@click.command()
@click.argument("job_id", metavar="[ID]", required=False)
@click.option("--new", is_flag=True, help="Only what it writes from now on. [default: from its start]")
def attach(*, job_id: str | None, new: bool) -> None:
    """Show the output of job ID (of `run`, or a move's id) until it ends, and return its exit code.

    Ctrl-C leaves it running (exit code 130). A job of `run --local` that lost its terminal gets yours instead; without
    ID: the only such job. Exit codes are those of `run`.
    """
    name = job_id or _only()
    if name.startswith("local_"):
        click.get_current_context().exit(_here(name))
    click.get_current_context().exit(run(following.attach(client(), name, new=new)))


def _only() -> str:
    from offloader.terminal.stub import left_jobs

    found = left_jobs(local_home())
    if len(found) != 1:
        known = f"one of {', '.join(found)}" if found else "there is no job that lost its terminal here"
        raise click.UsageError(f"which one? {known}")
    return found[0]


def _here(name: str) -> int:
    from offloader.terminal.attached import NobodyThere
    from offloader.terminal.stub import attach as attach_here

    sys.stdout.flush()
    try:
        ended = attach_here(name, local_home())
    except NobodyThere as error:
        render.show_error(NotFound(str(error)))
        return NotFound.exit_code
    return _HUNG_UP if ended is None else ended.status
