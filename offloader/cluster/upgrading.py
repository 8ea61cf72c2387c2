"""`cluster upgrade`: services go over to what was installed, one node after the other, while moved jobs run on.

A version lies beside the one before (ADR 25), so going back is saying which of the two is used, and going over again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from offloader.cluster.fleet import Fleet
from offloader.cluster.lifecycle import make_token, restart, start, stop
from offloader.cluster.moved import InCare
from offloader.cluster.outcome import Outcome
from offloader.config.models import Node
from offloader.model import Role

__all__ = ["go_over", "revert"]

JobsOn = Callable[[], Sequence[InCare]]

_ONE_BY_ONE = ("exporter", "alertmanager", "prometheus")
_RUNS = frozenset({"running", "waiting"})


async def revert(fleet: Fleet, nodes: Sequence[Node]) -> list[Outcome]:
    """Have every node use what it used before the last release. Nothing is restarted yet."""

    async def back(node: Node) -> Outcome:
        answer = await fleet.verb(node, "revert", node.state_dir)
        await fleet.facts(node, fresh=True)
        versions = (version for kind in answer["changed"] for version in answer["versions"][kind].values())
        detail = ", ".join(sorted(set(versions)))
        return Outcome(node.name, "rollback", ok=True, state="reverted", changed=True, detail=detail)

    return await fleet.everywhere(nodes, "rollback", back)


async def go_over(fleet: Fleet, nodes: Sequence[Node], jobs_on: JobsOn) -> list[Outcome]:
    """Restart what runs with another version or other settings than it is to.

    The controller is away meanwhile, so that nothing new moves; moved jobs do not need it. Workers come first. A node
    that fails ends it there: those after it stay as they are. Ray's version must be one everywhere, so it goes over on
    all nodes at once, and only while no moved job depends on it (`jobs_on`).
    """
    due, away = await _due(fleet, nodes)
    if not any(one.old for one in due):
        return away
    paused = [one.node for one in due if one.controls]
    outcomes = await stop(fleet, paused, ("controller",))
    if all(one.ok for one in outcomes):
        outcomes += await _one_by_one(fleet, due)
    if all(one.ok for one in outcomes):
        outcomes += await _ray(fleet, due, jobs_on)
    return [*away, *outcomes, *await start(fleet, paused, ("controller",))]


class _Due(NamedTuple):
    """A node that answers, and its services that are to be restarted."""

    node: Node
    old: tuple[str, ...]
    controls: bool  # a controller runs there


async def _due(fleet: Fleet, nodes: Sequence[Node]) -> tuple[list[_Due], list[Outcome]]:
    """In the order of work; and those that do not answer."""
    token = make_token(fleet.cluster)

    async def ask(node: Node) -> Outcome:
        marks = {service.name: service.mark for service in await fleet.services(node, token)}
        states = {name: state for name, state in (await fleet.states(node)).items() if state["state"] in _RUNS}
        old = tuple(name for name, state in states.items() if state.get("mark") != marks.get(name))
        return Outcome(node.name, "status", ok=True, state="asked", data={"old": old, "runs": tuple(states)})

    asked = {one.node: one for one in await fleet.everywhere(nodes, "status", ask)}
    workers_first = sorted(nodes, key=lambda node: node.role is Role.HEAD)
    found = [(node, asked[node.name]) for node in workers_first]
    due = [_Due(node, one.data["old"], "controller" in one.data["runs"]) for node, one in found if one.ok]
    return due, [one for _, one in found if not one.ok]


async def _one_by_one(fleet: Fleet, due: Sequence[_Due]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for one in due:
        if wanted := [name for name in _ONE_BY_ONE if name in one.old]:
            outcomes += await restart(fleet, [one.node], wanted)
            if not all(outcome.ok for outcome in outcomes):
                break
    return outcomes


async def _ray(fleet: Fleet, due: Sequence[_Due], jobs_on: JobsOn) -> list[Outcome]:
    if not any("ray" in one.old for one in due):
        return []
    if jobs := jobs_on():
        names = ", ".join(sorted({job.name for job in jobs}))
        detail = f"stays as it is while moved jobs run ({names}): upgrade again then, or with --drain"
        kept = Outcome(fleet.cluster.head.name, "ray", ok=True, state="kept", detail=detail)
        fleet.told(kept)
        return [kept]
    return await restart(fleet, [one.node for one in reversed(due)], ("ray",))
