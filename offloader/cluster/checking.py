"""`cluster check`: every node is asked what it is like; what is wrong comes with its remedy."""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from offloader.cluster.findings import Finding, Level, findings, ports_of, unreachable
from offloader.cluster.fleet import Fleet
from offloader.cluster.outcome import Outcome
from offloader.config.models import Node
from offloader.config.series import NODE_LABEL, PRESSURE, RESOURCE_LABEL
from offloader.errors import OffloaderError
from offloader.moves.agent import VerbFailed
from offloader.ports import MetricsSource

__all__ = ["check", "problems"]

_PRESSURE = f'{PRESSURE}{{{RESOURCE_LABEL}="cpu"}}'

Document = dict[str, Any]


async def check(fleet: Fleet, nodes: Sequence[Node], metrics: MetricsSource) -> list[Document]:
    """One document per node, in the order given: `node`, `role`, `reachable`, `ok`, `findings`."""
    with _tokens(fleet.cluster.manage.shared) as tokens:

        async def ask(node: Node) -> Outcome:
            ports = [[host, port] for _, host, port in ports_of(fleet.cluster, node)]
            facts = await fleet.facts(node, ports=ports, shared=[str(token) for token in tokens])
            return Outcome(
                node.name, "check", ok=True, state="asked", data={"facts": facts, "states": await _states(fleet, node)}
            )

        asked = await fleet.everywhere(nodes, "check", ask)
    answered = {one.node: one.data for one in asked if one.ok}
    found = findings(
        fleet.cluster,
        {name: data["facts"] for name, data in answered.items()},
        {name: data["states"] for name, data in answered.items()},
    )
    for one in asked:
        found.setdefault(one.node, unreachable(one.detail))
    await _add_metrics(fleet, found, answered, metrics)
    return [_document(node, found[node.name], reachable=node.name in answered) for node in nodes]


def problems(document: Document) -> list[Document]:
    """What of a node's findings is in the way."""
    return [one for one in document["findings"] if one["level"] == Level.PROBLEM]


async def _states(fleet: Fleet, node: Node) -> Mapping[str, Document]:
    """Of its services; a node that cannot say is told by other findings."""
    try:
        return await fleet.states(node)
    except (OffloaderError, VerbFailed):
        return {}


async def _add_metrics(
    fleet: Fleet, found: dict[str, tuple[Finding, ...]], answered: Mapping[str, Document], metrics: MetricsSource
) -> None:
    """Whether what decides about moves arrives: only where Prometheus is to run by now."""
    head = fleet.cluster.head.name
    ours = fleet.cluster.manage.prometheus
    started = answered.get(head, {}).get("states", {}).get("prometheus", {}).get("state") == "running"
    if ours and not started:
        note = Finding("prometheus", Level.NOTE, "not started yet", "grid-offloader cluster start")
        found.update({name: (*those, note) for name, those in found.items() if name == head})
        return
    result, *_ = await metrics.query(_PRESSURE)
    if result.error is not None:
        words = f"{fleet.cluster.prometheus.url}: {result.error}"
        problem = Finding("prometheus", Level.PROBLEM, words, "is it running? prometheus.url; docs/operations.md")
        found[head] = (*found.get(head, ()), problem)
        return
    fresh = {sample.labels.get(NODE_LABEL) for sample in result.samples if not math.isnan(sample.value)}
    for name in answered:
        finding = Finding("prometheus", Level.FINE, "fresh grid:* series arrive")
        if name not in fresh:
            remedy = "is its exporter up and among Prometheus' targets? grid-offloader cluster targets"
            finding = Finding("prometheus", Level.PROBLEM, "no fresh grid:* series of this node", remedy)
        found[name] = (*found[name], finding)


@contextlib.contextmanager
def _tokens(directories: Sequence[str]) -> Iterator[list[Path]]:
    """A file in each directory that must be seen everywhere; one that this machine lacks shows as not shared."""
    made = [Path(directory) / f".grid-offloader-{secrets.token_hex(8)}" for directory in directories]
    try:
        for token in made:
            with contextlib.suppress(OSError):
                token.touch(mode=0o600)
        yield made
    finally:
        for token in made:
            with contextlib.suppress(OSError):
                token.unlink()


def _document(node: Node, those: Sequence[Finding], *, reachable: bool) -> Document:
    return {
        "node": node.name,
        "role": node.role.value,
        "address": node.address,
        "reachable": reachable,
        "ok": all(one.level is not Level.PROBLEM for one in those),
        "findings": [one.document() for one in those],
    }
