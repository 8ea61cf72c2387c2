"""`grid-offloader cluster uninstall`: what was put on nodes is taken away again."""

from __future__ import annotations

from pathlib import Path

import click

from offloader.cli.cluster_jobs import affected, in_care_on, refuse
from offloader.cli.config import config_option
from offloader.cli.fleets import chosen, exit_with, failed_code, opened, show_outcomes
from offloader.cli.session import format_option, run

__all__ = ["uninstall"]


@click.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Although moved jobs run there: they end.")
@config_option
@format_option
def uninstall(*, nodes: tuple[str, ...], yes: bool, force: bool, config: Path | None, form: str) -> None:
    """Stop everything and remove it: services, environments, and all that is remembered, the history of moves included.

    The cluster file stays, and so does an environment that was there before (manage.app, manage.ray).

    Exit codes: 0 done, 9 some nodes failed or were not reached, 4 refused: moved jobs run there.
    """
    if not yes:
        click.confirm("Remove grid-offloader, Ray and the history of moves from these nodes?", abort=True, err=True)
    exit_with(run(_uninstall(nodes, config, form, force=force)))


async def _uninstall(names: tuple[str, ...], config: Path | None, form: str, *, force: bool) -> int:
    from offloader.cluster.lifecycle import stop
    from offloader.cluster.removing import remove
    from offloader.cluster.services import ORDER

    async with opened(config) as fleet:
        nodes = chosen(fleet, names)
        if not force:
            refuse(in_care_on(fleet, affected(fleet, nodes, ORDER, head_matters=True)))
        stopped = await stop(fleet, nodes)
        bad = {one.node for one in stopped if not one.ok}
        outcomes = [*stopped, *await remove(fleet, [node for node in nodes if node.name not in bad])]
        show_outcomes(fleet, nodes, outcomes, form)
        return failed_code(outcomes)
