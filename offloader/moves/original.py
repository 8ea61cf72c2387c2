"""The original as a strategy sees it: what its guard does, and the way on which a copy of it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.model import Checkpointing, Reason
from offloader.moves.agent import VerbFailed
from offloader.moves.failures import Stopped
from offloader.moves.guarding import Guard
from offloader.moves.imaging import Imaging
from offloader.moves.plan import Timings
from offloader.moves.terminals import Kept

__all__ = ["Copied", "Copiers", "Original"]


@dataclass(frozen=True, slots=True)
class Copiers:
    """Paths of criu on both nodes, and what it may do. `tcp_close`: let go of established connections.

    `terminal`: the one that is kept for its user, and goes along.
    """

    source: str
    target: str
    tcp_close: bool = False
    terminal: Kept | None = None


@dataclass(frozen=True, slots=True)
class Copied:
    """What the launcher at the target is told of an image whose memory it has, and the bytes of that."""

    image: dict[str, Any]
    pages: int


class Original:
    """strategies.Source for one move."""

    def __init__(
        self,
        guard: Guard,
        timings: Timings,
        imaging: Imaging,
        copiers: Copiers | None,
        yielded: Callable[[Kept], Awaitable[dict[str, Any]]],
    ) -> None:
        """Args: copiers: None: it is not to be copied. yielded: what has to go along of its terminal."""
        self._guard = guard
        self._timings = timings
        self._imaging = imaging
        self._copiers = copiers
        self._yielded = yielded
        self.copied: Copied | None = None

    async def record_files(self) -> int:
        """See Guard."""
        return await self._guard.record_files()

    async def checkpoint(self, how: Checkpointing) -> str:
        """See Guard."""
        return await self._guard.checkpoint(how)

    async def ready_to_copy(self) -> None:
        """Before the freeze: everything waits for the dump. Raises Stopped, LinkLost, VerbFailed, NodeUnreachable."""
        assert self._copiers is not None
        await self._guard.make_way()
        await self._imaging.open(self._copiers.target, ahead_s=self._timings.ahead_s, limit_s=self._timings.copy_s)

    async def copy(self) -> str:
        """Dump the frozen job; its image is at the target when this returns, in words. Raises Stopped, LinkLost."""
        assert self._copiers is not None
        terminal = self._copiers.terminal
        typed = await self._yielded(terminal) if terminal is not None else None
        event = await self._guard.dump(self._copiers.source, tcp_close=self._copiers.tcp_close)
        try:
            arrived = await self._imaging.arrived(limit_s=self._timings.end_s)
            rest = await self._imaging.rest(event.get("rest"))
        except VerbFailed as error:
            reason = Reason(error.code) if error.code in Reason.__members__ else Reason.DUMP_FAILED
            raise Stopped(reason, f"the image did not arrive: {error.detail}") from error
        except NodeUnreachable as error:
            raise Stopped(Reason.LINK_LOST, f"the image did not arrive: {error}") from error
        finally:
            await self._imaging.close()
        asked = {"tasks": event["tasks"], "options": event["options"], "limit_s": self._timings.restore_s}
        if typed is not None:
            asked.update(terminal=typed, foreground=event.get("foreground"))
        self.copied = Copied({**asked, "rest": rest}, arrived.dumped + arrived.ahead)
        sizes = f"{arrived.dumped / 1e6:.1f} MB after {arrived.ahead / 1e6:.1f} MB ahead"
        return f"{len(event['tasks'])} processes, {sizes}"
