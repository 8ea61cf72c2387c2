"""The launcher's part in a live move: a place for the image, and the cradle in which the job comes to life again.

Made when the launcher starts to hold, so that a frozen original waits for nothing but its own bytes. The image is
removed as soon as it was restored, or given up.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from .. import proc
from ..errors import LauncherError
from ..reaper import descendants
from ..wire import Document
from . import image
from .cradle import Cradle
from .tasks import pid_inside

__all__ = ["Revival", "checked"]

_OPTIONS = frozenset({"shell_job", "tcp_close", "ghost_limit_bytes"})
_LOG = "cradle.log"


def checked(asked: object) -> Document:
    """What `go` says of the image: `tasks`, `options`, `limit_s`, `rest` (null: it is there). Raises LauncherError."""
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
    return {"tasks": tasks, "options": options, "limit_s": float(limit_s), "rest": rest}


class Revival:
    """Waits, restores, holds it stopped, lets it go on. Its cradle is the launcher's child, the job is below that."""

    def __init__(self, directory: Path, task: str, criu: str) -> None:
        """Raises OSError."""
        self._images = directory / image.NAME
        self._criu = criu
        image.sweep(directory.parent)
        image.create(self._images)
        try:
            self._cradle = Cradle(task, directory / _LOG)
        except OSError:
            image.remove(self._images)
            raise
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
                found.append({**event, "pid": self._outside(int(event["pid"]))})
            elif event["event"] == "exited":
                self.end = event
            else:
                self.forget_image()  # it runs: now there is time for that
                found.append(event)
        return found

    def go_on(self) -> bool:
        """Let it continue; answered by `continued`. False: the cradle is gone."""
        return self._cradle.send(do="cont")

    def exit_code(self, of_cradle: int) -> int:
        """The leader's, negative for a signal; a cradle itself ends as a shell would, with 128 + signal."""
        with contextlib.suppress(LauncherError):
            self.said()
        if self.end is None or self.end["signal"] is None:
            return of_cradle
        return -int(self.end["signal"])

    def forget_image(self) -> None:
        """Delete it: nothing may ever be restored from it again."""
        with contextlib.suppress(OSError):
            image.remove(self._images)

    def close(self) -> None:
        """Give back what is ours; whoever reaps for the launcher has seen the cradle's end."""
        self.forget_image()
        self._cradle.release()

    def _outside(self, inside: int) -> int:
        """The pid by which we know a process of the cradle. Raises LauncherError (NOT_PROVEN)."""
        for stat in descendants(self.pid):
            with contextlib.suppress(OSError, KeyError):
                if pid_inside(proc.status(stat.pid)) == inside:
                    return stat.pid
        raise LauncherError("NOT_PROVEN", "the restored leader is nowhere to be seen")
