"""Where what several users' clusters need lies on nodes (docs/operations.md, Several users)."""

from __future__ import annotations

from offloader.config.models import Cluster, Node

__all__ = ["SUDOERS", "opener", "privilege_of", "ray_account", "ray_directory"]

SUDOERS = "/etc/sudoers.d/grid-offloader"


def opener(cluster: Cluster, node: Node) -> str:
    """The program by which Ray's account has a capsule opened; empty where one account does everything itself."""
    return f"{node.state_dir}-open/open" if cluster.multi_user else ""


def privilege_of(cluster: Cluster, node: Node) -> dict[str, str]:
    """As the launcher's verbs `privilege` and `unprivilege` take it."""
    return {"opener": opener(cluster, node), "account": cluster.manage.ray_user or "", "sudoers": SUDOERS}


def ray_account(cluster: Cluster, user: str) -> str:
    """As whom Ray runs on nodes that we reach as `user`."""
    return cluster.manage.ray_user or user if cluster.multi_user else user


def ray_directory(cluster: Cluster, node: Node) -> str:
    """Where Ray keeps its token and state: where its account may enter."""
    return f"{node.state_dir}-ray" if cluster.multi_user else f"{node.state_dir}/ray"
