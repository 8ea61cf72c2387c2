"""What bounds moving, however many rules fire: modes, kill-switch, budgets, intervals, quarantine; and by hand."""

from collections.abc import Iterable, Sequence

from offloader.engine.remedies import obstacle
from offloader.engine.schema import EngineState, Failure, Notice, Proposal, identity_key
from offloader.engine.select import ways
from offloader.model import (
    Candidate,
    Mode,
    Move,
    Obstacle,
    Policy,
    Process,
    Reason,
    Rule,
    Snapshot,
    StrategyName,
    Toggles,
)

__all__ = ["budget_left", "effective_mode", "in_flight", "name_of", "permit_manual", "process_limits", "quarantined"]

_HOUR_S = 3600.0
_ROOT = 0


def effective_mode(rule: Rule, toggles: Toggles) -> Mode:
    """The lower one of the rule's mode and the ceiling; a rule without a mode follows the ceiling."""
    return (rule.mode or toggles.ceiling).capped(toggles.ceiling)


def in_flight(moves: Iterable[Move]) -> tuple[Move, ...]:
    """Moves that are not over."""
    return tuple(move for move in moves if not move.state.final)


def budget_left(node: str, snapshot: Snapshot, policy: Policy) -> Obstacle | None:
    """What forbids any automatic start off this node now; None: one more is within the budgets."""
    if policy.budgets.starts_per_tick_and_node < 1:
        return obstacle(Reason.BUDGET_NODE, "the configuration allows no starts")
    hour = [move.created_t for move in snapshot.moves if move.created_t > snapshot.now - _HOUR_S]
    if len(hour) >= policy.budgets.per_hour:
        seen = f"{len(hour)} moves in the last hour, {policy.budgets.per_hour} are allowed"
        wait_s = min(hour, default=snapshot.now) + _HOUR_S - snapshot.now
        return obstacle(Reason.BUDGET_HOUR, f"{seen}; the oldest counts for {max(1.0, wait_s / 60):.0f} min more")
    return _concurrency(node, snapshot.moves, policy)


def process_limits(candidate: Candidate, state: EngineState, snapshot: Snapshot, policy: Policy) -> Obstacle | None:
    """What forbids this candidate's automatic move for what happened to it, or runs for its user, before."""
    if moving := _move_of(candidate, in_flight(snapshot.moves)):
        return obstacle(Reason.ALREADY_MOVING, f"{moving.id} is {moving.state}")
    since = snapshot.now - policy.budgets.process_interval_s
    if recent := _move_of(candidate, [move for move in snapshot.moves if move.updated_t > since]):
        seen = f"{recent.id} ended {snapshot.now - recent.updated_t:.0f} s ago"
        return obstacle(Reason.BUDGET_PROCESS, f"{seen}; it rests for {recent.updated_t - since:.0f} s more")
    if told := _recent_notice(candidate, state):
        seen = f"its owner was told {snapshot.now - told.given_t:.0f} s ago ({told.outcome}): no second notice so soon"
        return obstacle(Reason.BUDGET_PROCESS, seen)
    if said := _declined(candidate, state, snapshot.now - policy.budgets.process_interval_s):
        seen = f"its move to {said.target} was declined {snapshot.now - (said.ended_t or snapshot.now):.0f} s ago"
        return obstacle(Reason.DECLINED, seen)
    if why := quarantined(candidate, state, snapshot, policy):
        return obstacle(Reason.QUARANTINED, why)
    return _user_limit(candidate, snapshot.moves, policy)


def quarantined(candidate: Candidate, state: EngineState, snapshot: Snapshot, policy: Policy) -> str | None:
    """Why the process is left alone after failures: by its name (the daemon's list) or by its own failed moves."""
    name = name_of(candidate.leader)
    if name in snapshot.quarantined:
        return f"{name} failed soon after a move, or came back here, a short while ago"
    keys = {identity_key(member.identity) for member in candidate.members}
    failed = [one for one in state.failures if one.process in keys and _recent(one, snapshot.now, policy)]
    if len(failed) < policy.budgets.failures_to_quarantine:
        return None
    return f"{len(failed)} moves of it failed within {policy.budgets.quarantine_s:.0f} s"


