"""`survey [-] PID…` (source): what a job has in its hands, and tokens on the file systems that it uses.

With `-` the first line of stdin names directories that the job's state is in: {"state_in": [base64…]}.

`vouch` (source), a capsule on stdin: tokens where a job works whose original is gone.

Each prints one document and waits. When its input ends (its asker has the target's answer, or is gone), it removes the
tokens and exits; so does it after a minute, or when it is told to end.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

from . import owner, proc
from .capsule import Capsule, directories, load
from .errors import LauncherError
from .holdings import Holdings
from .tokens import Tokens
from .wire import LIMIT_BYTES, Document, decode, emit, pack_bytes

__all__ = ["main", "main_vouch", "survey", "vouch"]

_LONGEST_S = 60.0


def survey(pids: list[int], tokens: Tokens, state_in: Sequence[bytes] = ()) -> Document:
    """The document; becomes the owner of the first process, for good, before it writes anything.

    `state_in`: directories that have to be the very same ones at the target; one that is not there yet stands for the
    nearest one above it that is.

    Raises:
        LauncherError: NO_SUCH_PROCESS, UNREADABLE, IDENTITY_MISMATCH (its uid has no name here).
    """
    try:
        account = _account(pids[0])
        holdings = Holdings(pids)
        first = [os.readlink(f"/proc/{pids[0]}/cwd".encode()), *_stream_directories(pids[0])]
    except (FileNotFoundError, ProcessLookupError) as error:
        raise LauncherError("NO_SUCH_PROCESS", f"process {pids[0]} ended") from error
    except PermissionError as error:
        raise LauncherError("UNREADABLE", f"the job may not be read: {error.strerror}") from error
    owner.become(account)
    wanted = {directory: _existing(directory) for directory in state_in}
    tokens.place(_places(holdings, [*wanted.values(), *first]))
    return {**holdings.document(), "state_in": _pairs(wanted), "tokens": _documents(tokens)}


def _pairs(wanted: Mapping[bytes, bytes]) -> list[list[str]]:
    return [[pack_bytes(directory), pack_bytes(place)] for directory, place in wanted.items()]


def _existing(directory: bytes) -> bytes:
    while not os.path.isdir(directory) and directory not in {b"/", b""}:
        directory = os.path.dirname(directory)
    return directory


def _account(pid: int) -> owner.Account:
    status = proc.status(pid)
    uid, gid = int(status["Uid"].split()[0]), int(status["Gid"].split()[0])
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        raise LauncherError("IDENTITY_MISMATCH", f"uid {uid} has no name on this node") from None
    return owner.Account(name, uid, gid, tuple(map(int, status["Groups"].split())))


def _stream_directories(pid: int) -> Iterator[bytes]:
    for number in range(3):
        with contextlib.suppress(FileNotFoundError):
            path = os.readlink(f"/proc/{pid}/fd/{number}".encode())
            if path.startswith(b"/") and not path.startswith((b"/dev/", b"/proc/")):
                yield os.path.dirname(path)


def _places(holdings: Holdings, first: list[bytes]) -> list[bytes]:
    """The directories that matter: those of the leader's own, of locked and written files, then the others."""
    files = sorted(holdings.files.items(), key=lambda item: (not item[1]["locked"], not item[1]["writable"], item[0]))
    return list(dict.fromkeys([*first, *(os.path.dirname(path) for path, _ in files), *sorted(holdings.directories)]))


def vouch(capsule: Capsule, tokens: Tokens) -> Document:
    """The same for a job that runs no more: tokens where its capsule says that it works, and nothing else in hand."""
    wrong = owner.mismatch(capsule.image)
    if wrong is not None:
        raise LauncherError("IDENTITY_MISMATCH", wrong)
    owner.become(capsule.image)
    files = (os.path.dirname(stream.path) for stream in capsule.image.stdio.values() if stream.kind == "file")
    wanted = {directory: _existing(directory) for directory in capsule.state_in}
    tokens.place(dict.fromkeys([*wanted.values(), capsule.image.cwd, *files]))
    return {**Holdings(()).document(), "state_in": _pairs(wanted), "tokens": _documents(tokens)}


def _documents(tokens: Tokens) -> list[Document]:
    return [{"path": pack_bytes(token.path), "dev": token.dev, "content": token.content} for token in tokens.placed]


def main(arguments: list[str]) -> None:
    """The verb `survey`."""
    named, pids = arguments[:1] == ["-"], [argument for argument in arguments if argument != "-"]
    if not pids or not all(argument.isdigit() for argument in pids):
        raise LauncherError("USAGE", "survey [-] PID…")
    state_in = _state_in(decode(sys.stdin.buffer.readline(LIMIT_BYTES))) if named else ()
    _answer_and_wait(lambda tokens: survey([int(argument) for argument in pids], tokens, state_in))


def _state_in(document: Document) -> tuple[bytes, ...]:
    try:
        return directories(document["state_in"])
    except (KeyError, TypeError, ValueError) as error:
        raise LauncherError("BAD_MESSAGE", f"state_in: {error!r}") from error


def main_vouch(arguments: list[str]) -> None:
    """The verb `vouch`: a capsule on the first line of stdin."""
    if arguments:
        raise LauncherError("USAGE", "vouch < capsule")
    line = sys.stdin.buffer.readline(8 * LIMIT_BYTES)
    capsule = load(decode(line))
    _answer_and_wait(lambda tokens: vouch(capsule, tokens))


def _answer_and_wait(ask: Callable[[Tokens], Document]) -> None:
    tokens = Tokens()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        emit(ask(tokens))
        select.select([sys.stdin.buffer], [], [], _LONGEST_S)
    finally:
        tokens.clear()


def _leave(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
