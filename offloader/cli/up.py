"""`grid-offloader up`: from nothing to a monitored, controlled cluster."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click

from offloader.cli import render
from offloader.cli.cluster_install import installed
from offloader.cli.cluster_look import show_status, status_documents
from offloader.cli.config import config_option
from offloader.cli.fleets import SOME_FAILED, exit_with, opened, probes_of
from offloader.cli.session import format_option, run

__all__ = ["up"]

_HEALTHY_S = 90.0
_BLOCKING = frozenset({"ssh", "python", "ports", "disk", "shared", "programs", "account"})
_CHANGED_NOTHING = "nothing to change: the cluster is as the file says"


@click.command()
@config_option
@click.option("--wheels", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Install from there.")
@format_option
def up(*, config: Path | None, wheels: Path | None, form: str) -> None:
    """Check, install and start everything on every node, and wait until it works.

    Run it on the head. What is there and right is left alone, so running it again costs little and goes on after a
    failure. A node that is away or unfit is left out and told at the end.

    \b
    Example:
      grid-offloader config init grid.yaml --worker gpu1=192.0.2.11
      grid-offloader up -c grid.yaml

    Exit codes: 0 the whole cluster works, 9 some nodes do not (the others do), 1 the head is unfit or the file wrong.
    """
    exit_with(run(_up(config, wheels, form)))


async def _up(config: Path | None, wheels: Path | None, form: str) -> int:
    from offloader.cluster.alertmanager_files import webhook_token_file
    from offloader.cluster.checking import check, problems
    from offloader.cluster.health import until_healthy
    from offloader.cluster.lifecycle import make_token, start

    async with opened(config) as fleet, probes_of(fleet) as probes:
        nodes = fleet.chosen(())
        render.say(f"checking {len(nodes)} nodes")
        checked = await check(fleet, nodes, probes.metrics)
        # What only running services can mend is no obstacle to starting them.
        unfit = {one["node"] for one in checked if any(p["check"] in _BLOCKING for p in problems(one))}
        _tell((one["node"], problems(one)) for one in checked if one["node"] in unfit)
        if fleet.cluster.head.name in unfit:
            render.say(f"{fleet.cluster.head.name}: the head is unfit, nothing was started")
            return 1
        fit = tuple(node for node in nodes if node.name not in unfit)
        make_token(fleet.cluster)
        placed = await installed(fleet, fit, wheels=wheels)
        failed = {one.node for one in placed if not one.ok}
        begun = await start(fleet, [node for node in fit if node.name not in failed])
        fleet.told = lambda _: None
        documents = await until_healthy(partial(status_documents, fleet, nodes, probes), _HEALTHY_S)
        if not any(one.changed for one in (*placed, *begun)):
            render.say(_CHANGED_NOTHING)
        code = show_status(fleet.cluster.name, documents, form)
        render.say(
            f"status page: http://{fleet.cluster.controller.listen}/, its token: {webhook_token_file(fleet.cluster)}"
        )
        return SOME_FAILED if code else 0


def _tell(unfit: Iterable[tuple[str, list[dict[str, Any]]]]) -> None:
    """Why nodes are left out."""
    for node, found in unfit:
        for one in found:
            render.say(render.clean(f"{node:12}  {one['check']}: {one['found']}; {one['remedy']}"))
