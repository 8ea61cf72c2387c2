"""Notice periods: the owner of a job is told before it is moved automatically, and may object for a while.

A notice is open from the tick that first chose its job until the job is moved, the notice is withdrawn, or it lapses.
What it waits for is *served* time: time in which the controller was there, so that the owner could object. A choice
that was announced is kept to while it is possible at all: otherwise owners would be told of moves that never come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from offloader.engine.approval import job_of
from offloader.engine.schema import EngineState, Notice, RulePhase, identity_key
from offloader.engine.tick import Evaluated, Tick
from offloader.model import Candidate, Decision, DecisionKind, Mode, Obstacle, Policy, Reason, Rule, Snapshot

__all__ = ["heeded", "notice_changes", "served", "under_notice"]

_VALID_S = 300.0
"""After a notice was served its job may be moved for so long; an owner who was told "in a minute" is not surprised
hours later."""
_LONGEST_STEP = 3.0
_FIRED = (RulePhase.FIRING, RulePhase.RELIEVING)


def served(state: EngineState, rules: Sequence[Rule], snapshot: Snapshot, policy: Policy) -> tuple[Notice, ...]:
    """The notices one tick later: time served, those of moves that began ended, those of long ago forgotten.

    A longer gap than three intervals (the controller was away) counts as three; a clock set back counts nothing.
    """
    longest = _LONGEST_STEP * max([snapshot.scrape_interval_s, *(rule.interval_s for rule in rules)])
    after = []
    for one in state.notices:
        elapsed = min(max(0.0, snapshot.now - one.last_t), longest)
        older = replace(one, given_t=min(one.given_t, snapshot.now), last_t=snapshot.now)
        if one.open:
            older = replace(older, served_s=one.served_s + elapsed)
            if any(
                identity_key(move.identity) == one.process and move.created_t >= one.given_t for move in snapshot.moves
            ):
                older = _ended(older, Reason.ALREADY_MOVING, snapshot.now)
        if older.open or older.given_t + policy.budgets.process_interval_s > snapshot.now:
            after.append(older)
    return tuple(after)


def under_notice(candidate: Candidate, notices: Sequence[Notice]) -> Notice | None:
    """The open notice of this job."""
    keys = {identity_key(member.identity) for member in candidate.members}
    return next((one for one in notices if one.open and one.process in keys), None)


def heeded(
    evaluated: Sequence[Evaluated], decisions: Mapping[str, Decision], tick: Tick
) -> tuple[tuple[Notice, ...], dict[str, Decision]]:
    """Notices given, kept and withdrawn by this tick's decisions; those that still have to wait only say so.

    Returns:
        The notices after this tick, and the decisions by rule key: a move whose notice is not served yet has become
        `would_move` with the reason NOTICE.
    """
    notices = list(tick.state.notices)
    after = dict(decisions)
    for key, decision in decisions.items():
        if decision.kind is not DecisionKind.MOVE or decision.candidate is None:
            continue
        notice = under_notice(decision.candidate, notices)
        own = decision.approved_by == decision.candidate.identity.uid  # he was asked, and agreed
        if notice is None:
            if tick.policy.notice_s <= 0 or own or _urgent(tick):
                continue
            notice = _given(decision, decision.candidate, tick)
            notices.append(notice)
        else:
            told = replace(notice, rule=key, target=decision.target or notice.target)
            notices[notices.index(notice)] = notice = told
        if notice.left_s > 0 and not own and not _urgent(tick):
            seen = f"its owner may object for {notice.left_s:.0f} s more: `grid-offloader keep {notice.pid}`"
            after[key] = replace(decision, kind=DecisionKind.WOULD_MOVE, reason=Reason.NOTICE, detail=seen)
    fired = {one.rule.key: one for one in evaluated if one.verdict.fired}
    return tuple(_checked(one, fired, tick) for one in notices), after


def notice_changes(before: EngineState, after: EngineState) -> tuple[Notice, ...]:
    """Notices that were withdrawn from one state to the next (those given are open in the new one)."""
    was_open = {(one.process, one.given_t) for one in before.notices if one.open}
    return tuple(one for one in after.notices if not one.open and (one.process, one.given_t) in was_open)


def _urgent(tick: Tick) -> bool:
    """A head that swaps itself to death cannot wait for anybody's objection."""
    stall = tick.snapshot.memory_stall
    return stall is not None and stall > tick.policy.notice_stall


def _given(decision: Decision, candidate: Candidate, tick: Tick) -> Notice:
    leader = candidate.leader
    assert decision.target is not None
    assert decision.strategy is not None
    return Notice(
        process=identity_key(leader.identity),
        pid=leader.pid,
        uid=leader.identity.uid,
        user=leader.user,
        name=leader.name,
        rule=decision.rule,
        target=decision.target,
        strategy=decision.strategy,
        value=decision.value,
        threshold=decision.threshold,
        needs_s=tick.policy.notice_s,
        given_t=tick.snapshot.now,
        last_t=tick.snapshot.now,
    )


def _checked(notice: Notice, fired: Mapping[str, Evaluated], tick: Tick) -> Notice:
    """The notice, withdrawn where what it announced will not happen."""
    if not notice.open:
        return notice
    reason = _withdrawn(notice, fired, tick)
    return notice if reason is None else _ended(notice, reason, tick.snapshot.now)


def _withdrawn(notice: Notice, fired: Mapping[str, Evaluated], tick: Tick) -> Reason | None:
    """Why it is withdrawn; None: it stands. Missing data and a target that is full just now do not withdraw it."""
    if tick.snapshot.toggles.kill_switch:
        return Reason.KILL_SWITCH
    rule = fired.get(notice.rule)
    if rule is None:
        return Reason.RULE_FALSE
    agreed = any(one.approved and one.process == notice.process for one in tick.state.proposals)
    if not rule.mode.allows(Mode.APPROVE if agreed else Mode.AUTO):
        return Reason.CEILING
    job = job_of(notice.process, tick.snapshot)
    if isinstance(job, Obstacle):
        return job.reason
    if tick.snapshot.now > notice.given_t + notice.needs_s + _VALID_S:
        return Reason.TIMEOUT
    return None


def _ended(notice: Notice, reason: Reason, now: float) -> Notice:
    return replace(notice, ended_t=now, outcome=reason)
