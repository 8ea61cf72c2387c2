"""`keep`: an owner says that his job stays here, is shown what he said, and takes it back."""

from __future__ import annotations

from typing import Any

from offloader.config.units import duration_text
from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.api.control import KeepRequest
from offloader.daemon.controller import Controller
from offloader.daemon.documents import keep_document
from offloader.daemon.ticker import Ticker
from offloader.engine.remedies import REMEDIES
from offloader.engine.schema import identity_key
from offloader.errors import NotFound, NotPermitted, Refused, UsageError
from offloader.jobs.events import EventKind
from offloader.model import Candidate, Keep, Move, Obstacle, Reason

__all__ = ["Keeping"]

Document = dict[str, Any]


class Keeping:
    """Who may keep what; the rest is `keeps.Keeps`."""

    def __init__(self, controller: Controller, ticker: Ticker, permissions: Permissions) -> None:
        self._controller = controller
        self._ticker = ticker
        self._permissions = permissions
        self._keeps = controller.parts.keeps

    async def keep(self, caller: Caller, request: KeepRequest) -> Document:
        """From now on no rule moves the job of this process; an automatic move before ownership is rolled back.

        Raises:
            NotPermitted: it is somebody else's.
            Refused: there is no such process, or its successor owns the work already.
            UsageError: longer than `owners.keep_max`.
            JournalError: it could not be written down.
        """
        section, clock = self._controller.setup.cluster.owners, self._controller.parts.clock
        for_s = request.for_s if request.for_s is not None else min(section.keep_s, section.keep_max_s)
        if for_s > section.keep_max_s:
            longest = duration_text(section.keep_max_s)
            raise UsageError(
                f"{duration_text(for_s)} is too long: {longest} at most (owners.keep_max); keep it again later"
            )
        candidate = await self._candidate(caller, request.pid)
        keep = self._keeps.add(candidate, until_t=clock.time() + for_s, by_uid=caller.uid)
        turned_back = await self._turn_back(candidate, keep, caller)
        self._told(keep, f"{caller.name} keeps {keep.name} (pid {keep.pid}) here for {duration_text(for_s)}", caller)
        self._controller.look_again()
        await self._ticker.now()
        return {**keep_document(keep), "rolled_back": turned_back}

    async def listed(self, caller: Caller) -> list[Document]:
        """What the caller keeps; admins see everybody's."""
        self._keeps.forget_gone(await self._controller.parts.observer.processes())
        return [keep_document(one) for one in self._keeps.active() if self._permissions.sees(caller, one.uid)]

    async def release(self, caller: Caller, what: str) -> Document:
        """Take a keep back, by its id or its pid. Raises NotFound, NotPermitted, JournalError."""
        found = [one for one in self._keeps.active() if what in (one.id, str(one.pid))]
        if not found:
            raise NotFound(f"nothing is kept as {what:.60}: `grid-offloader keep --list`")
        keep = found[-1]
        self._owner_only(caller, keep.uid, f"{keep.id} is of {keep.user}")
        self._keeps.release(keep)
        self._told(keep, f"{caller.name} releases {keep.name} (pid {keep.pid})", caller)
        self._controller.look_again()
        return keep_document(keep)

    async def _candidate(self, caller: Caller, pid: int) -> Candidate:
        found = await self._controller.parts.observer.candidate(self._controller.setup, pid)
        if isinstance(found, Obstacle):
            raise Refused(found.reason, found.seen, (found,))
        self._owner_only(caller, found.leader.identity.uid, f"process {pid} belongs to {found.leader.user}")
        return found

    def _owner_only(self, caller: Caller, owner: int, seen: str) -> None:
        if not (self._permissions.signals(caller, owner) or self._permissions.admin(caller)):
            raise NotPermitted(Reason.NOT_YOURS, seen, (Obstacle(Reason.NOT_YOURS, seen, REMEDIES[Reason.NOT_YOURS]),))

    async def _turn_back(self, candidate: Candidate, keep: Keep, caller: Caller) -> str | None:
        """Roll an automatic move of this job back; its id. The keep is taken back where it comes too late."""
        move = self._move_of(candidate)
        if move is None or not move.automatic:
            return None
        acting = self._controller.parts.acting
        if not await acting.withdraw(move.id, Reason.KEPT, f"kept by uid {caller.uid}"):
            self._keeps.release(keep)
            seen = f"{move.id} is {move.state}: {move.target} has taken the work over already"
            remedy = f"follow it there: `grid-offloader logs -f {move.id}`"
            raise Refused(Reason.ALREADY_MOVING, seen, (Obstacle(Reason.ALREADY_MOVING, seen, remedy),))
        return move.id

    def _move_of(self, candidate: Candidate) -> Move | None:
        keys = {identity_key(member.identity) for member in candidate.members}
        active = self._controller.parts.store.moves(active=True)
        return next((move for move in active if identity_key(move.identity) in keys), None)

    def _told(self, keep: Keep, words: str, caller: Caller) -> None:
        parts = self._controller.parts
        data = {"by_uid": caller.uid, "pid": keep.pid, "until_t": keep.until_t}
        parts.decisions.told(EventKind.OWNER, keep.id, words, parts.clock.time(), data=data)
