"""A job that runs on some node in our care, as what is to be moved from there: described by its launcher's own node."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.model import Attempt, Candidate, Capacity, Identity, Job, Process
from offloader.moves.agent import Agent

__all__ = ["candidate_at"]


async def candidate_at(agent: Agent, attempt: Attempt, job: Job, needs: Capacity) -> Candidate:
    """What runs of the attempt now.

    Args:
        agent: its node's.
        attempt: one that owns its work.
        job: whose it is.
        needs: what was kept for it where it came from.

    Raises:
        VerbFailed: NO_SUCH_PROCESS: nothing of it runs there. NodeUnreachable.
    """
    answer = await agent.verb("members", agent.attempt_dir(attempt.job, attempt.epoch))
    try:
        found = tuple(_process(one, job.user) for one in answer["members"])
        leader = found[0]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NodeUnreachable(f"{agent.node.name}: what answers is no launcher") from error
    return Candidate(
        leader=leader,
        members=found,
        node=agent.node.name,
        usage=Capacity(cores=needs.cores, memory_bytes=sum(one.rss_bytes for one in found)),
        needs=needs,
        age_s=leader.age_s,
        restart_safe=job.restart_safe,
    )


def _process(one: Mapping[str, Any], user: str) -> Process:
    identity = Identity(
        boot_id=str(one["boot_id"]),
        pid=int(one["pid"]),
        start_ticks=int(one["start_ticks"]),
        uid=int(one["uid"]),
        exe_dev=int(one["exe_dev"]),
        exe_inode=int(one["exe_inode"]),
    )
    return Process(
        identity=identity,
        ppid=int(one["ppid"]),
        pgid=int(one["pgrp"]),
        sid=int(one["session"]),
        tty_nr=0,
        state=str(one["state"]),
        comm=str(one["comm"]),
        user=user,
        argv=tuple(base64.b64decode(word) for word in one["argv"]),
        age_s=float(one["age_s"]),
        rss_bytes=int(one["rss_bytes"]),
    )
