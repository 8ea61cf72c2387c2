"""`cluster status`: what runs on every node, and whether it does its work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offloader.cluster.fleet import Fleet
from offloader.cluster.outcome import Outcome
from offloader.cluster.prometheus_files import EXPORTER_JOB
from offloader.cluster.services import service_names
from offloader.config.models import Node
from offloader.config.series import NODE_LABEL
from offloader.errors import OffloaderError
from offloader.moves.agent import VerbFailed
from offloader.ports import MetricsSource

__all__ = ["Probes", "status", "until_healthy"]

_POLL_S = 1.0
_UP = f'up{{job="{EXPORTER_JOB}"}}'

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Probes:
    """Who is asked whether services do their work. Each gives None, or the words of what is wrong."""

    metrics: MetricsSource
    ray_nodes: Callable[[], Awaitable[frozenset[str] | str]]  # addresses that Ray calls alive, or what is wrong
    controller: Callable[[], Awaitable[str | None]]
    alertmanager: Callable[[], Awaitable[str | None]]


async def status(fleet: Fleet, nodes: Sequence[Node], probes: Probes, token: str) -> list[Document]:
    """One document per node, in the order given: `node`, `role`, `reachable`, `ok`, `services`."""

    async def ask(node: Node) -> Outcome:
        states = await fleet.states(node)
        marks = await _marks(fleet, node, token)
        return Outcome(node.name, "status", ok=True, state="asked", data={"states": states, "marks": marks})

    asked, (ups, *_), alive, controller, alertmanager = await asyncio.gather(
        fleet.everywhere(nodes, "status", ask),
        probes.metrics.query(_UP),
        probes.ray_nodes(),
        probes.controller(),
        probes.alertmanager(),
    )
    scraped = {sample.labels.get(NODE_LABEL, ""): sample.value == 1 for sample in ups.samples}
    documents = []
    for node, one in zip(nodes, asked, strict=True):
        works: dict[str, str | None] = {
            "exporter": None if scraped.get(node.name) else ups.error or "Prometheus does not scrape it",
            "prometheus": ups.error,
            "ray": _ray(node, alive),
            "controller": controller,
            "alertmanager": alertmanager,
        }
        documents.append(_document(fleet, node, one, works))
    return documents


async def until_healthy(ask: Callable[[], Awaitable[list[Document]]], limit_s: float) -> list[Document]:
    """Ask again until every node that can be reached is well, or the time is over; the last answer."""
    deadline = asyncio.get_running_loop().time() + limit_s
    while True:
        documents = await ask()
        if all(one["ok"] for one in documents if one["reachable"]) or asyncio.get_running_loop().time() > deadline:
            return documents
        await asyncio.sleep(_POLL_S)


async def _marks(fleet: Fleet, node: Node, token: str) -> Mapping[str, str]:
    """Of the services as they are to be; none where nothing is installed."""
    try:
        return {service.name: service.mark for service in await fleet.services(node, token)}
    except (OffloaderError, VerbFailed):
        return {}


def _ray(node: Node, alive: frozenset[str] | str) -> str | None:
    if isinstance(alive, str):
        return alive
    return None if node.ray_node_ip in alive else "Ray does not list it as alive"


def _document(fleet: Fleet, node: Node, asked: Outcome, works: Mapping[str, str | None]) -> Document:
    services = []
    if asked.ok:
        states, marks = asked.data["states"], asked.data["marks"]
        for name in service_names(fleet.cluster, node):
            state = states.get(name, {"state": "absent"})
            runs = state["state"] == "running"
            wrong = works[name] if runs else f"{state['state']}: grid-offloader cluster start"
            outdated = runs and name in marks and state.get("mark") != marks[name]
            services.append(
                {
                    "name": name,
                    "state": state["state"],
                    "ok": runs and wrong is None,
                    "detail": wrong or "",
                    "pid": state.get("pid"),
                    "since_t": state.get("since_t"),
                    "restarts": state.get("restarts", 0),
                    "outdated": outdated,
                }
            )
    return {
        "node": node.name,
        "role": node.role.value,
        "reachable": asked.ok,
        "ok": asked.ok and all(one["ok"] for one in services),
        "error": "" if asked.ok else asked.detail,
        "services": services,
    }
