"""`cluster uninstall`: what we put on nodes is taken away again, after everything was stopped."""

from __future__ import annotations

from collections.abc import Sequence

from offloader.cluster.fleet import Fleet, environments_of, units_wanted
from offloader.cluster.outcome import Outcome
from offloader.cluster.services import ray_sessions, service_names
from offloader.cluster.unit_text import unit_name
from offloader.config.complete import RAY_TOKEN_NAME, WEBHOOK_TOKEN_NAME
from offloader.config.models import Cluster, Node
from offloader.config.privileged import privilege_of, ray_account, ray_directory
from offloader.model import Role

__all__ = ["remove"]

_REMOVE_S = 300.0
_OF_NODES = ("attempts", "moves", "staged", "services", "prometheus", "alertmanager", "installed.json", "bin")
"""In a node's state directory; the launcher itself last."""
_OF_THE_CONTROLLER = (
    *("journal.db", "journal.db-wal", "journal.db-shm", "spare", "capsules", "disabled", "lock"),
    RAY_TOKEN_NAME,
    WEBHOOK_TOKEN_NAME,
)
"""In its state directory: docs/operations.md."""


async def remove(fleet: Fleet, nodes: Sequence[Node]) -> list[Outcome]:
    """Nothing of ours may run there any more. The head comes last: what it knows is needed until then."""
    workers = [node for node in nodes if node.role is not Role.HEAD]
    head = [node for node in nodes if node.role is Role.HEAD]
    outcomes = await fleet.everywhere(workers, "uninstall", lambda node: _remove(fleet, node))
    return outcomes + await fleet.everywhere(head, "uninstall", lambda node: _remove(fleet, node))


async def _remove(fleet: Fleet, node: Node) -> Outcome:
    facts = await fleet.facts(node)
    if units_wanted(fleet.cluster, facts):
        for name in service_names(fleet.cluster, node):
            await fleet.verb(node, "unit-remove", unit_name(name))
    if fleet.cluster.multi_user and node.role is Role.WORKER:
        await fleet.verb(node, "unprivilege", document=privilege_of(fleet.cluster, node))
    made = await fleet.verb(node, "unprovide", environments_of(fleet.cluster, node), timeout_s=_REMOVE_S)
    document = {
        "paths": [*_paths(fleet.cluster, node), ray_sessions(fleet.cluster, ray_account(fleet.cluster, facts["user"]))]
    }
    document["directories"] = _directories(fleet.cluster, node)
    answer = await fleet.verb(node, "remove", document=document, timeout_s=_REMOVE_S)
    left = [*made["left"], *answer["left"]]
    return Outcome(
        node.name, "uninstall", ok=not left, state="failed" if left else "removed",
        changed=made["changed"] or answer["changed"], detail=f"still there: {', '.join(left)}" if left else "",
    )  # fmt: skip


def _paths(cluster: Cluster, node: Node) -> list[str]:
    paths = [ray_directory(cluster, node), *(f"{node.state_dir}/{name}" for name in _OF_NODES)]
    if node.role is Role.HEAD:
        paths += [str(cluster.controller.state_dir / name) for name in _OF_THE_CONTROLLER]
        paths.append(str(cluster.controller.socket))
    return paths


def _directories(cluster: Cluster, node: Node) -> list[str]:
    """Removed as well where nothing else is in them: they may be somebody's who keeps other things there."""
    directories = [node.state_dir]
    if node.role is Role.HEAD:
        directories += [str(cluster.controller.state_dir), str(cluster.controller.runtime_dir)]
    return directories
