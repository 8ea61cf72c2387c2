"""Which services a node has, and how each is started: the one source of ports, options and files.

Keepers, systemd units, `cluster check`, `cluster status` and what deploy/ ships are all derived from here. Pure.
Sources: `ray start --help` and ray_config_def.h of Ray 2.60; prometheus(1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from offloader.cluster.addresses import joined, of_url, split
from offloader.cluster.alertmanager_files import alertmanager_text
from offloader.cluster.prometheus_files import prometheus_files
from offloader.config.models import Cluster, Node
from offloader.config.privileged import ray_account, ray_directory
from offloader.config.targets import exporter_target
from offloader.model import Role

__all__ = ["ORDER", "File", "Place", "Service", "programs", "ray_sessions", "service_names", "services"]

ORDER = ("exporter", "alertmanager", "prometheus", "ray", "controller")
"""They are started in this order, and ended in the opposite one."""

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RAY_READY_S = 90.0
_READY_S = 40.0

_RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Load is Prometheus' to tell, from our exporters alone (ADR 1); memory is our rules'.
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_open_telemetry": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Logs may lie below /run, which is memory.
    "RAY_ROTATION_MAX_BYTES": "16777216",
    "RAY_ROTATION_BACKUP_COUNT": "1",
    # A dead node is noticed within a quarter of a minute; a head that restarts is waited for.
    "RAY_health_check_initial_delay_ms": "10000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "120",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}

_CLOSED = "Sockets and logs of the Ray that grid-offloader runs: for Ray's account alone.\n"


@dataclass(frozen=True, slots=True)
class Place:
    """What of a node its services depend on: environments there, the account that runs them, Ray's token."""

    app: str
    ray: str
    user: str
    home: str
    runtime_dir: str = ""  # XDG_RUNTIME_DIR, where the account has one
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class File:
    """A file that a service reads. `owner`: whose it and its directory are, if not the account's that we are there."""

    path: str
    text: str = field(repr=False)
    mode: str = "0644"
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """One program that is kept running."""

    name: str
    description: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    listens: tuple[tuple[str, int], ...]  # free before it starts; ready once something listens on all of them
    user: str
    files: tuple[File, ...] = ()
    writes: tuple[str, ...] = ()  # directories that it writes to
    acts: bool = False  # on other processes of the node, which hardening must not prevent
    leaves: bool = False  # what it starts may outlive it
    private: bool = False  # what it writes is for its account alone
    ready_s: float = _READY_S
    grace_s: float = 15.0

    @property
    def mark(self) -> str:
        """Changes with anything that it was started with."""
        files = [(file.path, file.text) for file in self.files]
        text = json.dumps([self.argv, dict(self.environ), files, self.leaves], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def document(self) -> dict[str, object]:
        """As the launcher's verb `tend` takes it."""
        return {
            "argv": list(self.argv),
            "environ": dict(self.environ),
            "listens": [list(address) for address in self.listens],
            "ready_s": self.ready_s,
            "grace_s": self.grace_s,
            "leaves": self.leaves,
            "private": self.private,
            "mark": self.mark,
            "user": self.user,
        }


def service_names(cluster: Cluster, node: Node) -> tuple[str, ...]:
    """The services of a node, in the order in which they start."""
    if node.role is not Role.HEAD:
        return ("exporter", "ray")
    manage = cluster.manage
    wanted = {"prometheus": bool(manage.prometheus), "alertmanager": bool(manage.alertmanager)}
    return tuple(name for name in ORDER if wanted.get(name, True))


def programs(cluster: Cluster, node: Node) -> dict[str, str]:
    """Programs of the distribution that the node's services are: path → the key that names it."""
    manage, names = cluster.manage, service_names(cluster, node)
    found = {"prometheus": manage.prometheus_program, "alertmanager": manage.alertmanager_program}
    return {program: f"manage.{name}_program" for name, program in found.items() if name in names}


def services(cluster: Cluster, node: Node, place: Place, config: Path) -> tuple[Service, ...]:
    """The node's services, in the order in which they start. `config`: the cluster file, for the controller."""
    makers = {
        "exporter": lambda: _exporter(node, place),
        "alertmanager": lambda: _alertmanager(cluster, node, place),
        "prometheus": lambda: _prometheus(cluster, node, place),
        "ray": lambda: _ray(cluster, node, place),
        "controller": lambda: _controller(cluster, place, config),
    }
    return tuple(makers[name]() for name in service_names(cluster, node))


def ray_sessions(cluster: Cluster, user: str) -> str:
    """Where this cluster's Ray keeps sockets and logs on every node. Short whatever the names: unix(7).

    Several users share the node: then it is where only root can make it.
    """
    digest = hashlib.sha256(f"{cluster.name}\0{user}".encode()).hexdigest()[:8]
    return f"/run/grid-ray-{digest}" if cluster.multi_user else f"/tmp/grid-ray-{digest}"  # noqa: S108


def _exporter(node: Node, place: Place) -> Service:
    address = exporter_target(node)
    return Service(
        name="exporter",
        description="Tells Prometheus how loaded this node is",
        argv=(f"{place.app}/bin/grid-exporter", f"--web.listen-address={address}", *node.exporter_options),
        environ=_environ(place, place.app),
        listens=(split(address),),
        user=place.user,
    )


def _alertmanager(cluster: Cluster, node: Node, place: Place) -> Service:
    """Alone: one that belongs to no cluster of its own (alertmanager(1), --cluster.listen-address)."""
    manage, directory = cluster.manage, f"{node.state_dir}/alertmanager"
    ours = File(f"{directory}/alertmanager.yml", alertmanager_text(cluster))
    options = {
        "config.file": manage.alertmanager_config or ours.path,
        "storage.path": f"{directory}/data",
        "web.listen-address": manage.alertmanager_listen,
        "cluster.listen-address": "",
        "log.level": "warn",
    }
    return Service(
        name="alertmanager",
        description="Alertmanager of grid-offloader",
        argv=(manage.alertmanager_program, *(f"--{name}={value}" for name, value in options.items())),
        environ=_environ(place),
        listens=(split(manage.alertmanager_listen),),
        user=place.user,
        files=() if manage.alertmanager_config else (ours,),
        writes=(directory,),
    )


def _prometheus(cluster: Cluster, node: Node, place: Place) -> Service:
    directory = f"{node.state_dir}/prometheus"
    host, port = of_url(cluster.prometheus.url)
    options = {
        "config.file": f"{directory}/prometheus.yml",
        "storage.tsdb.path": f"{directory}/data",
        "storage.tsdb.retention.size": f"{cluster.manage.prometheus_retention}B",
        "web.listen-address": joined(host, port),
        "log.level": "warn",
    }
    files = prometheus_files(cluster, directory)
    return Service(
        name="prometheus",
        description="Prometheus of grid-offloader",
        argv=(
            cluster.manage.prometheus_program,
            *(f"--{name}={value}" for name, value in options.items()),
        ),
        environ={**_environ(place), "GOMAXPROCS": "2"},
        listens=((host, port),),
        user=place.user,
        files=tuple(File(path, text) for path, text in files.items()),
        writes=(directory,),
    )


def _ray(cluster: Cluster, node: Node, place: Place) -> Service:
    head, address = cluster.head, node.ray_node_ip
    account = ray_account(cluster, place.user)
    directory = ray_directory(cluster, node)
    token = f"{directory}/token"
    dashboard, port = of_url(cluster.ray.address)
    environ = {**_environ(place, place.ray), **_RAY_ENVIRONMENT, "RAY_AUTH_TOKEN_PATH": token}
    if account != place.user:
        environ |= {"HOME": directory, "USER": account, "LOGNAME": account}
    owner = account if account != place.user else ""
    sessions = ray_sessions(cluster, account)  # /tmp/ray is whoever's came first
    environ["RAY_TMPDIR"] = sessions
    role: tuple[str, ...] = (f"--address={joined(head.ray_node_ip, cluster.ray.port)}",)
    listens: tuple[tuple[str, int], ...] = ((address, cluster.ray.node_port),)
    if node.role is Role.HEAD:
        # On disk, so that jobs survive a restart of the head.
        environ |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": f"{directory}/gcs"}
        role = (
            "--head",
            f"--port={cluster.ray.port}",
            "--include-dashboard=true",
            f"--dashboard-host={dashboard}",
            f"--dashboard-port={port}",
            "--no-monitor",
        )
        listens = ((address, cluster.ray.port), (address, cluster.ray.node_port), (dashboard, port))
    return Service(
        name="ray",
        description="Ray, which moved work runs on",
        argv=(
            f"{place.ray}/bin/python",
            f"{place.ray}/bin/ray",
            "start",
            "--block",
            *role,
            f"--node-ip-address={address}",
            f"--node-manager-port={cluster.ray.node_port}",
            f"--labels=node={node.name}",
            "--include-log-monitor=false",
            "--disable-usage-stats",
            *node.ray_options,
        ),
        environ={**environ, **cluster.ray.environment},
        listens=listens,
        user=account,
        files=(
            File(token, place.token, "0600", owner),
            # Ray opens all that it makes below to everybody (try_make_directory_shared of ray/_common/utils.py).
            File(f"{sessions}/README", _CLOSED, "0600", owner),
        ),
        writes=(directory, sessions),
        acts=True,
        private=True,
        ready_s=_RAY_READY_S,
        grace_s=30.0,
    )


def _controller(cluster: Cluster, place: Place, config: Path) -> Service:
    return Service(
        name="controller",
        description="grid-offloader's controller",
        argv=(f"{place.app}/bin/grid-offloader", "serve", "--config", str(config)),
        environ={
            **_environ(place, place.app),
            **({"XDG_RUNTIME_DIR": place.runtime_dir} if place.runtime_dir else {}),
        },
        listens=(split(cluster.controller.listen),),
        user=place.user,
        writes=(str(cluster.controller.state_dir), str(cluster.controller.runtime_dir)),
        acts=True,
        leaves=True,
    )


def _environ(place: Place, environment: str = "") -> dict[str, str]:
    return {
        "PATH": f"{environment}/bin:{_SYSTEM_PATH}" if environment else _SYSTEM_PATH,
        "HOME": place.home,
        "USER": place.user,
        "LOGNAME": place.user,
        "LANG": "C.UTF-8",
    }
