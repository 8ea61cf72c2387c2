"""A move that is over, all that the journal holds of it, and its receipt; each test changes what it is about."""

from dataclasses import replace
from typing import Any

from offloader.jobs.receipt import Record
from offloader.jobs.store import Step
from offloader.jobs.transitions import ORDER
from offloader.model import (
    Attempt,
    AttemptState,
    Correction,
    Decided,
    Estimate,
    Figure,
    Identity,
    Move,
    MoveState,
    Pressures,
    ProcessClass,
    Reading,
    Reason,
    Receipt,
    Resource,
    StrategyName,
)

T = 1_700_000_000.0
CPU, MEMORY = Resource.CPU, Resource.MEMORY


def move(state: MoveState = MoveState.DONE, **changes: Any) -> Move:
    """Created at T, from head to gpu1."""
    who = Identity("boot", 42, 777, 1000, 5, 6)
    made = Move(
        "offload_1700000000_42", "01J", 0, 1, who, "head", "gpu1", StrategyName.RESTART, "ray", state, 1000, True,
        "g/cpu", T, T + 12, downtime_s=1.5,
    )  # fmt: skip
    return replace(made, **changes)


def attempt(epoch: int = 0, **changes: Any) -> Attempt:
    """Epoch 0 began 600 s before T and was ended by the move; later ones run on gpu1."""
    if epoch == 0:
        made = Attempt("01J", 0, "head", "local", None, 42, AttemptState.ENDED, T - 600, T + 11)
    else:
        made = Attempt("01J", epoch, "gpu1", "ray", f"01J-{epoch}", 500 + epoch, AttemptState.RUNNING, T + 6)
    return replace(made, **changes)


def steps(*states: MoveState) -> tuple[Step, ...]:
    """A second each; without states the way of a move that meets no trouble: frozen at T + 5, committed at T + 11."""
    return tuple(Step(T + number, state, None, "") for number, state in enumerate(states or ORDER))


def record(**changes: Any) -> Record:
    """The whole of it."""
    one = changes.get("move", move())
    made = Record(one, steps(), (attempt(0), attempt(1)), (one,))
    return replace(made, **changes)


def reading(value: float | None = 0.9, age_s: float = 2.0, problem: Reason | None = None, detail: str = "") -> Reading:
    return Reading("head", value, age_s, problem, detail)


def pressures(t: float = T, cpu: float = 0.9, memory: float = 0.5, **changes: Any) -> Pressures:
    return replace(Pressures(t, {CPU: reading(cpu), MEMORY: reading(memory)}, reading(cpu)), **changes)


def decided(**changes: Any) -> Decided:
    """By a rule over CPU, for a job that used 0.4 of it and 0.1 of the memory."""
    estimate = Estimate(600.0, 5.0, 600.0, 1 << 30, 3.2, 0, {CPU: 0.4, MEMORY: 0.1}, Correction(1.25, 0.5, 7, 9))
    return replace(Decided(ProcessClass.TRAINING, pressures(), estimate, 0.8, 0.65), **changes)


def receipt(**changes: Any) -> Receipt:
    """With everything in it."""
    made = Receipt(
        move="offload_1700000000_42",
        job="01J",
        strategy=StrategyName.RESTART,
        outcome=MoveState.DONE,
        source="head",
        rule="g/cpu",
        t=T + 60,
        decided=decided(),
        after=pressures(T + 50, cpu=0.45, memory=0.41),
        downtime_s=Figure(1.5),
        work_lost_s=Figure(605.0, "it saves its work", at_most=True),
        bytes_moved=Figure(0),
        steps=((MoveState.PLANNED, 1.0), (MoveState.HELD, 2.5)),
        beside=("offload_1699999990_41",),
    )
    return replace(made, **changes)
