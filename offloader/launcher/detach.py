"""Starting a long-lived role apart from its starter: own session, no terminal, no stream of the starter's."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from .errors import LauncherError
from .wire import decode, encode

__all__ = ["Ready", "not_waited_for", "run"]

Ready = Callable[[], None]
"""To be called by the role once it listens."""


def not_waited_for() -> None:
    """The Ready of a role that runs in the foreground."""


def run(directory: Path, work: Callable[[Ready], int]) -> int:
    """Run `work` in a detached process and return its pid as soon as it is ready.

    Raises:
        LauncherError: what it raised before; START_FAILED when it died without a word.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _detached(directory, work, writing)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as stream:
        line = stream.readline()
    answer = decode(line) if line else {"error": "START_FAILED", "detail": f"see {directory / 'stderr'}"}
    if "error" in answer:
        raise LauncherError(answer["error"], answer["detail"])
    return int(answer["pid"])


def _detached(directory: Path, work: Callable[[Ready], int], writing: int) -> None:
    """Never returns; after the second fork it is nobody's child any more."""
    status = 1
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _streams(directory)
        os.chdir("/")
        status = work(lambda: _tell(writing, {"pid": os.getpid()}))
    except LauncherError as error:
        _tell(writing, {"error": error.code, "detail": error.detail})
    except BaseException:  # noqa: BLE001 (the last frame of a process: leave a trace, then end)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _tell(writing: int, answer: dict[str, object]) -> None:
    try:
        os.write(writing, encode(answer))
        os.close(writing)
    except OSError:
        return  # told before, or the starter is gone: nobody waits


def _streams(directory: Path) -> None:
    nowhere = os.open("/dev/null", os.O_RDWR)
    complaints = os.open(directory / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for source, number in ((nowhere, 0), (nowhere, 1), (complaints, 2)):
        os.dup2(source, number)
    os.close(nowhere)
    os.close(complaints)
