"""What is wrong now, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from offloader.daemon.controller import Controller, View
from offloader.daemon.ticker import Beat
from offloader.engine.remedies import REMEDIES
from offloader.engine.schema import RulePhase
from offloader.jobs.aftermath import launches
from offloader.model import AttemptState, JobState, Mode, Move, MoveState, Reading, Reason, Role, Toggles
from offloader.moves.incidents import IncidentKind

__all__ = ["Trouble", "problems_of"]

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with the controller itself."""

    beat: Beat
    reload_error: str | None = None


def problems_of(controller: Controller, toggles: Toggles, trouble: Trouble, recent: Iterable[Move]) -> list[Document]:
    """Worst first: what stops everything, then what makes blind, then what limits."""
    return [
        *_switched_off(controller, toggles),
        *_own(controller, trouble),
        *(_blind(controller.view) if controller.view else ()),
        *(_lost(move) for move in recent if move.state is MoveState.LOST),
        *_incidents(controller, recent),
        *_jobs(controller),
        *(_workers(controller.view) if controller.view else ()),
    ]


def _problem(reason: Reason | None, text: str, command: str) -> Document:
    return {"reason": reason.value if reason else None, "text": text, "command": command}


def _switched_off(controller: Controller, toggles: Toggles) -> Iterator[Document]:
    if toggles.kill_switch:
        path = controller.parts.switches.kill_switch_path
        yield _problem(
            Reason.KILL_SWITCH, f"the kill-switch {path} is there: nothing moves", controller.parts.switches.unlock
        )
    if controller.parts.records_only:
        text = f"this controller moves nothing, it only records: {controller.parts.records_only}"
        yield _problem(None, text, "mend that and start it again: grid-offloader serve")
    pressed = controller.view and any(
        state.phase in (RulePhase.FIRING, RulePhase.RELIEVING) for state in controller.view.state.rules.values()
    )
    waiting = [one for one in controller.proposals() if not one.approved]
    if waiting:
        many = f"{len(waiting)} planned moves wait" if len(waiting) > 1 else "a planned move waits"
        yield _problem(Reason.APPROVAL, f"{many} for somebody to agree", "grid-offloader approve")
    if pressed and not toggles.ceiling.allows(Mode.APPROVE) and not toggles.kill_switch:
        yield _problem(
            Reason.CEILING,
            f"the head is under pressure and nothing may move by itself (ceiling {toggles.ceiling})",
            "grid-offloader auto --enable",
        )


def _own(controller: Controller, trouble: Trouble) -> Iterator[Document]:
    if controller.journal_error or controller.parts.store.degraded:
        error = controller.journal_error or "the disk of the state directory is full"
        yield _problem(Reason.JOURNAL_FAILED, f"{error}: no new move is accepted", "df -h; free some space there")
    if trouble.reload_error:
        first, *rest = trouble.reload_error.splitlines()
        more = f" (and {len(rest)} more)" if rest else ""
        yield _problem(
            None, f"the last reload was refused, the configuration before it is in force: {first}{more}",
            f"grid-offloader config check {controller.setup.file}",
        )  # fmt: skip
    if trouble.beat.error:
        yield _problem(None, f"the last check failed: {trouble.beat.error}", "look at the controller's log")
    interval_s = controller.setup.tick_interval_s
    if trouble.beat.took_s > interval_s:
        text = f"checks take longer ({trouble.beat.took_s:.1f} s) than they may ({interval_s:.1f} s): some are missed"
        yield _problem(None, text, "raise auto_offload.check_interval, or give the head some air")


def _blind(view: View) -> Iterator[Document]:
    """One line per cause: Prometheus being away is one problem, not one per node, rule and resource."""
    head = view.setup.policy.head
    node = view.snapshot.nodes.get(head)
    readings = [*(node.pressure.values() if node else ()), *view.snapshot.values.values()]
    told: set[tuple[Reason, str]] = set()
    for reading in readings:
        if reading.problem is not None and reading.node == head and (reading.problem, reading.detail) not in told:
            told.add((reading.problem, reading.detail))
            yield _blindness(reading)


def _blindness(reading: Reading) -> Document:
    assert reading.problem is not None
    text = f"no value to act on for {reading.node}: {reading.detail or reading.problem}"
    return _problem(reading.problem, text, REMEDIES.get(reading.problem, ""))


def _lost(move: Move) -> Document:
    text = f"{move.id} was lost ({move.reason or 'no reason known'})"
    return _problem(move.reason, text, f"grid-offloader status {move.id}")


_INCIDENTS = {
    IncidentKind.LOST: (None, "grid-offloader status {move}"),
    IncidentKind.FAILED_EARLY: (Reason.QUARANTINED, "grid-offloader logs {move}"),
    IncidentKind.RESPAWNED: (
        Reason.SUPERVISED,
        "end one of the two: grid-offloader cancel {move}, or whatever starts it again on the head",
    ),
}


def _incidents(controller: Controller, recent: Iterable[Move]) -> Iterator[Document]:
    told = {move.id for move in recent if move.state is MoveState.LOST}
    for one in controller.parts.incidents.troubles():
        if one["kind"] != IncidentKind.LOST or one["move"] not in told:
            yield _incident(one)


def _incident(one: Mapping[str, Any]) -> Document:
    reason, command = _INCIDENTS[IncidentKind(one["kind"])]
    return _problem(reason, one["detail"], command.format(move=one["move"]))


def _jobs(controller: Controller) -> Iterator[Document]:
    """Jobs in our care that nobody can see just now, or that wait for a place to start."""
    store = controller.parts.store
    for job in store.followed_jobs():
        attempts, move = store.attempts(job.id), store.move_of_job(job.id)
        attempt = attempts[-1]
        if move is not None and not move.state.final:
            continue
        name = f"{job.name} of {job.user} ({move.id if move is not None else job.id})"
        if job.state is JobState.UNKNOWN:
            text = f"{name} may run on {attempt.node}, which does not answer"
            yield _problem(Reason.TARGET_DOWN, text, f"bring {attempt.node} back, or boot it: then it is clear")
        elif attempt.state is AttemptState.PENDING and not attempt.node:
            again = " again" if move is not None or launches(attempts) else ""
            text = f"{name} is to start{again} and has no place"
            yield _problem(Reason.NO_TARGET, text, REMEDIES.get(Reason.NO_TARGET, ""))


def _workers(view: View) -> Iterator[Document]:
    down = [node for node in view.snapshot.nodes.values() if node.role is Role.WORKER and not node.up]
    if len(down) > 1:
        names = ", ".join(node.name for node in down)
        yield _problem(Reason.TARGET_DOWN, f"{len(down)} workers are down: {names}", REMEDIES[Reason.DOWN])
    elif down:
        text = f"worker {down[0].name} is down: {down[0].offer_reason}"
        yield _problem(Reason.TARGET_DOWN, text, REMEDIES[Reason.DOWN])
