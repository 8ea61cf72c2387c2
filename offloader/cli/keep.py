"""`grid-offloader keep`: an owner says that his jobs stay here."""

from __future__ import annotations

import math
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import click

from offloader.cli import render, screens
from offloader.cli.session import client, format_option, run
from offloader.errors import OffloaderError

__all__ = ["keep"]

Document = Mapping[str, Any]


@click.command()
@click.argument("pids", metavar="[PID]...", nargs=-1, type=click.IntRange(min=1))
@click.option("--for", "duration", metavar="TIME", help="How long: 90m, 8h, 2d. [default: as configured, else 1d]")
@click.option("--list", "listed", is_flag=True, help="Show what you keep (admins: what anybody keeps).")
@click.option("--release", "released", metavar="PID|ID", multiple=True, help="Take it back. May be repeated.")
@format_option
def keep(*, pids: tuple[int, ...], duration: str | None, listed: bool, released: tuple[str, ...], form: str) -> None:
    """Keep the jobs of the processes PID... here: until then no rule moves them.

    A move that a rule has begun is rolled back, unless its successor has taken the work over already. Your own
    `grid-offloader move` still moves a job that you keep. For always: start it with GRID_OFFLOAD=never.

    \b
    Examples:
      grid-offloader keep 4242
      grid-offloader keep 4242 --for 2d
      grid-offloader keep --list
      grid-offloader keep --release 4242
    """
    if sum((bool(pids), listed, bool(released))) != 1:
        raise click.UsageError("give one of PID..., --list, --release PID|ID")
    if duration is not None and not pids:
        raise click.UsageError("--for goes with PID...")
    if listed:
        _show(run(client().keeps()), form)
        return
    controller, for_s = client(), _seconds(duration)
    calls = [controller.release(what) for what in released]
    calls += [controller.keep(pid, for_s=for_s) for pid in dict.fromkeys(pids)]
    documents, code = run(_each(calls))
    if form == "json":
        render.show_json(documents)
    else:
        for document in documents:
            click.echo(_words(document, released=bool(released)))
    click.get_current_context().exit(code)


async def _each(calls: Sequence[Coroutine[Any, Any, dict[str, Any]]]) -> tuple[list[dict[str, Any]], int]:
    """One after the other; one that is refused keeps none of the others back. The first error's exit code."""
    documents, code = [], 0
    for call in calls:
        try:
            documents.append(await call)
        except OffloaderError as error:
            render.show_error(error)
            code = code or error.exit_code
    return documents, code


def _show(keeps: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        render.show_json(keeps)
    elif keeps:
        screens.show_keeps(keeps)
    else:
        render.say("nothing is kept")


def _words(document: Document, *, released: bool) -> str:
    job = render.clean(f"{document['name']} (pid {document['pid']}, {document['user']})")
    if released:
        return f"{document['id']}  {job}: rules may move it again"
    turned = f"; {document['rolled_back']} is rolled back" if document.get("rolled_back") else ""
    return f"{document['id']}  {job} stays here until {screens.when(document['until_t'])}{turned}"


def _seconds(duration: str | None) -> int | None:
    if duration is None:
        return None
    from offloader.config.units import parse_duration

    try:
        seconds = parse_duration(duration)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    if seconds < 1:
        raise click.BadParameter(
            f"{duration} is no time to speak of; to take a keep back: --release", param_hint="--for"
        )
    return math.ceil(seconds)
