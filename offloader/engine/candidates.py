"""From the processes of a node to candidates: every job that matters, with what it uses, needs, and what forbids it.

needs.cores is what the job used, not rounded up to whole cores: a worker of 0.66 core can take a job that used 0.5.
Predictions and the ledger reckon with it; only a backend that knows whole slots rounds up, in its own accounting.
Memory is needed with a quarter in reserve, GPU memory with half.
"""

from collections.abc import Mapping

from exporter.movability import ALLOW
from exporter.programs import Boundary
from offloader.engine.checkpointing import checkpointing_of
from offloader.engine.closure import Closure, Family
from offloader.engine.eligibility import Wishes, obstacles_of, owner_only_of
from offloader.engine.remedies import obstacle
from offloader.model import Candidate, Capacity, Obstacle, Policy, Process, ProcessClass, Reason

__all__ = ["candidate_for", "candidates_of"]

_MEMORY_RESERVE, _GPU_MEMORY_RESERVE = 1.25, 1.5
_MIN_CORES, _MIN_MEMORY = 0.05, 64 << 20
_OLD_S = 3600.0
_BUSY_RATIO, _IDLE_RATIO = 0.5, 0.1
"""Cores used per process of the job: above, it computes steadily; below, it mostly waits."""


def candidates_of(
    processes: Mapping[int, Process],
    *,
    node: str,
    policy: Policy,
    kept: Mapping[int, float],
    moving: frozenset[int],
    own_pids: frozenset[int],
    declared: frozenset[int] = frozenset(),
) -> tuple[Candidate, ...]:
    """Every significant job (0.05 core, 64 MiB or GPU memory in all), the largest first, movable or not.

    Args:
        processes: Every visible process of the node by pid.
        node: Its name.
        policy: Whose processes may be touched.
        kept: Pids whose owners said `keep`, and until when (Unix seconds).
        moving: Pids of jobs in flight.
        own_pids: The controller, exporter, Ray and Prometheus, in addition to what their names tell.
        declared: Pids of jobs started by `run`: restarting them is harmless.
    """
    family = Family(processes, own_pids)
    wishes = Wishes(kept, moving, own_pids)
    large = [members for members in family.jobs.values() if _significant(_usage(members))]
    jobs = (family.close(members[0].pid) for members in large)
    found = [_candidate(job, family, policy, wishes, node=node, declared=declared) for job in jobs if job is not None]
    return tuple(sorted(found, key=lambda one: (-one.usage.cores, -one.usage.memory_bytes, one.leader.pid)))


def candidate_for(
    processes: Mapping[int, Process],
    pid: int,
    *,
    node: str,
    policy: Policy,
    kept: Mapping[int, float] | None = None,
    moving: frozenset[int] = frozenset(),
    own_pids: frozenset[int] = frozenset(),
    declared: frozenset[int] = frozenset(),
) -> Candidate | Obstacle:
    """The job that one process belongs to, however small; an obstacle when there is no such process."""
    family = Family(processes, own_pids)
    job = family.close(pid)
    if job is None:
        return obstacle(Reason.NO_SUCH_PROCESS, f"no process {pid} on {node}")
    return _candidate(job, family, policy, Wishes(kept or {}, moving, own_pids), node=node, declared=declared)


def _candidate(
    job: Closure, family: Family, policy: Policy, wishes: Wishes, *, node: str, declared: frozenset[int]
) -> Candidate:
    usage = _usage(job.members)
    age_s = max(member.age_s for member in job.members)
    checkpointing, no_checkpoint = checkpointing_of(job.leader, job.members, policy)
    return Candidate(
        leader=job.leader,
        members=job.members,
        node=node,
        usage=usage,
        needs=Capacity(
            cores=usage.cores,
            memory_bytes=int(usage.memory_bytes * _MEMORY_RESERVE),
            gpus=usage.gpus,
            gpu_memory_bytes=int(usage.gpu_memory_bytes * _GPU_MEMORY_RESERVE),
        ),
        age_s=age_s,
        restart_safe=job.leader.wish == ALLOW or not job.pids.isdisjoint(declared),
        obstacles=obstacles_of(job, family, policy, wishes),
        owner_only=owner_only_of(job),
        checkpointing=checkpointing,
        no_checkpoint=no_checkpoint,
        kept_terminal=job.boundary is Boundary.KEEPER and job.leader.tty_nr != 0,
        confidence=_confidence(usage, age_s, len(job.members)),
        complexity=_complexity(usage, job.leader),
    )


def _usage(members: tuple[Process, ...]) -> Capacity:
    """What the job holds now. Memory: RSS and swap; the reader of /proc leaves tmpfs and shared pages out."""
    gpu_memory = sum(member.gpu_memory_bytes for member in members)
    return Capacity(
        cores=sum(member.cpu_cores for member in members),
        memory_bytes=sum(member.rss_bytes + member.swap_bytes for member in members),
        gpus=1 if gpu_memory else 0,
        gpu_memory_bytes=gpu_memory,
    )


def _significant(usage: Capacity) -> bool:
    return usage.cores >= _MIN_CORES or usage.memory_bytes >= _MIN_MEMORY or usage.gpu_memory_bytes > 0


def _confidence(usage: Capacity, age_s: float, processes: int) -> float:
    """How sure it is that moving this is worth it: 0..1."""
    ratio = usage.cores / processes
    steadiness = 0.1 if ratio >= _BUSY_RATIO else -0.1 if ratio < _IDLE_RATIO else 0.0
    confidence = 0.5 + (0.3 if usage.gpus else 0.0) + (0.2 if age_s > _OLD_S else 0.0) + steadiness
    return round(min(1.0, max(0.0, confidence)), 2)


def _complexity(usage: Capacity, leader: Process) -> str:
    if usage.gpus:
        return "high"
    return "low" if leader.process_class is ProcessClass.BATCH else "medium"
