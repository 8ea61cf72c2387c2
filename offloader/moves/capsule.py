"""The capsule: what `launcher capture` saw at the source, plus what the successor must know of its move.

It holds the job's environment, so it goes to the target by stdin over SSH and is kept on the head in a file of mode
0600; it is never journalled, logged, or given to a backend (safety.md, Hand-off 13).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from offloader.model import Candidate, Move, Obstacle, Reason
from offloader.moves.order import FIRST_EPOCH, PART, Order
from offloader.moves.original import Copiers
from offloader.moves.plan import MovePlan

__all__ = ["commissioned", "compose", "differences", "process_part", "renewed"]

_VERSION = 1


_ACCOUNT = (b"HOME", b"USER", b"LOGNAME", b"SHELL", b"PATH", b"LANG")
"""What a program needs of its account's environment even where no state is captured."""


def compose(
    capture: Mapping[str, Any],
    move: Move,
    plan: MovePlan,
    shared: Sequence[Sequence[int]] = (),
    *,
    state_in: Sequence[bytes] = (),
    staged: Sequence[str] = (),
    copy: Copiers | None = None,
) -> dict[str, Any]:
    """The capsule of one attempt.

    Args:
        capture: the answer of `launcher capture`.
        move: whose target and epoch it is for.
        plan: what was asked for: additional variables, GPUs, whether state travels.
        shared: file systems that both nodes see: device number at the source, at the target.
        state_in: directories that it goes on from.
        staged: directories (base64) that are copied to the target.
        copy: by what an image of the original is restored there.
    """
    additions = {
        **plan.env,
        "MIGRATED_FROM_PID": str(move.identity.pid),
        "MIGRATION_TIME": str(int(move.created_t)),
        "TARGET_NODE": move.target,
        "OFFLOADING_TASK_ID": f"{move.job}.{move.to_epoch}",
    }
    return {
        "version": _VERSION,
        "job": move.job,
        "epoch": move.to_epoch,
        "move": move.id,
        "env_add": additions,
        # Ray gives its jobs their GPUs by this variable; nothing else of Ray's reaches the work.
        "pass_env": ["CUDA_VISIBLE_DEVICES"] if plan.candidate.needs.gpus else [],
        "process": process_part(capture, plan),
        "shared": [list(pair) for pair in shared],
        "state_in": [base64.b64encode(directory).decode() for directory in state_in],
        "staged": list(staged),
        **({"criu": copy.target, "terminal": copy.terminal is not None} if copy is not None else {}),
        **_checkpoint(plan.candidate),
    }


def _checkpoint(candidate: Candidate) -> dict[str, str]:
    """The file from which it goes on whenever its command is run again, where one was declared."""
    how = candidate.checkpointing
    return {} if how is None or how.file is None else {"checkpoint": base64.b64encode(how.file).decode()}


def commissioned(
    process: Mapping[str, Any], job: str, order: Order, *, env: Mapping[str, str], outputs_apart: bool
) -> dict[str, Any]:
    """The capsule of a job that `run` starts: of no move. Its attempts' are made from it by `renewed`.

    Args:
        process: the process part, made from what its user asked for.
        job: its id.
        order: kept with it, for the controller alone.
        env: variables put over those of the process part.
        outputs_apart: whether standard error gets a log of its own.
    """
    return {
        "version": _VERSION,
        "job": job,
        "epoch": FIRST_EPOCH,
        "move": "",
        "env_add": dict(env),
        "pass_env": ["CUDA_VISIBLE_DEVICES"] if order.needs.gpus else [],
        "process": dict(process),
        "outputs_apart": outputs_apart,
        "shared": [],
        PART: order.document(),
    }


def process_part(capture: Mapping[str, Any], plan: MovePlan) -> dict[str, Any]:
    """What of the captured process travels."""
    return dict(capture) if plan.capture_state else _without_state(capture)


def renewed(capsule: bytes, epoch: int, node: str) -> dict[str, Any]:
    """The same capsule for a later attempt, on that node. What it shares with the source is to be found out anew.

    Of an image nothing is left by then: its command is run again.
    """
    document: dict[str, Any] = json.loads(capsule)
    for part in ("criu", "terminal"):
        document.pop(part, None)
    document["epoch"] = epoch
    document["env_add"] |= {"TARGET_NODE": node, "OFFLOADING_TASK_ID": f"{document['job']}.{epoch}"}
    return {**document, "shared": []}


def _without_state(capture: Mapping[str, Any]) -> dict[str, Any]:
    """Environment, limits, nice and affinity left behind: what `--no-capture-state` asks for."""
    kept = [entry for entry in capture["environ"] if base64.b64decode(entry).partition(b"=")[0] in _ACCOUNT]
    return {**capture, "environ": kept, "rlimits": {}, "affinity": None, "nice": 0}


def differences(capture: Mapping[str, Any], candidate: Candidate) -> tuple[Obstacle, ...]:
    """What shows that the captured process is not the one that was chosen: a re-used pid must never be touched."""
    expected = candidate.identity
    seen = capture.get("identity", {})
    same = (
        seen.get("boot_id") == expected.boot_id
        and seen.get("start_ticks") == expected.start_ticks
        and seen.get("uid") == expected.uid
    )
    if same:
        return ()
    return (
        Obstacle(
            Reason.PID_REUSED,
            f"process {expected.pid} is not the one that was chosen: the pid was used again",
            "run `grid-offloader scan` and move what you see there",
        ),
    )
