"""Answers to proposals: who may give them, and what became of the move at once."""

from __future__ import annotations

from typing import Any

from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.controller import Controller
from offloader.daemon.documents import move_document, proposal_document, proposal_sentence
from offloader.daemon.ticker import Ticker
from offloader.engine.remedies import REMEDIES, obstacle
from offloader.engine.schema import Proposal, identity_key
from offloader.errors import NotPermitted, Refused
from offloader.jobs.events import EventKind
from offloader.model import Mode, Move, Obstacle, Reason

__all__ = ["Approving"]

Document = dict[str, Any]


class Approving:
    """Who may say yes or no; what is done then is decided by the next tick, as if nobody had been asked before."""

    def __init__(self, controller: Controller, ticker: Ticker, permissions: Permissions) -> None:
        self._controller = controller
        self._ticker = ticker
        self._permissions = permissions

    def listed(self, caller: Caller) -> list[Document]:
        """What waits for an answer, or to be carried out."""
        return [self._document(one, caller) for one in self._controller.proposals()]

    async def answer(self, caller: Caller, proposal_id: str, *, agreed: bool) -> Document:
        """Carry it out if it is still possible as it was proposed, or let it be.

        Returns:
            The proposal, with `move`: what has begun, and `held`: why nothing has, yet.

        Raises:
            NotFound: it was answered, withdrawn or replaced, or has expired.
            NotPermitted: neither an admin nor its owner asks; or only its owner may agree.
            Refused: nothing may move now, whatever anybody says.
        """
        parts, clock = self._controller.parts, self._controller.parts.clock
        self._check(caller, self._controller.proposal(proposal_id), agreed=agreed)
        if agreed:
            self._refuse_where_forbidden()
        answered = await self._controller.answer(proposal_id, by_uid=caller.uid, agreed=agreed)
        words = f"{caller.name} {'agrees' if agreed else 'says no'}: {proposal_sentence(answered)}"
        parts.decisions.told(EventKind.PROPOSAL, answered.id, words, clock.time(), data={"by_uid": caller.uid})
        self._controller.look_again()  # processes as they are now, not as they were when it was proposed
        checked = await self._ticker.now()
        move = self._begun(answered) if agreed else None
        held = self._held(answered, checked=checked) if agreed and move is None else None
        shown = move_document(move, parts.store.job(move.job)) if move is not None else None
        return {**self._document(answered, caller), "move": shown, "held": held}

    def _document(self, proposal: Proposal, caller: Caller) -> Document:
        return proposal_document(proposal, private=self._permissions.sees(caller, proposal.uid))

    def _check(self, caller: Caller, proposal: Proposal, *, agreed: bool) -> None:
        mine = self._permissions.signals(caller, proposal.uid)
        if mine or (self._permissions.admin(caller) and not (agreed and proposal.owners_only)):
            return
        whose = f"its owner, {proposal.user}," if proposal.owners_only else f"its owner, {proposal.user}, or an admin"
        why = f" ({proposal.reason})" if proposal.owners_only else ""
        seen = f"only {whose} may answer {proposal.id}{why}"
        raise NotPermitted(Reason.NOT_YOURS, seen, (Obstacle(Reason.NOT_YOURS, seen, REMEDIES[Reason.NOT_YOURS]),))

    def _refuse_where_forbidden(self) -> None:
        parts = self._controller.parts
        toggles = parts.switches.read()
        found = None
        if parts.records_only is not None:
            found = Obstacle(Reason.DISABLED, f"this controller moves nothing, it only records: {parts.records_only}")
        elif toggles.kill_switch:
            found = obstacle(Reason.KILL_SWITCH, "the kill-switch is on: nothing moves")
        elif not toggles.ceiling.allows(Mode.APPROVE):
            found = obstacle(Reason.CEILING, f"the ceiling is {toggles.ceiling}: no rule moves anything")
        if found is not None:
            raise Refused(found.reason, found.seen, (found,))

    def _begun(self, answered: Proposal) -> Move | None:
        since = answered.answered_t or answered.made_t
        recent = self._controller.parts.store.moves(since=since)
        same = (move for move in recent if identity_key(move.identity) == answered.process)
        return next((move for move in same if move.created_t >= since), None)

    def _held(self, answered: Proposal, *, checked: bool) -> Document | None:
        """What the tick said of it: it is announced to its owner first, say, or is not possible just now."""
        if not checked:  # what the last one said, it said of a job that nobody had agreed to move
            return {"reason": None, "detail": "the next check is still to come"}
        view = self._controller.view
        if view is None:
            return None
        now = next((one for one in view.state.proposals if one.id == answered.id), None)
        if now is not None and now.outcome is not None:
            return {"reason": now.outcome.value, "detail": "it was withdrawn"}
        for one in view.decisions:
            if one.candidate is not None and identity_key(one.candidate.leader.identity) == answered.process:
                return {"reason": one.reason.value if one.reason else None, "detail": one.detail}
            passed = next(((reason, seen) for pid, reason, seen in one.considered if pid == answered.pid), None)
            if passed is not None:
                return {"reason": passed[0].value, "detail": passed[1]}
        rule = next((one for one in view.decisions if one.rule == answered.rule), None)
        return {"reason": rule.reason.value, "detail": rule.detail} if rule is not None and rule.reason else None
