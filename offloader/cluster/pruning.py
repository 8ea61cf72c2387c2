"""After an installation: environments that nobody needs any more go, the version before is kept (ADR 25)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from offloader.cluster.fleet import Fleet, environments_of
from offloader.cluster.outcome import Outcome
from offloader.config.models import Node

__all__ = ["prune"]

_REMOVE_S = 300.0
_STEP = "older versions"


async def prune(fleet: Fleet, nodes: Sequence[Node]) -> list[Outcome]:
    """Take away, on these nodes, what no node uses, used before, or runs something from. Only what was done is told.

    Nodes may share the directory of environments: then nothing goes as long as one of the cluster does not answer. What
    cannot be taken away is told, and is no failure of the installation.
    """

    async def ask(node: Node) -> Outcome:
        answer = await fleet.verb(node, "used", node.state_dir, environments_of(fleet.cluster, node))
        return Outcome(node.name, "status", ok=True, state="asked", data={"used": answer["used"]})

    shared = fleet.cluster.manage.environments is not None
    asked = await fleet.everywhere(fleet.cluster.nodes if shared else nodes, "status", ask)
    if shared and not all(one.ok for one in asked):
        return []
    used = {one.node: one.data["used"] for one in asked if one.ok}
    everybodys = sorted({name for names in used.values() for name in names})

    async def act(node: Node) -> Outcome:
        keep = everybodys if shared else used[node.name]
        answer = await fleet.verb(node, "prune", environments_of(fleet.cluster, node), *keep, timeout_s=_REMOVE_S)
        gone = answer["removed"]
        state = "removed" if gone else "absent"
        return Outcome(node.name, _STEP, ok=True, state=state, changed=bool(gone), detail=", ".join(gone))

    done = await fleet.everywhere([node for node in nodes if node.name in used], _STEP, act)
    return [one if one.ok else replace(one, ok=True, state="kept") for one in done if one.changed or not one.ok]
