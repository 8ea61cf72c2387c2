"""The copies of one job's working directory: facts of its newest move, from before they are made to their end."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from offloader.moves.failures import STOPPERS, stopped_by
from offloader.moves.incidents import IncidentKind
from offloader.moves.persist import surely
from offloader.moves.staging import FACT, Collected, Staged, Staging
from offloader.moves.tools import Tools
from offloader.moves.ward import Ward

__all__ = ["Carrying", "bring_results"]

log = logging.getLogger(__name__)


class Carrying:
    """Of one move. Where nothing is staged nothing happens."""

    def __init__(self, tools: Tools, move_id: str) -> None:
        self._tools = tools
        self._move_id = move_id

    def copies(self) -> tuple[Staged, ...]:
        """Those that are, or may be, on some node. Raises JournalError."""
        if self._tools.staging is None:
            return ()
        kept = self._tools.store.fact(self._move_id, FACT) or ()
        return tuple(Staged.recalled(one) for one in kept)

    def expect(self, staged: Staged | None) -> None:
        """Written down before it is made. Raises JournalError."""
        if staged is not None:
            self._keep([*(one for one in self.copies() if one.epoch != staged.epoch), staged])

    async def copy(self, epoch: int) -> None:
        """The first pass, for that attempt. Raises STOPPERS."""
        for staged in self._of(epoch):
            await self._staging.copy(staged)

    async def catch_up(self, epoch: int) -> None:
        """The second one, while nothing of the job runs. Raises STOPPERS."""
        for staged in self._of(epoch):
            await self._staging.catch_up(staged)

    async def collect(self, epoch: int) -> Collected | None:
        """That attempt's results; None: it had no copy. Repeatable. Raises STOPPERS."""
        collected = None
        for staged in self._of(epoch):
            collected = await self._staging.collect(staged)
            await self._forget(staged)
        return collected

    async def let_go(self, epoch: int) -> None:
        """Take that attempt's copy away, if its node answers now: nothing of it is wanted. Never raises."""
        for staged in await surely(self._tools, "copies of its directory", self._of, epoch):
            try:
                await self._staging.withdraw(staged)
            except STOPPERS as error:
                log.warning("%s: a copy stays on %s: %s", self._move_id, staged.target, error)
            else:
                await self._forget(staged)

    @property
    def _staging(self) -> Staging:
        assert self._tools.staging is not None
        return self._tools.staging

    def _of(self, epoch: int) -> tuple[Staged, ...]:
        return tuple(one for one in self.copies() if one.epoch == epoch)

    def _keep(self, copies: Sequence[Staged]) -> None:
        self._tools.store.set_fact(self._move_id, FACT, [one.document() for one in copies])

    async def _forget(self, staged: Staged) -> None:
        left = [one for one in self.copies() if one.epoch != staged.epoch]
        await surely(self._tools, "a copy that is gone", self._keep, left)


async def bring_results(ward: Ward, epoch: int, *, began: bool) -> None:
    """The results of an attempt that has ended come home before its end counts.

    Asked until they did, or its owner cancels; then they stay where they are. One that never began has none.
    """
    if ward.move is None:
        return  # what `run` starts works in directories that are there
    carrying, pause, told = Carrying(ward.tools, ward.move.id), ward.tools.timings.again_s, False
    if not began:
        await carrying.let_go(epoch)
        return
    while True:
        try:
            collected = await carrying.collect(epoch)
        except STOPPERS as error:
            stopped = stopped_by(error, "collecting its results")
            log.warning("%s: %s", ward.name, stopped.detail)  # names directories, as what is told to everybody must not
            if not told:
                told = True
                ward.tell(IncidentKind.UNCOLLECTED, f"the results of {ward.name} are not back yet: {stopped.reason}")
            if ward.cancelled:
                return
            await ward.tools.clock.sleep(pause)
            pause = min(ward.tools.timings.again_max_s, pause * 2)
        else:
            if collected is not None and collected.conflicts:
                words = f"{collected.conflicts} results of {ward.name} lie beside files that changed (*.from-*)"
                ward.tell(IncidentKind.CONFLICTS, words)
            return
