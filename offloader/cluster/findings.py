"""What nodes are like → findings, each with what mends it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from offloader.cluster.services import Place, programs, services
from offloader.config.models import Cluster, Node
from offloader.launcher.owner import ALMOST_ROOT
from offloader.model import Role

__all__ = ["Finding", "Level", "findings", "ports_of", "unreachable"]

Facts = Mapping[str, Any]

_OLDEST_PYTHON = (3, 11)
_SKEW_S = 2.0
_ROOM_BYTES = 2_000_000_000
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "lustre", "fuse.sshfs", "beegfs", "gpfs", "ceph")
_VOLATILE = ("tmpfs", "ramfs")
_MIGHTY = ALMOST_ROOT | {"sudo", "wheel"}


class Level(StrEnum):
    """How bad."""

    FINE = "ok"
    NOTE = "note"  # worth knowing, in nobody's way
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    found: str
    remedy: str = ""

    def document(self) -> dict[str, str]:
        """For programs."""
        return {"check": self.check, "level": self.level.value, "found": self.found, "remedy": self.remedy}


def unreachable(words: str) -> tuple[Finding, ...]:
    """Of a node that did not answer: nothing else is known of it."""
    return (Finding("ssh", Level.PROBLEM, words, "ssh to it by hand as this account; then run this again"),)


def ports_of(cluster: Cluster, node: Node) -> tuple[tuple[str, str, int], ...]:
    """Where the node's services listen: service, address, port."""
    nowhere = Place(app="", ray="", user="", home="")
    made = services(cluster, node, nowhere, Path())
    return tuple((service.name, host, port) for service in made for host, port in service.listens)


def findings(
    cluster: Cluster, facts: Mapping[str, Facts], states: Mapping[str, Mapping[str, Facts]]
) -> dict[str, tuple[Finding, ...]]:
    """Per reachable node everything that was looked at.

    Args:
        cluster: as configured.
        facts: of each reachable node, as the launcher's verb `facts` tells them.
        states: of each reachable node's services, by name.
    """
    usual = _Usual(facts)
    return {
        node.name: tuple(_of(cluster, node, facts[node.name], states.get(node.name, {}), usual))
        for node in cluster.nodes
        if node.name in facts
    }


class _Usual:
    """What most nodes have: who differs from that is told so."""

    def __init__(self, facts: Mapping[str, Facts]) -> None:
        self.python = _most(".".join(one["python"]["version"].split(".")[:2]) for one in facts.values())
        self.machine = _most(str(one["machine"]) for one in facts.values())
        self.ray = _most(version for one in facts.values() if (version := _version(one, "ray", "ray")))
        self.app = _most(version for one in facts.values() if (version := _version(one, "app", "grid-offloader")))
        self.driver = _most(str(one["nvidia"]["driver"]) for one in facts.values() if one["nvidia"]["driver"])


def _of(cluster: Cluster, node: Node, facts: Facts, states: Mapping[str, Facts], usual: _Usual) -> Iterator[Finding]:
    yield Finding("ssh", Level.FINE, f"{facts['user']}@{facts['hostname']}, kernel {facts['kernel']}")
    yield _python(facts, usual)
    yield from _versions(facts, usual)
    yield _clock(facts)
    yield from _ports(cluster, node, facts, states)
    yield from _disk(facts)
    yield from _shared(facts)
    yield from _programs(facts, programs(cluster, node))
    yield _criu(facts)
    yield _rsync(facts)
    yield _nvidia(facts, usual)
    yield _account(cluster, node, facts)


def _python(facts: Facts, usual: _Usual) -> Finding:
    version, minor = facts["python"]["version"], ".".join(facts["python"]["version"].split(".")[:2])
    if tuple(map(int, minor.split("."))) < _OLDEST_PYTHON:
        remedy = "install Python 3.11 or newer there and name it: nodes[].python"
        return Finding("python", Level.PROBLEM, f"Python {version} is too old", remedy)
    if not facts["python"]["venv"]:
        return Finding(
            "python", Level.PROBLEM, f"Python {version} makes no environments", "apt-get install python3-venv"
        )
    if minor != usual.python or facts["machine"] != usual.machine:
        remedy = "Ray's nodes need one minor version: nodes[].python names another program"
        words = f"Python {version} on {facts['machine']}, others have {usual.python} on {usual.machine}"
        return Finding("python", Level.PROBLEM, words, remedy)
    return Finding("python", Level.FINE, f"Python {version}")


def _versions(facts: Facts, usual: _Usual) -> Iterator[Finding]:
    for check, kind, package, wanted in (
        ("ray", "ray", "ray", usual.ray),
        ("grid-offloader", "app", "grid-offloader", usual.app),
    ):
        version = _version(facts, kind, package)
        if version is None:
            yield Finding(check, Level.NOTE, "not installed yet", "grid-offloader cluster install")
        elif version != wanted:
            remedy = "grid-offloader cluster install, then cluster restart"
            yield Finding(check, Level.PROBLEM, f"{version}, others have {wanted}", remedy)
        else:
            yield Finding(check, Level.FINE, version)


def _clock(facts: Facts) -> Finding:
    off, within = facts["skew_s"], facts["skew_within_s"]
    words = f"{off:+.2f} s against this machine (within {within:.2f} s)"
    if abs(off) - within > _SKEW_S:
        return Finding("clock", Level.PROBLEM, words, "run NTP there (chrony, systemd-timesyncd)")
    return Finding("clock", Level.FINE, words)


