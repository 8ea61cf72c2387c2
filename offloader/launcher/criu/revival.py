"""The launcher's part in a live move: a place for the image, and the cradle in which the job comes to life again.

Made when the launcher starts to hold, so that a frozen original waits for nothing but its own bytes. The image is
removed as soon as it was restored, or given up.
"""

from __future__ import annotations

import contextlib
import selectors
from pathlib import Path

from .. import proc
from ..errors import LauncherError
from ..reaper import descendants
from ..terminal import screen
from ..terminal.screen import Screen
from ..wire import Document
from . import image
from .cradle import Cradle
from .tasks import pid_inside

__all__ = ["Revival", "checked"]

_OPTIONS = frozenset({"shell_job", "tcp_close", "ghost_limit_bytes"})
_LOG = "cradle.log"


def checked(asked: object, *, terminal: bool) -> Document:
    """What `go` says of the image: `tasks`, `options`, `limit_s`, `rest` (null: it is there), `foreground`, `terminal`.

    `terminal`: whether it has one, whose state is said. Raises LauncherError.
    """
    if not isinstance(asked, dict):
        raise LauncherError("BAD_MESSAGE", "go: there is an image to restore, and nothing is said of it")
    tasks, options, limit_s = asked.get("tasks"), asked.get("options"), asked.get("limit_s")
    if not isinstance(tasks, list) or not tasks or not all(isinstance(one, dict) and "pid" in one for one in tasks):
        raise LauncherError("BAD_MESSAGE", "go: image.tasks")
    if not isinstance(options, dict) or not set(options) <= _OPTIONS:
        raise LauncherError("BAD_MESSAGE", "go: image.options")
    if isinstance(limit_s, bool) or not isinstance(limit_s, (int, float)) or not limit_s > 0:
        raise LauncherError("BAD_MESSAGE", "go: image.limit_s")
    rest = asked.get("rest")
    if rest is not None and not isinstance(rest, str):
        raise LauncherError("BAD_MESSAGE", "go: image.rest")
    found = {"tasks": tasks, "options": options, "limit_s": float(limit_s), "rest": rest}
    if terminal:
        found.update(foreground=asked.get("foreground"), terminal=screen.checked(asked.get("terminal")))
    return found


class Revival:
    """Waits, restores, holds it stopped, lets it go on. Its cradle is the launcher's child, the job is below that."""

    def __init__(
        self, directory: Path, task: str, criu: str, selector: selectors.BaseSelector, *, terminal: bool
    ) -> None:
        """Make room, and with `terminal` one. Raises OSError."""
        self._images = directory / image.NAME
        self._criu = criu
        image.sweep(directory.parent)
        image.create(self._images)
        self.screen: Screen | None = None
        try:
            self.screen = Screen(directory, selector, self._signal) if terminal else None
            slave = self.screen.slave if self.screen is not None else None
            self._cradle = Cradle(task, directory / _LOG, terminal=slave)
        except OSError:
            image.remove(self._images)
            raise
        if self.screen is not None:
            self.screen.passed_on()
        self._typed: Document = {}
        self.pid = self._cradle.pid
        self.end: Document | None = None
        """How the job ended: `exit_code`, `signal`, once its cradle has said so."""
        self.silent = False
        """Whether the cradle will say nothing any more."""

    @property
    def descriptor(self) -> int:
        """Readable when the cradle says something."""
        return self._cradle.descriptor

    def restore(self, asked: Document) -> None:
        """Bring it to life, stopped. Raises LauncherError (LAUNCH_FAILED, BAD_IMAGE), OSError."""
        asked = dict(asked)
        self._typed = asked.pop("terminal", {})
        if (rest := asked.pop("rest")) is not None:
            image.unpack_rest(rest, self._images)
        message = {**asked, "do": "restore", "criu": self._criu, "images": str(self._images), "inherited": []}
        if not self._cradle.send(**message):
            raise LauncherError("LAUNCH_FAILED", "its cradle has ended")

    def said(self) -> list[Document]:
        """Events of the cradle since: `restored` with the leader as this node numbers it, `continued`.

        Nothing once it is silent.

        Raises LauncherError: LAUNCH_FAILED, NOT_PROVEN, TIMEOUT: it was not restored, and all of it is dead.
        """
        events = None if self.silent else self._cradle.receive()
        self.silent = self.silent or events is None
        found = []
        for event in events or ():
            if event["event"] == "failed":
                raise LauncherError(str(event["reason"]), str(event["detail"]))
            if event["event"] == "restored":
                leader = self._outside(int(event["pid"]))
                self._type(leader)
                found.append({**event, "pid": leader})
            elif event["event"] == "exited":
                self.end = event
            elif event["event"] == "stopped" and self.screen is not None:
                self.screen.stopped(int(event["signal"]))
            elif event["event"] == "goes_on" and self.screen is not None:
                self.screen.goes_on()
            else:
                self.forget_image()  # it runs: now there is time for that
                found.append(event)
        return found

    def owned(self) -> None:
        """Its work is ours."""
        if self.screen is not None:
            self.screen.open()

    def go_on(self) -> bool:
        """Let it continue; answered by `continued`. False: the cradle is gone."""
        return self._cradle.send(do="cont")

    def ended(self, of_cradle: int) -> int:
        """All of it has: the leader's exit code, negative for a signal. Whoever watches its terminal is told.

        A cradle itself ends as a shell would, with 128 + signal.
        """
        with contextlib.suppress(LauncherError):
            self.said()
        code = of_cradle if self.end is None or self.end["signal"] is None else -int(self.end["signal"])
        if self.screen is not None:
            self.screen.ended(code)
        return code

    def forget_image(self) -> None:
        """Delete it: nothing may ever be restored from it again."""
        with contextlib.suppress(OSError):
            image.remove(self._images)

    def close(self) -> None:
        """Give back what is ours; whoever reaps for the launcher has seen the cradle's end."""
        self.forget_image()
        self._cradle.release()
        if self.screen is not None:
            self.screen.close()

    def _signal(self, number: int) -> None:
        self._cradle.send(do="signal", number=number)

    def _type(self, leader: int) -> None:
        """Whatever its user had typed is there before it goes on. Raises LauncherError (LAUNCH_FAILED)."""
        if self.screen is not None:
            try:
                self.screen.restored(leader, self._typed)
            except OSError as error:
                raise LauncherError("LAUNCH_FAILED", f"its terminal: {error}") from error

    def _outside(self, inside: int) -> int:
        """The pid by which we know a process of the cradle. Raises LauncherError (NOT_PROVEN)."""
        for stat in descendants(self.pid):
            with contextlib.suppress(OSError, KeyError):
                if pid_inside(proc.status(stat.pid)) == inside:
                    return stat.pid
        raise LauncherError("NOT_PROVEN", "the restored leader is nowhere to be seen")
