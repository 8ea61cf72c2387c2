"""`grid-offloader move`: move processes now."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import click

from offloader.cli import plans, render, screens
from offloader.cli.progress import watched
from offloader.cli.session import client, format_option, run
from offloader.client import Client
from offloader.errors import OffloaderError, Refused
from offloader.model import Reason

__all__ = ["move"]


@click.command()
@click.argument("pids", metavar="PID...", nargs=-1, required=True, type=click.IntRange(min=1))
@click.option("--target-node", "-t", "target", metavar="NODE", help="Where to. [default: the worker it fits best]")
@click.option("--strategy", type=click.Choice(["restart", "checkpoint", "live"]), help="How. [default: the best one]")
@click.option("--dry-run", is_flag=True, help="Show the plan and what is in its way, touch nothing.")
@click.option("--detach", is_flag=True, help="Return once the move has begun.")
@click.option(
    "--capture-state/--no-capture-state",
    default=True,
    show_default=True,
    help="Take environment, limits, nice and affinity along; without, only command, directory and owner.",
)
@click.option(
    "--stage/--no-stage",
    default=None,
    help="Copy its working directory where it is missing, and bring results back. [default: as configured]",
)
@click.option("--close-connections", is_flag=True, help="Live: its TCP connections with other hosts may be closed.")
@click.option(
    "--runtime-env",
    metavar="JSON",
    help='Variables to add: {"env_vars": {"OMP_NUM_THREADS": "4"}}. Not for secrets: the command line is public.',
)
@format_option
def move(
    *,
    pids: tuple[int, ...],
    target: str | None,
    strategy: str | None,
    dry_run: bool,
    detach: bool,
    capture_state: bool,
    stage: bool | None,
    close_connections: bool,
    runtime_env: str | None,
    form: str,
) -> None:
    """Move the jobs of the processes PID... to workers, now.

    What moves is the whole job that a process belongs to. The original is frozen first and ended only once its
    successor is proven alive; whatever goes wrong before that, it simply goes on. You may move what you could
    signal yourself. Also known as `execute`.

    \b
    Examples:
      grid-offloader move 4242
      grid-offloader move 4242 --target-node gpu1 --dry-run
      grid-offloader scan --format json | jq '.[].pid' | xargs grid-offloader move --detach
    """
    asked = {
        "target": target,
        "strategy": strategy,
        "dry_run": dry_run,
        "capture_state": capture_state,
        "stage": stage,
        "close_connections": close_connections,
        "env_vars": _env_vars(runtime_env),
    }
    documents, code = run(_all(pids, asked, wait=not (detach or dry_run)))
    if form == "json":
        render.show_json(documents)
    elif dry_run:
        for plan in documents:
            plans.show_plan(plan)
    elif documents:
        screens.show_moves(documents)
    click.get_current_context().exit(code)


async def _all(pids: tuple[int, ...], asked: dict[str, Any], *, wait: bool) -> tuple[list[dict[str, Any]], int]:
    """Every pid's move, at the same time; one refusal does not keep the others back. The first error's exit code."""
    controller = client()
    results = await asyncio.gather(*(_one(controller, pid, asked, wait=wait) for pid in dict.fromkeys(pids)))
    codes = [error.exit_code for _, error in results if error is not None]
    for pid, (_, error) in zip(dict.fromkeys(pids), results, strict=True):
        if error is not None:
            if len(results) > 1:
                render.say(f"{pid}:")
            render.show_error(error)
    return [document for document, _ in results if document is not None], codes[0] if codes else 0


async def _one(
    controller: Client, pid: int, asked: dict[str, Any], *, wait: bool
) -> tuple[dict[str, Any] | None, OffloaderError | None]:
    try:
        document = await controller.move(pid, **asked)
    except OffloaderError as error:
        return None, error
    if document.get("obstacles"):  # a plan that would be refused: shown, and not a success
        first = document["obstacles"][0]
        return document, Refused(Reason(first["reason"]), f"process {pid} would not be moved: {first['seen']}")
    if not wait:
        return document, None
    _announce(document)
    return await watched(controller, document)


def _announce(document: dict[str, Any]) -> None:
    render.say(f"{document['id']}  {screens.move_words(document)}")
    lost = document.get("loses_s")
    if lost:
        render.say(f"{document['strategy']}: it starts again, {render.seconds(lost)} of its work are done again")
    for note in document.get("notes", ()):
        render.say(render.clean(note))
    for each in document.get("passes_over", ()):
        render.say(f"{each['reason']}: {render.clean(each['seen'])}; your own move passes over that")
    if time.time() - document["created_t"] > 60:  # noqa: PLR2004 - a minute of clock difference is worth a word
        render.say("note: the controller's clock differs from yours")


def _env_vars(text: str | None) -> dict[str, str] | None:
    """The variables of `--runtime-env`. Raises click.BadParameter: other keys of Ray's would be ignored silently."""
    if text is None:
        return None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"no JSON: {error}", param_hint="--runtime-env") from error
    if not isinstance(document, dict) or set(document) - {"env_vars"}:
        raise click.BadParameter('only {"env_vars": {NAME: VALUE}} is supported', param_hint="--runtime-env")
    variables = document.get("env_vars", {})
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise click.BadParameter("env_vars must be an object of strings", param_hint="--runtime-env")
    return variables
