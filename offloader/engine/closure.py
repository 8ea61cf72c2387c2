"""What a job is: the closed set of processes that moves as a whole or not at all.

Two processes belong together when one is the other's parent (unless the parent is a boundary: a login or interactive
shell, sshd, a multiplexer, a service manager, cron, a scheduler daemon) or when they share a process group. A job is a
connected component of that relation: `producer | gzip` is one job, and so is a tree with what it left in its group.
A boundary in the same group joins the job (a shell without job control, a supervisor that makes no groups): the job is
then protected by it, rather than torn from it. Then every edge must end inside.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from exporter.programs import Boundary, boundary_by_name
from offloader.model import Process

__all__ = ["Closure", "Family", "OpenEdge", "ancestors"]

OUTSIDE = "outside:"
"""How the reader of /proc marks an edge whose other end is at no visible process (model.Process.edges)."""
_TRACE = "ptrace"
_DEAD = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class OpenEdge:
    """A kernel object that a member shares with a process outside; `peer` is None where that one is not visible."""

    name: str
    member: int
    peer: int | None


@dataclass(frozen=True, slots=True)
class Closure:
    """A job. `leader` is its topmost process, the group's leader where several stand side by side (`roots`).

    `above` is the process that the leader hangs below and `boundary` its kind; None: its parent is not visible.
    """

    leader: Process
    members: tuple[Process, ...]
    roots: tuple[int, ...]
    above: Process | None
    boundary: Boundary | None
    open_edges: tuple[OpenEdge, ...]

    @property
    def pids(self) -> frozenset[int]:
        """Its processes."""
        return frozenset(member.pid for member in self.members)


class Family:
    """All processes of a node at one instant, with the relations among them reckoned once.

    Args:
        processes: Every visible process by pid.
        own_pids: The controller, exporter, Ray, Prometheus: what stands above them is a boundary.
    """

    def __init__(self, processes: Mapping[int, Process], own_pids: frozenset[int] = frozenset()) -> None:
        self.processes = processes
        self._above_own = frozenset(pid for own in own_pids for pid in ancestors(processes, own)) - own_pids
        self._kinds: dict[int, Boundary | None] = {}
        self._root: dict[int, int] = {}
        for pid, process in processes.items():
            self._relate(pid, process)

    @cached_property
    def jobs(self) -> Mapping[int, tuple[Process, ...]]:
        """Every job by an arbitrary one of its pids; dead processes hold nothing and are left out."""
        found: dict[int, list[Process]] = {}
        for pid in sorted(self.processes):
            process = self.processes[pid]
            if process.state not in _DEAD:
                found.setdefault(self._find(pid), []).append(process)
        return {root: tuple(members) for root, members in found.items()}

    @cached_property
    def _holders(self) -> Mapping[str, tuple[int, ...]]:
        found: dict[str, list[int]] = {}
        for pid in sorted(self.processes):
            for edge in self.processes[pid].edges:
                found.setdefault(edge, []).append(pid)
        return {edge: tuple(pids) for edge, pids in found.items()}

    @cached_property
    def _traced(self) -> Mapping[int, tuple[int, ...]]:
        """By tracer, whom it traces: frozen or ended, it would stop them, or let them go."""
        found: dict[int, list[int]] = {}
        for pid in sorted(self.processes):
            if self.processes[pid].tracer_pid:
                found.setdefault(self.processes[pid].tracer_pid, []).append(pid)
        return {tracer: tuple(pids) for tracer, pids in found.items()}

    def boundary(self, pid: int) -> Boundary | None:
        """What kind of boundary this process is, if any. Process 1 manages whatever it is called."""
        if pid not in self._kinds:
            self._kinds[pid] = self._boundary(pid)
        return self._kinds[pid]

    def close(self, pid: int) -> Closure | None:
        """The job that this process belongs to; None when the process is not there (any more)."""
        if pid not in self.processes or self.processes[pid].state in _DEAD:
            return None
        members = self.jobs[self._find(pid)]
        pids = frozenset(member.pid for member in members)
        roots = tuple(member for member in members if member.ppid not in pids or self.boundary(member.ppid))
        leader = min(roots or members, key=lambda one: (one.pid != one.pgid, one.identity.start_ticks, one.pid))
        above = self.processes.get(leader.ppid)
        return Closure(
            leader=leader,
            members=members,
            roots=tuple(root.pid for root in roots),
            above=above,
            boundary=self.boundary(above.pid) if above else None,
            open_edges=self._open_edges(members, pids),
        )

    def _boundary(self, pid: int) -> Boundary | None:
        process = self.processes.get(pid)
        if process is None:
            return None
        by_name = boundary_by_name(process)
        if by_name is not None:
            return by_name
        if pid == 1 or process.kernel:
            return Boundary.MANAGER
        return Boundary.OWN if pid in self._above_own else None

    def _relate(self, pid: int, process: Process) -> None:
        if process.ppid in self.processes and self.boundary(process.ppid) is None:
            self._join(pid, process.ppid)
        # Group 0 stands for one outside of this pid namespace; a leader that ended is still its group's name.
        if process.pgid > 0 and not process.kernel:
            self._join(pid, -process.pgid)

    def _find(self, node: int) -> int:
        root = node
        while (up := self._root.get(root, root)) != root:
            root = up
        while (up := self._root.get(node, node)) != root:
            self._root[node], node = root, up
        return root

    def _join(self, one: int, other: int) -> None:
        self._root[self._find(one)] = self._find(other)

    def _open_edges(self, members: tuple[Process, ...], pids: frozenset[int]) -> tuple[OpenEdge, ...]:
        found: list[OpenEdge] = []
        for member in members:
            for edge in sorted(member.edges):
                if edge.startswith(OUTSIDE):
                    found.append(OpenEdge(edge.removeprefix(OUTSIDE), member.pid, None))
                found += (OpenEdge(edge, member.pid, peer) for peer in self._holders[edge] if peer not in pids)
            traced = self._traced.get(member.pid, ())
            found += (OpenEdge(_TRACE, member.pid, peer) for peer in traced if peer not in pids)
        return tuple(found)


def ancestors(processes: Mapping[int, Process], pid: int) -> tuple[int, ...]:
    """From the parent upwards; a loop (pids read at different instants) ends it."""
    found: list[int] = []
    process = processes.get(pid)
    while process is not None and process.ppid in processes and process.ppid not in found:
        found.append(process.ppid)
        process = processes.get(process.ppid)
    return tuple(found)
