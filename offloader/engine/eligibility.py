"""Whether a closed set of processes may be moved: what forbids it to everybody, and what leaves it to its owner.

What a rule selects (classes, users, age, patterns) is another question: select.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from exporter.movability import ALLOW, NEVER, STOPPED_STATES, container_of, service_of, waits_in_shell
from exporter.programs import Boundary, is_interactive_shell, matches, protection_of
from offloader.engine.closure import Closure, Family, ancestors
from offloader.engine.remedies import obstacle
from offloader.model import Obstacle, Policy, Process, Reason

__all__ = ["Wishes", "obstacles_of", "owner_only_of"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is known of processes by pid besides themselves.

    `kept`: their owners said keep, until then (Unix seconds). `moving`: part of a move in flight. `own`: the
    controller, exporter, Ray, Prometheus; their ancestors and descendants are protected with them.
    """

    kept: Mapping[int, float] = field(default_factory=dict)
    moving: frozenset[int] = frozenset()
    own: frozenset[int] = frozenset()


def obstacles_of(job: Closure, family: Family, policy: Policy, wishes: Wishes) -> tuple[Obstacle, ...]:
    """What keeps everybody from moving this job: one entry a reason, the plainest first."""
    relatives = _relatives(job, family.processes, wishes.own)
    home = frozenset(container_of(family.processes[pid].cgroup) for pid in wishes.own if pid in family.processes)
    checks: tuple[tuple[Reason, Callable[[Process], str | None]], ...] = (
        (
            Reason.ALREADY_MOVING,
            lambda one: "it is being moved, or its move started it again here" if one.pid in wishes.moving else None,
        ),
        (Reason.KERNEL_THREAD, lambda one: "a kernel thread" if one.kernel else None),
        (Reason.PROTECTED, lambda one: _protected(one, policy, relatives)),
        (Reason.INTERACTIVE, lambda one: _family_of(one, Reason.INTERACTIVE) or _shell(one)),
        *((reason, _named(reason)) for reason in _BY_NAME),
        (Reason.CONTAINER, lambda one: _inside_container(one, home)),
        (Reason.SET_ID, lambda one: "runs a set-user-id or set-group-id program" if one.set_id else None),
        (Reason.SYSTEM_USER, lambda one: _system_user(one, policy)),
        (Reason.OTHER_USER, lambda one: _other_user(one, policy)),
        (Reason.OPTED_OUT, lambda one: "its environment says GRID_OFFLOAD=never" if one.wish == NEVER else None),
        (Reason.KEPT, lambda one: _kept(wishes.kept.get(one.pid))),
        (Reason.STOPPED, lambda one: _stopped(one, wishes)),
        (Reason.TRACED, lambda one: f"traced by process {one.tracer_pid}" if one.tracer_pid else None),
        (Reason.UNREADABLE, _unreadable),
        (Reason.ARGV_REWRITTEN, lambda one: "its command line was overwritten" if one.argv_rewritten else None),
        (Reason.LICENCE, lambda one: _licensed(one, policy)),
        (Reason.CREDENTIALS, lambda one: _credentials(one, policy)),
        (Reason.REMOTE_CONNECTION, lambda one: "connected to another host by TCP" if one.remote_tcp else None),
    )
    found = [_first(reason, check, job.members) for reason, check in checks]
    return tuple(one for one in (*found, _open_edge(job, family)) if one is not None)


def owner_only_of(job: Closure) -> tuple[Obstacle, ...]:
    """What leaves the decision to the owner.

    GRID_OFFLOAD=allow lifts all but LISTENER: that its clients find it again is for a rule to say (`listeners`), or
    for the owner's own move.
    """
    found = [_first(Reason.LISTENER, lambda one: "listens for connections" if one.listening else None, job.members)]
    if job.leader.wish != ALLOW:
        found += [_supervised(job), _cron(job)]
        if job.boundary is not Boundary.KEEPER:  # no shell waits for it, but a stub that knows of moves
            found.append(_first(Reason.SHELL_WAITING, _foreground, job.members))
    return tuple(one for one in found if one is not None)


_BY_NAME = (Reason.DAEMON, Reason.SCHEDULER_CLIENT, Reason.WORKFLOW_DRIVER, Reason.FILE_TRANSFER)


def _first(reason: Reason, check: Callable[[Process], str | None], members: Iterable[Process]) -> Obstacle | None:
    """One obstacle for all members that have it, told by the first."""
    hits = [(member, seen) for member in members if (seen := check(member)) is not None]
    if not hits:
        return None
    member, seen = hits[0]
    more = f" (and {len(hits) - 1} more)" if len(hits) > 1 else ""
    return obstacle(reason, f"{member.comm} ({member.pid}): {seen}{more}")


