"""`grid-offloader cluster install`: the environments on every node."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from offloader.cli.config import config_option
from offloader.cli.fleets import chosen, exit_with, failed_code, opened, show_outcomes
from offloader.cli.session import format_option, run

if TYPE_CHECKING:
    from offloader.cluster.fleet import Fleet
    from offloader.cluster.outcome import Outcome
    from offloader.config.models import Node

__all__ = ["install", "installed"]

_DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--wheels", type=_DIRECTORY, help="Install from this directory of wheels, not from a package index.")
@click.option("--wheel", type=_FILE, help="The wheel of grid-offloader.  [default: of what runs here]")
@config_option
@format_option
def install(*, nodes: tuple[str, ...], wheels: Path | None, wheel: Path | None, config: Path | None, form: str) -> None:
    """Install grid-offloader and Ray on every node, each in an environment of its own, as this account.

    What is there and right is left alone; what was interrupted goes on. Nothing that runs is touched: `cluster restart`
    takes services to what was installed. Versions older than the one before are taken away.

    Exit codes: 0 done, 9 some nodes failed or were not reached (the others are done).
    """
    exit_with(run(_install(nodes, wheels, wheel, config, form)))


async def _install(
    names: tuple[str, ...], wheels: Path | None, wheel: Path | None, config: Path | None, form: str
) -> int:
    async with opened(config) as fleet:
        nodes = chosen(fleet, names)
        outcomes = await installed(fleet, nodes, wheels=wheels, wheel=wheel)
        show_outcomes(fleet, nodes, outcomes, form)
        return failed_code(outcomes)


async def installed(
    fleet: Fleet, nodes: tuple[Node, ...], *, wheels: Path | None = None, wheel: Path | None = None
) -> list[Outcome]:
    """Install on these nodes, and take away what nobody needs any more.

    Raises ExternalError: there is nothing to install from.
    """
    from offloader.adapters.commands import LocalHost
    from offloader.cluster.installing import install as on_nodes
    from offloader.cluster.installing import sources
    from offloader.cluster.pruning import prune
    from offloader.cluster.wheel import own_wheel

    with tempfile.TemporaryDirectory() as scratch:
        own = wheel or await own_wheel(Path(scratch), LocalHost("here"), sys.executable)
        outcomes = await on_nodes(fleet, nodes, sources(own, wheels or fleet.cluster.manage.wheels))
    bad = {one.node for one in outcomes if not one.ok}
    return outcomes + await prune(fleet, [node for node in nodes if node.name not in bad])
