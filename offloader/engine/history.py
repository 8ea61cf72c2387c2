"""What starts, reloads and finished moves leave in the state."""

from collections.abc import Iterable
from dataclasses import replace

from offloader.engine.schema import EngineState, Failure, RuleState, identity_key
from offloader.model import Move, MoveState, Policy, Reason

__all__ = ["heeding", "moved", "started", "still_counted"]

_NO_FAILURE = frozenset(
    {Reason.CANCELLED, Reason.DISABLED, Reason.KEPT, Reason.CONTROLLER_RESTARTED, Reason.ORIGINAL_GONE}
)
"""Ends of a move that say nothing against moving its process again."""


def moved(state: EngineState, move: Move, now: float) -> EngineState:
    """A move committed or failed: every rule of its source waits from now on; its failure is counted, once."""
    failed = not move.state.committed and move.reason not in _NO_FAILURE
    known = any(failure.move == move.id for failure in state.failures)
    failures = state.failures
    if failed and not known:
        failures = (*failures, Failure(move.id, identity_key(move.identity), now))

    def told(key: tuple[str, str], rule: RuleState) -> RuleState:
        if key[1] != move.source:
            return rule
        count = rule.failed
        if key[0] == move.rule:
            count = 0 if move.state.committed else count + int(failed and not known)
        return replace(rule, moved_t=now, failed=count)

    return replace(
        state,
        rules={key: told(key, rule) for key, rule in state.rules.items()},
        moved_t={**state.moved_t, move.source: now},
        failures=failures,
    )


def started(now: float, policy: Policy, previous: EngineState | None) -> EngineState:
    """The state after a start or reload: what was known stays, and every rule of the head waits a while first."""
    state = previous if previous is not None else EngineState()
    rules = {key: replace(rule, started_t=now) if key[1] == policy.head else rule for key, rule in state.rules.items()}
    return replace(state, rules=rules, started_t=now)


def heeding(rule: RuleState, node: str, moves: Iterable[Move]) -> RuleState:
    """The rule waits already while a move off its node ends or rolls back: its outcome is decided, not yet told."""
    decided = [
        move.updated_t
        for move in moves
        if move.source == node
        and (move.state.committed or move.state is MoveState.ROLLING_BACK)
        and not move.state.final
    ]
    known = [rule.moved_t] if rule.moved_t is not None else []
    return replace(rule, moved_t=max(known + decided, default=None))


def still_counted(state: EngineState, now: float, policy: Policy) -> tuple[Failure, ...]:
    """The failures that may still quarantine their process."""
    return tuple(one for one in state.failures if one.t > now - policy.budgets.quarantine_s)