def _relatives(job: Closure, processes: Mapping[int, Process], own: frozenset[int]) -> frozenset[int]:
    """The members that stand above or below one of our own processes, or are one."""
    above = {pid for one in own for pid in ancestors(processes, one)}
    return frozenset(
        member.pid
        for member in job.members
        if member.pid in own or member.pid in above or not own.isdisjoint(ancestors(processes, member.pid))
    )


def _protected(process: Process, policy: Policy, relatives: frozenset[int]) -> str | None:
    if process.pid in relatives:
        return "belongs to grid-offloader, Ray or the monitoring"
    if process.pid == 1:
        return "process 1"
    if process.user in policy.protected_users:
        return f"the configuration protects the account {process.user}"
    if matches(process, policy.protected):
        return "protected by the configuration"
    return _family_of(process, Reason.PROTECTED)


def _family_of(process: Process, reason: Reason) -> str | None:
    protection = protection_of(process)
    return protection.what if protection is not None and reason == Reason(protection.reason) else None


def _named(reason: Reason) -> Callable[[Process], str | None]:
    return lambda process: _family_of(process, reason)


def _shell(process: Process) -> str | None:
    return "an interactive shell" if is_interactive_shell(process) else None


def _system_user(process: Process, policy: Policy) -> str | None:
    uid = process.identity.uid
    return f"runs as {process.user}, uid {uid} is below {policy.min_uid}" if uid < policy.min_uid else None


def _other_user(process: Process, policy: Policy) -> str | None:
    if policy.multi_user or process.identity.uid == policy.own_uid:
        return None
    return f"runs as {process.user}, the cluster works for uid {policy.own_uid} only"


def _kept(until_t: float | None) -> str | None:
    return (
        None if until_t is None else f"its owner keeps it here until {datetime.fromtimestamp(until_t, UTC):%F %R} UTC"
    )


def _stopped(process: Process, wishes: Wishes) -> str | None:
    return "is stopped" if process.state in STOPPED_STATES and process.pid not in wishes.moving else None


def _unreadable(process: Process) -> str | None:
    if process.kernel:
        return None
    if not process.environ_readable:
        return "its environment cannot be read"
    return "its executable cannot be read" if process.exe is None else None


def _licensed(process: Process, policy: Policy) -> str | None:
    if matches(process, policy.licensed):
        return "holds a licence of this node"
    for name in sorted(process.licence_variables):
        if any(fnmatchcase(name, pattern) for pattern in policy.licence_variables):
            return f"its environment sets {name}: it may hold a licence of this node"
    return None


def _credentials(process: Process, policy: Policy) -> str | None:
    if not process.credentials or not policy.credentials_bind:
        return None
    return f"works with {', '.join(process.credentials)}, which the target does not have"


def _inside_container(process: Process, home: frozenset[str | None]) -> str | None:
    """A container other than the one that the controller itself may run in."""
    inside = container_of(process.cgroup)
    return f"inside the container {inside[:60]}" if inside is not None and inside not in home else None


def _open_edge(job: Closure, family: Family) -> Obstacle | None:
    if not job.open_edges:
        return None
    edge = job.open_edges[0]
    peer = "somebody outside of this node's visible processes"
    if edge.peer is not None:
        peer = f"{family.processes[edge.peer].comm} ({edge.peer})"
    more = f" (and {len(job.open_edges) - 1} more)" if len(job.open_edges) > 1 else ""
    return obstacle(Reason.OPEN_EDGE, f"process {edge.member} shares {edge.name} with {peer}{more}")


def _supervised(job: Closure) -> Obstacle | None:
    if job.boundary in (Boundary.SUPERVISOR, Boundary.SCHEDULER):
        assert job.above is not None
        return obstacle(Reason.SUPERVISED, f"started by {job.above.name} ({job.above.pid})")
    return _first(Reason.SUPERVISED, _service, job.members)


def _service(process: Process) -> str | None:
    unit = service_of(process.cgroup)
    return f"belongs to the service {unit}" if unit is not None else None


def _cron(job: Closure) -> Obstacle | None:
    if job.boundary is not Boundary.CRON:
        return None
    assert job.above is not None
    return obstacle(Reason.CRON, f"started by {job.above.name} ({job.above.pid})")


def _foreground(process: Process) -> str | None:
    waits = waits_in_shell(process.tty_nr, process.session_terminal_pgid, process.pgid)
    return "the foreground job of a terminal" if waits else None
