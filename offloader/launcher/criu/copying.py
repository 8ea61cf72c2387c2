"""The guard's part in a live move: its frozen job is dumped, the memory going to whoever waits behind a socket.

`pages` makes that socket, before anything is frozen; a verb of that name (shipping.py) connects to it and hands
everything on to the target. Nothing here waits: criu is a child, and the guard's loop sees its end by a descriptor.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..errors import LauncherError
from ..socket_path import listen
from ..wire import Document
from . import image, tasks
from .arguments import Pages
from .dumping import Dump, Frozen, options_for
from .execution import end_between

__all__ = ["PAGES", "Copying", "end_left_over"]

PAGES = "pages"
_LEFT_OVER_S = 4.0
_INLINE_BYTES = 512 << 10  # of the rest of an image, to be within the line that tells of the dump


class Copying:
    """One dump: prepared, under way, done or failed. `close` ends it in any of these, and nothing of it is left."""

    def __init__(self, directory: Path, selector: selectors.BaseSelector, say: Callable[[Document], None]) -> None:
        """Make room, and listen. Raises OSError.

        Events of the selector that have this object as their data go to `serve`. `say` tells how the dump ended.
        """
        self._images = directory / image.NAME
        self._selector = selector
        self._say = say
        image.remove(self._images)
        image.create(self._images)
        self._listener: socket.socket | None = listen(directory, PAGES)
        selector.register(self._listener, selectors.EVENT_READ, self)
        self._pages: socket.socket | None = None
        self._dump: Dump | None = None
        self._dumped: Document | None = None

    @property
    def deadline(self) -> float | None:
        """When the dump has to be over (CLOCK_BOOTTIME); None: none is under way."""
        return self._dump.deadline if self._dump is not None else None

    def begin(self, message: Document, leader: int, freezer: Document) -> Document | None:
        """Start it; the answer is said when it is over. One that is over already is answered at once.

        Args:
            message: `criu`, its path; `limit_s`; `tcp_close`, whether established connections may be let go.
            leader: pid of the job's first process.
            freezer: how it is frozen (freezer.Freezer.memory).

        Raises:
            LauncherError: NO_PAGES (nobody waits for the memory), BAD_MESSAGE, FREEZE_FAILED, ORIGINAL_GONE,
                NOT_ONE_TREE, DUMP_FAILED.
        """
        if self._dump is not None or self._dumped is not None:
            return self._dumped
        criu, limit_s, tcp_close = message.get("criu"), message.get("limit_s"), message.get("tcp_close", False)
        if not isinstance(criu, str) or not isinstance(limit_s, (int, float)) or not isinstance(tcp_close, bool):
            raise LauncherError("BAD_MESSAGE", "dump: criu, limit_s, tcp_close")
        if self._pages is None:
            raise LauncherError("NO_PAGES", "nobody waits for the memory: the verb `pages` connects first")
        self._options = options_for(leader, tcp_close=tcp_close)
        self._foreground = tasks.foreground_of(leader)
        try:
            self._dump = Dump(
                criu,
                leader,
                Frozen.of(freezer),
                self._images,
                self._options,
                limit_s=float(limit_s),
                pages=Pages(socket=self._pages.fileno()),
            )
        except OSError as error:
            raise LauncherError("DUMP_FAILED", f"{criu} cannot be started: {error.strerror}") from error
        self._selector.register(self._dump.descriptor, selectors.EVENT_READ, self)
        return None

    def serve(self, source: object) -> None:
        """Something of ours is readable, or was before it was closed."""
        if self._listener is not None and source is self._listener:
            self._accept(self._listener)
        elif self._dump is not None:
            self._over(self._dump)

    def tick(self, now: float) -> None:
        """A dump whose time is over is ended."""
        if self._dump is not None and now >= self._dump.deadline:
            self._over(self._dump)

    def _over(self, dump: Dump) -> None:
        """Say what was dumped, or why not. The job is frozen as before, and of a failed dump nothing is left."""
        try:
            self._say(self._finish(dump))
        except LauncherError as error:
            self._say({"event": "failed", "do": "dump", "reason": error.code, "detail": error.detail})
        except OSError as error:
            self._say({"event": "failed", "do": "dump", "reason": "DUMP_FAILED", "detail": str(error)})

    def _finish(self, dump: Dump) -> Document:
        self._selector.unregister(dump.descriptor)
        self._dump = None
        try:
            done = dump.finish()
        except LauncherError:
            image.remove(self._images)  # before the pages are closed: whoever ships finds that it came to nothing
            raise
        finally:
            self._close_pages()
        rest = image.rest(self._images)
        self._dumped = {
            "event": "dumped",
            **done,
            "options": asdict(self._options),
            "foreground": self._foreground,
            "rest": rest if len(rest) <= _INLINE_BYTES else None,
        }
        return self._dumped

    def close(self) -> None:
        """End a dump that is under way, and remove everything. Raises LauncherError (FREEZE_FAILED): the job runs."""
        try:
            if self._dump is not None:
                self._selector.unregister(self._dump.descriptor)
                dump, self._dump = self._dump, None
                dump.abort()
        finally:
            with contextlib.suppress(OSError):
                image.remove(self._images)
            self._close_pages()
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            if self._dump is not None or self._dumped is not None:
                connection.close()  # too late: half of it has gone elsewhere
                return
            self._close_pages()
            self._pages = connection

    def _close_pages(self) -> None:
        if self._pages is not None:
            self._pages.close()
            self._pages = None


def end_left_over(directory: Path) -> None:
    """End a criu that a guard which died was dumping with, and remove its image.

    While criu works the job's cgroup is thawed, and criu freezes it again at its end: nobody may thaw it before that.
    """
    for stat in image.users(directory / image.NAME):
        end_between(stat, _LEFT_OVER_S)
    with contextlib.suppress(OSError):
        image.remove(directory / image.NAME)
