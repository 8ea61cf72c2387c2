"""Defaults that depend on other values: filled in once, so that a loaded cluster holds only effective values."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from offloader.config.managing import Manage
from offloader.config.models import Cluster, Node
from offloader.config.shipped import offload_rules, prometheus_rules
from offloader.model import Role

__all__ = ["RAY_TOKEN_NAME", "WEBHOOK_TOKEN_NAME", "complete"]

RAY_TOKEN_NAME, WEBHOOK_TOKEN_NAME = "ray.token", "webhook.token"
_RAY_DASHBOARD_PORT = 8265


def complete(cluster: Cluster) -> Cluster:
    """The cluster with every derived default in place."""
    nodes = tuple(_node(node, cluster.prometheus.exporter_port) for node in cluster.nodes)
    head = next((node for node in nodes if node.role is Role.HEAD), nodes[0])
    host = f"[{head.address}]" if ":" in head.address else head.address
    address = cluster.ray.address or f"http://{host}:{_RAY_DASHBOARD_PORT}"
    auto, prometheus, controller = cluster.auto_offload, cluster.prometheus, cluster.controller
    ray_token = _made(cluster, cluster.ray.token_file, RAY_TOKEN_NAME)
    webhook_token = _made(cluster, controller.webhook_token_file, WEBHOOK_TOKEN_NAME)
    return cluster.model_copy(
        update={
            "nodes": nodes,
            "ray": cluster.ray.model_copy(update={"address": address, "token_file": ray_token}),
            "controller": controller.model_copy(update={"webhook_token_file": webhook_token}),
            "manage": _manage(cluster),
            "auto_offload": auto.model_copy(update={"rule_files": auto.rule_files or _text(offload_rules())}),
            "prometheus": prometheus.model_copy(
                update={"rule_files": prometheus.rule_files or _text(prometheus_rules())}
            ),
        }
    )


def _made(cluster: Cluster, named: Path | None, name: str) -> Path | None:
    """The token's file that is named, else the one that `cluster start` made, if it did.

    Without Ray's, Ray is somebody else's or still to come.
    """
    made = cluster.controller.state_dir / name
    return named or (made if made.exists() else None)


def _manage(cluster: Cluster) -> Manage:
    """Which of its programs run on the head. Asked there, so that what is there is what this machine has."""
    manage = cluster.manage
    prometheus, alertmanager = manage.prometheus, manage.alertmanager
    if prometheus is None:
        prometheus = "url" not in cluster.prometheus.model_fields_set
    if alertmanager is None:
        alertmanager = manage.alertmanager_config is not None or (
            prometheus and Path(manage.alertmanager_program).exists()
        )
    return manage.model_copy(update={"prometheus": prometheus, "alertmanager": alertmanager})


def _text(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(str(path) for path in paths)


def _node(node: Node, exporter_port: int) -> Node:
    ssh = node.ssh.model_copy(update={"host": node.ssh.host or node.address})
    return node.model_copy(
        update={
            "ssh": ssh,
            "state_dir": node.state_dir or str(_state_dir(node)),
            "exporter_port": node.exporter_port or exporter_port,
            "ray_node_ip": node.ray_node_ip or node.address,
        }
    )


def _state_dir(node: Node) -> Path:
    """Of the account that we are on that node; its home is taken to be where it is here."""
    if node.role is Role.HEAD or node.ssh.user is None:
        root, home = os.geteuid() == 0, Path.home()
    else:
        root = node.ssh.user == "root"
        home = Path(os.path.expanduser(f"~{node.ssh.user}"))  # noqa: PTH111 -- Path raises for accounts unknown here
        home = home if home.is_absolute() else Path("/home") / node.ssh.user
    root = root or (node.ssh.sudo and node.role is not Role.HEAD)
    return Path("/var/lib/grid-offloader") if root else home / ".local/state/grid-offloader"
