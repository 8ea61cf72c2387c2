"""`grid-offloader cluster check` and `cluster status`: what nodes are like, what runs there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from offloader.cli import render
from offloader.cli.config import config_option
from offloader.cli.fleets import chosen, exit_with, opened, probes_of
from offloader.cli.session import format_option, run

__all__ = ["check", "show_check", "show_status", "status", "status_documents"]

_GOOD, _BAD = "ok", "problem"
_COLOURS = {_GOOD: "green", _BAD: "red", "note": "yellow", "unreachable": "red"}


@click.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--all", "everything", is_flag=True, help="Show what is fine, too.")
@config_option
@format_option
def check(*, nodes: tuple[str, ...], everything: bool, config: Path | None, form: str) -> None:
    """Look at every node: is it fit, and if not, what mends that. Changes nothing.

    SSH, versions of Python and Ray (alike on all), clocks, ports, disk, directories that should be shared, CRIU,
    NVIDIA's driver, and whether fresh data arrive in Prometheus. A node that does not answer is a row like any other.

    Exit codes: 0 nothing in the way, 1 problems were found.
    """
    exit_with(run(_check(nodes, everything=everything, config=config, form=form)))


async def _check(names: tuple[str, ...], *, everything: bool, config: Path | None, form: str) -> int:
    from offloader.cluster.checking import check as checked

    async with opened(config, quiet=True) as fleet, probes_of(fleet) as probes:
        documents = await checked(fleet, chosen(fleet, names), probes.metrics)
        ok = all(one["ok"] for one in documents)
        if form == "json":
            render.show_json({"cluster": fleet.cluster.name, "ok": ok, "nodes": documents})
        else:
            show_check(documents, everything=everything)
    return 0 if ok else 1


def show_check(documents: list[dict[str, Any]], *, everything: bool) -> None:
    """A row per node, and below it what there is to say."""
    for document in documents:
        findings = document["findings"]
        worst = _BAD if not document["ok"] else _GOOD
        told = f"{document['node']:12}  {document['role']:6}  "
        count = sum(one["level"] == _BAD for one in findings)
        words = f"{count} problem{'' if count == 1 else 's'}" if count else "fine"
        click.echo(told + render.style(words, fg=_COLOURS[worst]))
        for one in findings:
            if not everything and one["level"] == _GOOD:
                continue
            lead = f"  {one['check']:14}  "
            render.show_hanging(lead, render.clean(one["found"]), used=len(lead), fg=_COLOURS[one["level"]])
            if one["remedy"]:
                render.show_hanging(" " * len(lead), render.clean(one["remedy"]), used=len(lead))


@click.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@config_option
@format_option
def status(*, nodes: tuple[str, ...], config: Path | None, form: str) -> None:
    """Show which services run on every node, and whether they do their work.

    Exit codes: 0 all is well, 1 something is not (a node that does not answer included).
    """
    exit_with(run(_status(nodes, config=config, form=form)))


async def _status(names: tuple[str, ...], *, config: Path | None, form: str) -> int:
    async with opened(config, quiet=True) as fleet, probes_of(fleet) as probes:
        documents = await status_documents(fleet, chosen(fleet, names), probes)
        return show_status(fleet.cluster.name, documents, form)


async def status_documents(fleet: Any, nodes: Any, probes: Any) -> list[dict[str, Any]]:
    """As `status` shows them."""
    from offloader.cluster.health import status as asked
    from offloader.cluster.lifecycle import token_file
    from offloader.config.secrets import read_secret
    from offloader.errors import ConfigError

    try:
        token = read_secret(token_file(fleet.cluster))
    except ConfigError:  # not made yet: then nothing runs either
        token = ""
    return await asked(fleet, nodes, probes, token)


def show_status(cluster: str, documents: list[dict[str, Any]], form: str) -> int:
    """Show it; the exit code."""
    ok = all(one["ok"] for one in documents)
    if form == "json":
        render.show_json({"cluster": cluster, "ok": ok, "nodes": documents})
        return 0 if ok else 1
    columns = [render.Column(title) for title in ("NODE", "ROLE", "SERVICE", "STATE")]
    columns += [render.Column("RESTARTS", right=True, spare=True), render.Column("SAYS", flex=True)]
    rows = []
    for document in documents:
        if not document["reachable"]:
            rows.append((document["node"], document["role"], "-", "unreachable", "", document["error"]))
        for one in document["services"]:
            state = one["state"] if one["ok"] or one["state"] != "running" else "ailing"
            says = one["detail"] or (
                "other settings than the cluster file's: cluster restart" if one["outdated"] else ""
            )
            rows.append((document["node"], document["role"], one["name"], state, str(one["restarts"]), says))
    colours = {"running": "green", "ailing": "red", "stopped": "red", "absent": "red", "unreachable": "red"}
    render.show_table(columns, rows, colours=colours)
    return 0 if ok else 1