def name_of(process: Process) -> str:
    """How quarantine names a process: user:comm, without its arguments."""
    return f"{process.user}:{process.comm}"


def permit_manual(
    candidate: Candidate,
    moves: Sequence[Move],
    snapshot: Snapshot,
    policy: Policy,
    *,
    requester_uid: int,
    now: float,
    available: tuple[StrategyName, ...] = (StrategyName.RESTART,),
) -> tuple[Obstacle, ...]:
    """What forbids a person's own move of this candidate; empty: it may go, if it has a place (`place_on`).

    It passes over the candidate's age, work that is lost, `owner_only`, cooldowns, the hour's budget, intervals,
    quarantine, and the owner's over what he himself said to keep; never over protections, another owner, the
    kill-switch, a move in flight, nor over how many moves may be in flight at once.
    """
    found: list[Obstacle] = []
    if snapshot.toggles.kill_switch:
        found.append(obstacle(Reason.KILL_SWITCH, "the file `disabled` stops every move"))
    foreign = next((one for one in candidate.members if requester_uid not in (_ROOT, one.identity.uid)), None)
    if foreign is not None:
        found.append(obstacle(Reason.NOT_YOURS, f"process {foreign.pid} belongs to {foreign.user}"))
    keeps_itself = requester_uid == candidate.identity.uid
    found += [one for one in candidate.obstacles if not (one.reason is Reason.KEPT and keeps_itself)]
    running = in_flight(moves)
    moving = _move_of(candidate, running)
    if moving is not None and all(one.reason is not Reason.ALREADY_MOVING for one in found):
        seen = f"{moving.id}, asked for {now - moving.created_t:.0f} s ago, is {moving.state}"
        found.append(obstacle(Reason.ALREADY_MOVING, seen))
    if not any(way.blocked is None or way.owner_only for way in ways(candidate, available)):
        found.append(obstacle(Reason.NO_STRATEGY, "no strategy of this version can move it"))
    bounds = (_concurrency(candidate.node, running, policy), _user_limit(candidate, running, policy))
    return (*found, *(bound for bound in bounds if bound is not None))


def _recent(failure: Failure, now: float, policy: Policy) -> bool:
    return failure.t > now - policy.budgets.quarantine_s


def _move_of(candidate: Candidate, moves: Iterable[Move]) -> Move | None:
    """The first of the moves that concerns one of the candidate's processes."""
    keys = {identity_key(member.identity) for member in candidate.members}
    return next((move for move in moves if identity_key(move.identity) in keys), None)


def _recent_notice(candidate: Candidate, state: EngineState) -> Notice | None:
    """A notice of this job that has ended and is still remembered."""
    keys = {identity_key(member.identity) for member in candidate.members}
    return next((one for one in state.notices if not one.open and one.process in keys), None)


def _declined(candidate: Candidate, state: EngineState, since: float) -> Proposal | None:
    """What somebody said no to, not long ago, of this job."""
    keys = {identity_key(member.identity) for member in candidate.members}
    return next(
        (
            one
            for one in state.proposals
            if one.outcome is Reason.DECLINED and one.process in keys and (one.ended_t or since) > since
        ),
        None,
    )


def _concurrency(node: str, moves: Iterable[Move], policy: Policy) -> Obstacle | None:
    running = in_flight(moves)
    if len(running) >= policy.budgets.in_flight:
        return obstacle(
            Reason.BUDGET_CLUSTER, f"{len(running)} moves in flight, {policy.budgets.in_flight} are allowed"
        )
    here = [move for move in running if move.source == node]
    if len(here) >= policy.budgets.in_flight_per_node:
        limit = policy.budgets.in_flight_per_node
        return obstacle(Reason.BUDGET_NODE, f"{len(here)} moves in flight off {node}, {limit} are allowed")
    return None


def _user_limit(candidate: Candidate, moves: Iterable[Move], policy: Policy) -> Obstacle | None:
    uid, limit = candidate.identity.uid, policy.budgets.in_flight_per_user
    theirs = [move for move in in_flight(moves) if move.identity.uid == uid]
    if len(theirs) < limit:
        return None
    return obstacle(
        Reason.BUDGET_USER, f"{len(theirs)} moves of {candidate.leader.user} in flight, {limit} are allowed"
    )
