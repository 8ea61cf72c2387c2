"""The cluster's nodes as commands need them: launchers by SSH, Prometheus, Ray; and how progress is told."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offloader.cli import render
from offloader.errors import NotFound

if TYPE_CHECKING:
    from offloader.cluster.fleet import Fleet
    from offloader.cluster.health import Probes
    from offloader.cluster.outcome import Outcome
    from offloader.config.models import Node

__all__ = ["SOME_FAILED", "chosen", "failed_code", "opened", "probes_of", "show_outcomes", "told"]

SOME_FAILED = 9
"""Exit code: what could be done was done, and some nodes failed or were not reached (as NodeUnreachable's own)."""

_VERB_S = 20.0
_PROBE_S = 5.0
_COLOURS = {"failed": "red", "unreachable": "red", "skipped": "yellow", "started": "green", "installed": "green"}


@asynccontextmanager
async def opened(config: Path | None, *, quiet: bool = False) -> AsyncIterator[Fleet]:
    """The fleet of the cluster file; connections are made when first used. Raises ConfigError."""
    from offloader.cluster.fleet import Fleet
    from offloader.config.load import find_config, load_cluster
    from offloader.daemon.hosts import agent_of

    file = find_config(config).resolve()
    cluster = load_cluster(file)
    async with AsyncExitStack() as stack:
        agents = {node.name: agent_of(cluster, node, stack, verb_s=_VERB_S) for node in cluster.nodes}
        heard = (lambda _: None) if quiet else told
        yield Fleet(cluster, file, agents, heard, os.environ.get("XDG_RUNTIME_DIR", "") if os.geteuid() else "")


@asynccontextmanager
async def probes_of(fleet: Fleet) -> AsyncIterator[Probes]:
    """Who is asked whether services do their work."""
    from offloader.adapters.probes import ray_alive, ready
    from offloader.cluster.health import Probes
    from offloader.cluster.lifecycle import token_file
    from offloader.daemon.assembly import metrics_source

    cluster = fleet.cluster
    metrics = metrics_source(cluster)
    try:
        yield Probes(
            metrics,
            partial(ray_alive, cluster.ray.address, token_file(cluster), timeout_s=_PROBE_S),
            partial(ready, "the controller", cluster.controller.listen, timeout_s=_PROBE_S),
            partial(ready, "Alertmanager", cluster.manage.alertmanager_listen, timeout_s=_PROBE_S),
        )
    finally:
        await metrics.close()


def chosen(fleet: Fleet, names: Sequence[str]) -> tuple[Node, ...]:
    """The nodes named. Raises NotFound: there is no such node."""
    known = {node.name for node in fleet.cluster.nodes}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise NotFound(f"no node {', '.join(unknown)} in {fleet.config}; there are: {', '.join(sorted(known))}")
    return fleet.chosen(names)


def told(outcome: Outcome) -> None:
    """One line on stderr as it comes; but nothing of what is only asked on the way, or was never there."""
    if outcome.ok and (outcome.step in {"check", "status"} or outcome.state == "absent"):
        return
    state = render.style(f"{outcome.state:11}", fg=_COLOURS.get(outcome.state), err=True)
    took = f"({render.seconds(outcome.took_s)})" if outcome.took_s else ""
    words = " ".join(part for part in (render.clean(outcome.detail), took) if part)
    render.say(f"{outcome.node:12}  {outcome.step:12}  {state}  {words}".rstrip())


def show_outcomes(fleet: Fleet, nodes: Sequence[Node], outcomes: list[Outcome], form: str) -> None:
    """The result: for people it was told line by line already, but for a last word."""
    from offloader.cluster.outcome import by_node

    documents = by_node(outcomes, tuple(node.name for node in nodes))
    if form == "json":
        render.show_json({"cluster": fleet.cluster.name, "ok": all(one["ok"] for one in documents), "nodes": documents})
        return
    bad = [one["node"] for one in documents if not one["ok"]]
    changed = sum(one.changed for one in outcomes)
    render.say(f"{changed} changed, {', '.join(bad)} failed" if bad else f"{changed} changed, all well")


def failed_code(outcomes: Sequence[Outcome]) -> int:
    """0, or SOME_FAILED."""
    return 0 if all(one.ok for one in outcomes) else SOME_FAILED


def exit_with(code: int) -> Any:
    """End the command with that code, its output being complete."""
    click.get_current_context().exit(code)
