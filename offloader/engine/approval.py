"""Proposals: planned moves that wait for a person's word.

What a rule in mode approve chose is proposed, and so is what a rule in mode approve or auto may not decide by itself
(it waits for its owner). A proposal is open from the tick that first planned it until the job is moved, somebody says
no, it is withdrawn, or nobody answers in time. Whoever agrees has agreed to what it said: this job, this target, these
strategies. Everything is decided anew when it is carried out, and nothing else is done in its place.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from offloader.engine.schema import EngineState, Notice, Proposal, identity_key
from offloader.engine.tick import Evaluated, Tick
from offloader.model import Candidate, Decision, DecisionKind, Mode, Move, Obstacle, Policy, Reason, Snapshot

__all__ = ["answered", "asked", "job_of", "one_start", "proposal_changes", "proposed", "standing", "under_way"]

_VALID_S = 300.0
"""Once agreed to, it may be carried out for so long: a word given for this moment is none for tonight."""


def standing(state: EngineState, snapshot: Snapshot, policy: Policy) -> tuple[Proposal, ...]:
    """The proposals one tick later: those whose move began ended, those of long ago forgotten."""
    after = []
    for one in state.proposals:
        later = replace(one, made_t=min(one.made_t, snapshot.now))  # a clock that is set back stretches nothing
        if one.answered_t is not None:
            later = replace(later, answered_t=min(one.answered_t, snapshot.now))
        if one.open and under_way(one, snapshot.moves):
            later = _ended(later, Reason.ALREADY_MOVING, snapshot.now)
        if later.open or _ended_t(later) + policy.budgets.process_interval_s > snapshot.now:
            after.append(later)
    return tuple(after)


def under_way(proposal: Proposal, moves: Iterable[Move]) -> bool:
    """Whether what it proposes has begun: its job moves, or moved, since it was proposed."""
    return any(identity_key(move.identity) == proposal.process and move.created_t >= proposal.made_t for move in moves)


def proposed(candidate: Candidate, proposals: Sequence[Proposal]) -> Proposal | None:
    """The open proposal of this job."""
    keys = {identity_key(member.identity) for member in candidate.members}
    return next((one for one in proposals if one.open and one.process in keys), None)


def asked(
    evaluated: Sequence[Evaluated], decisions: Mapping[str, Decision], tick: Tick
) -> tuple[tuple[Proposal, ...], dict[str, Decision]]:
    """Propose what waits for somebody's word, and carry out what has it.

    Returns:
        The proposals after this tick, and the decisions by rule key: one that was agreed to, and is planned now as it
        was then, has become `move`.
    """
    proposals = list(tick.state.proposals)
    after = dict(decisions)
    for key, decision in decisions.items():
        if decision.candidate is None or not _asks(decision, tick):
            continue
        held = proposed(decision.candidate, proposals)
        if held is not None and held.approved:
            after[key] = _as_agreed(decision, held)
            continue
        plan = _made(decision, decision.candidate, tick, proposals)
        if held is None:
            proposals.append(plan)
        elif (held.target, held.ways) == (plan.target, plan.ways):
            proposals[proposals.index(held)] = plan = replace(plan, id=held.id, made_t=held.made_t)
        else:  # another plan is another question: who answers the old one has not been asked this
            proposals[proposals.index(held)] = plan
        if decision.reason is Reason.APPROVAL:
            left = f"for {plan.expires_t - tick.snapshot.now:.0f} s more"
            seen = f"it waits {left} for somebody to agree: `grid-offloader approve {plan.pid}`"
            after[key] = replace(decision, detail=seen)
    fired = {one.rule.key: one for one in evaluated if one.verdict.fired}
    return tuple(_checked(one, fired, tick) for one in proposals), after


def one_start(decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    """Rules of different modes are planned apart: of what they start together only the first is started now."""
    after = dict(decisions)
    starts = [key for key, one in decisions.items() if one.kind is DecisionKind.MOVE]
    first, *others = sorted(starts, key=lambda one: decisions[one].approved_by is not None) or [""]
    for key in others:
        seen = f"one start a tick: rule {first} moves another job"
        after[key] = replace(decisions[key], kind=DecisionKind.WOULD_MOVE, reason=Reason.BUDGET_NODE, detail=seen)
    return after


def answered(
    state: EngineState, proposal: Proposal, policy: Policy, *, by_uid: int, agreed: bool, now: float
) -> EngineState:
    """Somebody said yes or no to an open proposal. A yes counts from now, and includes the owner's notice."""
    if agreed:
        after = replace(proposal, approved_by=by_uid, answered_t=now, valid_s=policy.notice_s + _VALID_S)
    else:
        after = _ended(replace(proposal, answered_t=now), Reason.DECLINED, now)
    proposals = tuple(after if one.id == proposal.id else one for one in state.proposals)
    if agreed:
        return replace(state, proposals=proposals)
    notices = tuple(_taken_back(one, proposal, now) for one in state.notices)
    return replace(state, proposals=proposals, notices=notices)


