"""How a job is asked to save its state, by whose declaration, and what is missing where it cannot be.

The process's own environment says it best; a rule, then the cluster file's patterns, say it for those that say nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

from exporter.programs import matches
from offloader.engine.remedies import obstacle
from offloader.model import Candidate, Checkpointing, CheckpointPattern, Obstacle, Policy, Process, Reason, Rule
from offloader.model.signals import signal_name, signal_number

__all__ = ["DEFAULT_SIGNAL", "checkpointing_of", "declared_by"]

DEFAULT_SIGNAL = "USR1"
"""Asked by where only the file is declared."""


def checkpointing_of(
    leader: Process, members: Sequence[Process], policy: Policy
) -> tuple[Checkpointing | None, Obstacle | None]:
    """What the job itself, or a pattern of the cluster file, declares: how it is asked, or why it cannot be."""
    for member in (leader, *(one for one in members if one is not leader)):
        if member.checkpoint_signal is not None or member.checkpoint_file is not None:
            return _judged(_of_process(member), members)
    pattern = next((one for one in policy.checkpoints if _is_for(one, leader)), None)
    if pattern is not None:
        return _judged(_of_pattern(pattern, leader, "the cluster file"), members)
    return None, obstacle(Reason.NO_CHECKPOINT, f"{leader.comm} ({leader.pid}): nobody says how it saves its state")


def declared_by(rule: Rule, candidate: Candidate) -> Candidate:
    """The candidate as this rule sees it: what the rule declares holds where the job itself declares nothing."""
    pattern = rule.move.checkpoint
    own = any(one.checkpoint_signal is not None or one.checkpoint_file is not None for one in candidate.members)
    if pattern is None or own:
        return candidate
    how, missing = _judged(_of_pattern(pattern, candidate.leader, f"rule {rule.key}"), candidate.members)
    return replace(candidate, checkpointing=how, no_checkpoint=missing)


def _of_process(process: Process) -> Checkpointing | Obstacle:
    name = process.checkpoint_signal if process.checkpoint_signal is not None else DEFAULT_SIGNAL
    number = signal_number(name)
    if number is None:
        seen = f"{process.comm} ({process.pid}): GRID_OFFLOAD_CHECKPOINT_SIGNAL={name[:40]} is no signal to ask it by"
        return obstacle(Reason.NO_CHECKPOINT, seen)
    return Checkpointing(number, process.checkpoint_file, source="its environment")


def _is_for(pattern: CheckpointPattern, leader: Process) -> bool:
    if pattern.process_class is not None and leader.process_class is not pattern.process_class:
        return False
    return not pattern.programs or matches(leader, pattern.programs)


def _of_pattern(pattern: CheckpointPattern, leader: Process, source: str) -> Checkpointing | Obstacle:
    file = None
    if pattern.file is not None:
        if leader.cwd is None and not pattern.file.startswith("/"):
            seen = f"{leader.comm} ({leader.pid}): its working directory, where its checkpoint is, cannot be read"
            return obstacle(Reason.NO_CHECKPOINT, seen)
        file = os.path.join(os.fsencode(leader.cwd or "/"), os.fsencode(pattern.file))  # noqa: PTH118 -- bytes
    return Checkpointing(pattern.signal, file, pattern.grace_s, source)


def _judged(how: Checkpointing | Obstacle, members: Sequence[Process]) -> tuple[Checkpointing | None, Obstacle | None]:
    """A signal that nobody handles would end the job instead of telling it something."""
    if isinstance(how, Obstacle):
        return None, how
    if any(one.handled_signals >> (how.signal - 1) & 1 for one in members):
        return how, None
    word = signal_name(how.signal)
    seen = f"none of its processes handles {word}, by which it is to be asked to save (as {how.source} says)"
    return None, obstacle(Reason.NO_CHECKPOINT, seen)