def _ports(cluster: Cluster, node: Node, facts: Facts, states: Mapping[str, Facts]) -> Iterator[Finding]:
    problems = {(host, port): problem for host, port, problem in facts["ports"]}
    fine = []
    for service, host, port in ports_of(cluster, node):
        problem = problems.get((host, port))
        ours = states.get(service, {}).get("state") in {"running", "waiting"}
        if problem is None or (problem == "taken" and ours):
            fine.append(str(port))
        elif problem == "taken":
            remedy = f"end what listens there (ss -tlnp 'sport = {port}'), or give {service} another port"
            yield Finding("ports", Level.PROBLEM, f"{host}:{port} ({service}) is taken", remedy)
        else:
            remedy = "the node's address in the cluster file must be one of its own"
            yield Finding("ports", Level.PROBLEM, f"{host}:{port} ({service}): {problem}", remedy)
    if fine:
        yield Finding("ports", Level.FINE, f"{', '.join(fine)} free or ours")


def _disk(facts: Facts) -> Iterator[Finding]:
    for key, one in facts["disk"].items():
        where, free = f"{one['path']} ({one['type']})", f"{one['free'] / 1e9:.1f} GB free"
        if not one["writable"]:
            remedy = f"give {facts['user']} that directory, or name another one"
            yield Finding("disk", Level.PROBLEM, f"{where} cannot be made or written", remedy)
        elif key == "runtime_dir":
            yield Finding("disk", Level.FINE, where)
        elif one["free"] < _ROOM_BYTES:
            yield Finding("disk", Level.PROBLEM, f"{where}: only {free}", "2 GB are needed")
        elif key.endswith("state_dir") and (one["type"] in _NETWORK or one["type"] in _VOLATILE):
            yield Finding("disk", Level.PROBLEM, f"{where} is no local disk", f"name a directory on one: {key}")
        else:
            yield Finding("disk", Level.FINE, f"{where}: {free}")


def _shared(facts: Facts) -> Iterator[Finding]:
    for path, seen in facts["shared"].items():
        directory = path.rpartition("/")[0]
        if seen:
            yield Finding("shared", Level.FINE, f"{directory} is the head's")
        else:
            yield Finding(
                "shared", Level.PROBLEM, f"{directory} is not the head's", "mount it there, or correct manage.shared"
            )


def _programs(facts: Facts, keys: Mapping[str, str]) -> Iterator[Finding]:
    for path, there in facts["programs"].items():
        if not there:
            remedy = f"apt-get install {path.rpartition('/')[2]}, or name it: {keys[path]}"
            yield Finding("programs", Level.PROBLEM, f"no {path}", remedy)


def _criu(facts: Facts) -> Finding:
    found = facts["criu"]
    if found is None or found["version"] is None:
        words = "no CRIU" if found is None else f"{found['program']} does not run"
        return Finding(
            "criu", Level.NOTE, f"{words}: no live moves", "install criu 4.2 or newer, or name it: nodes[].criu"
        )
    if facts["uid"] != 0:
        return Finding("criu", Level.NOTE, f"CRIU {found['version']}, but no root: no live moves")
    return Finding("criu", Level.FINE, f"CRIU {found['version']}")


def _rsync(facts: Facts) -> Finding:
    if facts["rsync"] is None:
        return Finding("rsync", Level.NOTE, "no rsync: working directories are not copied", "install rsync")
    return Finding("rsync", Level.FINE, facts["rsync"])


def _nvidia(facts: Facts, usual: _Usual) -> Finding:
    gpus, driver = facts["nvidia"]["gpus"], facts["nvidia"]["driver"]
    if gpus and driver is None:
        remedy = "install NVIDIA's driver there, and boot"
        return Finding("nvidia", Level.PROBLEM, f"{gpus} GPUs, but no driver is loaded", remedy)
    if driver is None:
        return Finding("nvidia", Level.FINE, "no GPU")
    if driver != usual.driver:
        words = f"driver {driver}, others have {usual.driver}"
        return Finding("nvidia", Level.NOTE, words, "CUDA programs may not run on every node")
    return Finding("nvidia", Level.FINE, f"driver {driver}")


def _account(cluster: Cluster, node: Node, facts: Facts) -> Finding:
    """Which kind of cluster it is, what that allows, and what it needs (architecture.md, Privileges)."""
    if not cluster.multi_user:
        return Finding("account", Level.FINE, f"single-account cluster: only {facts['user']}'s work moves")
    ray = cluster.manage.ray_user or ""
    there, problem, remedy = facts["accounts"].get(ray), "", ""
    if facts["uid"] != 0:
        problem, remedy = f"several users' cluster, but we are {facts['user']} there", "be root: nodes[].ssh.user"
    elif there is None or there["uid"] == 0:
        problem = f"{ray} is no ordinary account there"
        remedy = f"useradd --system --no-create-home --shell /usr/sbin/nologin {ray}, on every node"
    elif mighty := sorted(_MIGHTY.intersection(there["groups"])):
        problem, remedy = f"{ray} is as good as root there: in group {', '.join(mighty)}", "take it out of that group"
    elif node.role is Role.WORKER and facts["sudo"] is None:
        problem, remedy = "no sudo", "apt-get install sudo"
    if problem:
        return Finding("account", Level.PROBLEM, problem, remedy)
    return Finding("account", Level.FINE, f"several users' cluster: everybody's work moves, Ray runs as {ray}")


def _version(facts: Facts, kind: str, package: str) -> str | None:
    found: str | None = facts["installed"].get(kind, {}).get("versions", {}).get(package)
    return found


def _most(values: Iterable[str]) -> str | None:
    counted = Counter(values).most_common(1)
    return counted[0][0] if counted else None