def proposal_changes(before: EngineState, after: EngineState) -> tuple[tuple[Proposal, ...], tuple[Proposal, ...]]:
    """What was proposed, and what ended, from one state to the next."""
    known = {one.id: one for one in before.proposals}
    made = tuple(one for one in after.proposals if one.id not in known)
    ended = tuple(one for one in after.proposals if not one.open and one.id in known and known[one.id].open)
    return made, ended


def job_of(process: str, snapshot: Snapshot) -> Candidate | Obstacle:
    """The job of a process (identity_key) as it is now; an obstacle when it is gone, or its owner keeps it."""
    for candidate in snapshot.candidates:
        if any(identity_key(member.identity) == process for member in candidate.members):
            kept = next((one for one in candidate.obstacles if one.reason is Reason.KEPT), None)
            return kept or candidate
    return Obstacle(Reason.NOT_SIGNIFICANT, "it ended, or uses too little to matter")


def _asks(decision: Decision, tick: Tick) -> bool:
    """Whether a person's word would do: not where the mode or the kill-switch forbids it anyway."""
    waits = decision.kind is DecisionKind.WOULD_MOVE and decision.mode.allows(Mode.APPROVE)
    return waits and not tick.snapshot.toggles.kill_switch


def _as_agreed(decision: Decision, held: Proposal) -> Decision:
    """The decision as it was agreed to; still held back where it would be another one now."""
    assert decision.strategy is not None
    ways = tuple(one for one in (decision.strategy, *decision.fallbacks) if one in held.ways)
    if decision.target != held.target or not ways:
        now = f"now it could only go to {decision.target} by {decision.strategy}"
        seen = f"{held.target} by {' or '.join(held.ways)} was agreed to, {now}"
        return replace(decision, reason=Reason.APPROVAL, detail=seen)
    agreed = replace(decision, kind=DecisionKind.MOVE, reason=None, detail="", approved_by=held.approved_by)
    return replace(agreed, strategy=ways[0], fallbacks=ways[1:])


def _made(decision: Decision, candidate: Candidate, tick: Tick, known: Sequence[Proposal]) -> Proposal:
    leader, now = candidate.leader, tick.snapshot.now
    assert decision.target is not None
    assert decision.strategy is not None
    assert decision.reason is not None
    ids, second = {one.id for one in known}, int(now)
    while (name := f"proposal_{second}_{leader.pid}") in ids:
        second += 1
    return Proposal(
        id=name,
        process=identity_key(leader.identity),
        pid=leader.pid,
        uid=leader.identity.uid,
        user=leader.user,
        name=leader.name,
        age_s=candidate.age_s,
        rule=decision.rule,
        target=decision.target,
        strategy=decision.strategy,
        fallbacks=decision.fallbacks,
        value=decision.value,
        threshold=decision.threshold,
        relieves=decision.relieves,
        reason=decision.reason,
        detail=decision.detail,
        made_t=now,
        valid_s=tick.policy.approval_s,
    )


def _checked(proposal: Proposal, fired: Mapping[str, Evaluated], tick: Tick) -> Proposal:
    """The proposal, withdrawn where what it says will not happen."""
    if not proposal.open:
        return proposal
    reason = _withdrawn(proposal, fired, tick)
    return proposal if reason is None else _ended(proposal, reason, tick.snapshot.now)


def _withdrawn(proposal: Proposal, fired: Mapping[str, Evaluated], tick: Tick) -> Reason | None:
    """Why it is withdrawn; None: it stands. Missing data and a target that is full just now do not withdraw it."""
    if tick.snapshot.toggles.kill_switch:
        return Reason.KILL_SWITCH
    rule = fired.get(proposal.rule)
    if rule is None:
        return Reason.RULE_FALSE
    if not rule.mode.allows(Mode.APPROVE):
        return Reason.CEILING
    job = job_of(proposal.process, tick.snapshot)
    if isinstance(job, Obstacle):
        return job.reason
    return Reason.TIMEOUT if tick.snapshot.now > proposal.expires_t else None


def _taken_back(notice: Notice, proposal: Proposal, now: float) -> Notice:
    """The owner need not wait for what somebody has declined."""
    if notice.open and notice.process == proposal.process:
        return replace(notice, ended_t=now, outcome=Reason.DECLINED)
    return notice


def _ended(proposal: Proposal, reason: Reason, now: float) -> Proposal:
    return replace(proposal, ended_t=now, outcome=reason)


def _ended_t(proposal: Proposal) -> float:
    return proposal.made_t if proposal.ended_t is None else proposal.ended_t
