"""`grid-offloader cluster upgrade`: nodes go over to the version that runs this command, or back to the one before."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from offloader.cli import render
from offloader.cli.cluster_install import installed
from offloader.cli.cluster_jobs import drained, in_care_on, refuse
from offloader.cli.config import config_option
from offloader.cli.fleets import chosen, exit_with, failed_code, opened, show_outcomes
from offloader.cli.session import format_option, run
from offloader.model import Role

if TYPE_CHECKING:
    from offloader.cluster.fleet import Fleet
    from offloader.cluster.outcome import Outcome

__all__ = ["upgrade"]

_POLL_S = 0.5
_DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("--rollback", is_flag=True, help="Go back to the version before.")
@click.option("--wheels", type=_DIRECTORY, help="Install from this directory of wheels, not from a package index.")
@click.option("--wheel", type=_FILE, help="The wheel of grid-offloader.  [default: of what runs here]")
@click.option("--drain", is_flag=True, help="Bring moved jobs home first, so that Ray can go over, too.")
@click.option("--timeout", "timeout_s", type=float, default=300.0, show_default=True, metavar="SECONDS",
              help="How long to wait for moves in flight, and for --drain.")  # fmt: skip
@config_option
@format_option
def upgrade(
    *,
    rollback: bool,
    wheels: Path | None,
    wheel: Path | None,
    drain: bool,
    timeout_s: float,
    config: Path | None,
    form: str,
) -> None:
    """Take the cluster to the version that runs this command, one node after the other; moved jobs run on.

    The new version is put beside the one before on every node, then services go over to it; the controller is away
    meanwhile, so that nothing new moves. A node that fails ends it there: --rollback leads back. Ray goes over on all
    nodes at once, and only while no moved job runs.

    Exit codes: 0 done, 9 some nodes failed or were not reached, 4 moves are still in flight, or --drain took too long.
    """
    exit_with(run(_upgrade(config, form, None if rollback else (wheels, wheel), drain=drain, timeout_s=timeout_s)))


async def _upgrade(
    config: Path | None, form: str, source: tuple[Path | None, Path | None] | None, *, drain: bool, timeout_s: float
) -> int:
    """`source`: wheels and wheel to install from; None: back to the version before."""
    from offloader.cluster.upgrading import go_over, revert

    async with opened(config) as fleet:
        nodes = chosen(fleet, ())
        if source is None:
            outcomes = await revert(fleet, nodes)
        else:
            outcomes = await installed(fleet, nodes, wheels=source[0], wheel=source[1])
        bad = {one.node for one in outcomes if not one.ok}
        if fleet.cluster.head.name not in bad:
            workers = {node.name for node in nodes if node.role is not Role.HEAD}
            if drain:
                await drained(fleet, workers, timeout_s)
            await _landed(fleet, workers, timeout_s)
            able = [node for node in nodes if node.name not in bad]
            outcomes += await go_over(fleet, able, partial(in_care_on, fleet, workers))
        if source is not None:
            _advise(outcomes)
        show_outcomes(fleet, nodes, outcomes, form)
        return failed_code(outcomes)


async def _landed(fleet: Fleet, workers: set[str], limit_s: float) -> None:
    """Wait for moves in flight. Raises JobsThere when the time is over."""
    deadline = asyncio.get_running_loop().time() + limit_s
    while moving := tuple(one for one in in_care_on(fleet, workers) if one.move is not None):
        if asyncio.get_running_loop().time() > deadline:
            refuse(moving)
        await asyncio.sleep(_POLL_S)


def _advise(outcomes: list[Outcome]) -> None:
    if any(one.state in {"failed", "skipped"} for one in outcomes):
        render.say("nodes after the one that failed are as before; back on all of them: cluster upgrade --rollback")
