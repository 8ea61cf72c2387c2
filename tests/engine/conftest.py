"""Builders of small worlds: one head, workers, processes; every test states only what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from offloader.model import (
    Candidate,
    Capacity,
    Identity,
    Mode,
    Move,
    MoveState,
    NodeView,
    Policy,
    Process,
    ProcessClass,
    Reading,
    Reason,
    Resource,
    Role,
    Rule,
    Snapshot,
    StrategyName,
    Toggles,
)

GIB = 1 << 30
HEAD = "head"
BASH = (b"-bash",)


class Make:
    """Everything with defaults under which a move happens."""

    HEAD = HEAD
    GIB = GIB

    def process(self, pid: int, ppid: int = 1, *argv: bytes, **changes) -> Process:
        name = (argv[0] if argv else b"python3").rpartition(b"/")[2].decode()
        defaults = {
            "identity": Identity("boot", pid, 1000 + pid, changes.pop("uid", 1000), 8, 42),
            "ppid": ppid,
            "pgid": pid,
            "sid": pid,
            "tty_nr": 0,
            "state": "S",
            "comm": name.removeprefix("-")[:15],
            "user": "alice",
            "argv": argv or (b"python3", b"work.py"),
            "exe": f"/usr/bin/{name}",
            "cgroup": "/user.slice/user-1000.slice/session-3.scope",
            "age_s": 300.0,
        }
        return Process(**{**defaults, **changes})

    def init(self) -> Process:
        return self.process(1, 0, b"/sbin/init", uid=0, user="root", cgroup="/init.scope")

    def shell(self, pid: int = 100, ppid: int = 1, tty_nr: int = 34816, **changes) -> Process:
        return self.process(pid, ppid, *BASH, comm="bash", tty_nr=tty_nr, **changes)

    def table(self, *processes: Process) -> dict[int, Process]:
        everything = (self.init(), *processes)
        return {one.pid: one for one in everything}

    def candidate(self, pid: int = 500, cores: float = 2.0, memory: int = GIB, **changes) -> Candidate:
        leader = changes.pop("leader", None) or self.process(pid, 1, cpu_cores=cores, rss_bytes=memory)
        usage = changes.pop("usage", Capacity(cores, memory))
        defaults = {
            "leader": leader,
            "members": (leader,),
            "node": HEAD,
            "usage": usage,
            "needs": replace(usage, memory_bytes=int(usage.memory_bytes * 1.25)),
            "age_s": leader.age_s,
            "restart_safe": True,
        }
        return Candidate(**{**defaults, **changes})

    def node(
        self, name: str = "gpu1", cpu: float = 0.05, memory: float = 0.1, gpu: float | None = None, **changes
    ) -> NodeView:
        values = {Resource.CPU: cpu, Resource.MEMORY: memory} | ({} if gpu is None else {Resource.GPU: gpu})
        total = changes.pop("total", Capacity(8.0, 32 * GIB))
        defaults = {
            "name": name,
            "role": Role.WORKER,
            "up": True,
            "total": total,
            "offer": total,
            "pressure": {resource: Reading(name, value, 1.0) for resource, value in values.items()},
        }
        return NodeView(**{**defaults, **changes})

    def head(self, **changes) -> NodeView:
        return self.node(HEAD, 0.9, 0.5, **{"role": Role.HEAD, "offer": None, **changes})

    def rule(self, name: str = "cpu", resource: Resource = Resource.CPU, **changes) -> Rule:
        defaults = {
            "group": "head",
            "expr": "x",
            "threshold": 0.8,
            "relief": 0.65,
            "for_s": 0.0,
            "cooldown_s": 30.0,
        }
        return Rule(name=name, resource=resource, **{**defaults, **changes})

    def policy(self, **changes) -> Policy:
        return Policy(**{"head": HEAD, "own_uid": 1000, "notice_s": 0.0, **changes})

    def reading(self, value: float | None = 0.9, age_s: float | None = 1.0, problem: Reason | None = None) -> Reading:
        return Reading(HEAD, None if problem else value, age_s, problem)

    def snapshot(self, now: float = 1000.0, values: Mapping[str, float | Reading] | None = None, **changes) -> Snapshot:
        given = {"cpu": 0.9} if values is None else values
        readings = {
            (f"head/{name}", HEAD): value if isinstance(value, Reading) else self.reading(value)
            for name, value in given.items()
        }
        nodes = changes.pop("nodes", None) or (self.head(), self.node())
        defaults = {
            "now": now,
            "scrape_interval_s": 5.0,
            "nodes": {node.name: node for node in nodes},
            "values": readings,
            "whens": {},
            "candidates": (self.candidate(),),
            "toggles": Toggles(ceiling=Mode.AUTO),
        }
        return Snapshot(**{**defaults, **changes})

    def move(self, state: MoveState = MoveState.HELD, pid: int = 500, **changes) -> Move:
        created = changes.pop("created_t", 990.0)
        defaults = {
            "id": f"offload_{created:.0f}_{pid}",
            "job": "01J",
            "from_epoch": 0,
            "to_epoch": 1,
            "identity": Identity("boot", pid, 1000 + pid, changes.pop("uid", 1000), 8, 42),
            "source": HEAD,
            "target": "gpu1",
            "strategy": StrategyName.RESTART,
            "backend": "ray",
            "state": state,
            "requested_by": 0,
            "automatic": True,
            "rule": "head/cpu",
            "created_t": created,
            "updated_t": created,
        }
        return Move(**{**defaults, **changes})

    ProcessClass = ProcessClass


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
