"""`grid-offloader scan`: what could be moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from offloader.cli import render
from offloader.cli.render import Column
from offloader.cli.session import client, format_option, run
from offloader.errors import ControllerUnavailable

__all__ = ["scan"]


@click.command()
@click.option("--node", "-n", "nodes", multiple=True, metavar="NODE", help="Only this node. [default: the head]")
@click.option("--all", "-a", "everything", is_flag=True, help="Also what cannot be moved, with the reason.")
@click.option(
    "--config",
    "-c",
    "config_file",
    type=click.Path(path_type=Path),
    envvar="GRID_OFFLOADER_CONFIG",
    help="Cluster configuration, for a scan without a running controller.",
)
@format_option
def scan(*, nodes: tuple[str, ...], everything: bool, config_file: Path | None, form: str) -> None:
    """Show which processes could be moved, where to, and what speaks against it.

    Works without a running controller too. You see reasons and command lines of your own processes; root and the
    admin group see everybody's.

    \b
    Examples:
      grid-offloader scan
      grid-offloader scan --all
      grid-offloader scan --format json | jq '.[].pid' | xargs grid-offloader move
    """
    processes = run(_scan(nodes, everything, config_file))
    if form == "json":
        render.show_json(processes)
    elif processes:
        _show(processes)
    else:
        render.say("nothing can be moved" + ("" if everything else "; `scan --all` shows what is there and why not"))


async def _scan(nodes: tuple[str, ...], everything: bool, config_file: Path | None) -> list[dict[str, Any]]:
    try:
        return await client().scan(nodes=nodes, everything=everything)
    except ControllerUnavailable:
        from offloader.daemon.standalone import scan_without_controller

        return await scan_without_controller(config_file, nodes, everything=everything)


def _show(processes: list[dict[str, Any]]) -> None:
    columns = [
        Column("PID", right=True),
        Column("NAME", flex=True),
        Column("USER", flex=True),
        Column("CLASS"),
        Column("CPU", right=True),
        Column("MEMORY", right=True),
        Column("AGE", right=True, spare=True),
        Column("TARGET"),
        Column("HOW", spare=True),
        Column("CONF", right=True, spare=True),
        Column("EFFORT", spare=True),
        Column("REASON"),
    ]
    rows = [
        (
            str(process["pid"]),
            process["name"],
            process["user"],
            process["class"],
            render.cores(process["usage"]["cores"]),
            render.size(process["usage"]["memory_bytes"]),
            render.seconds(process["age_s"]),
            process["target"] or "-",
            process["strategy"] or "-",
            f"{process['confidence']:.2f}",
            process["complexity"],
            process["reason"] or "",
        )
        for process in processes
    ]
    render.show_table(columns, rows)
