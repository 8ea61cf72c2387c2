"""An rsync whose other end is on another node: its stream goes through frames on our stdin and stdout.

The client starts a "remote shell" (rsync(1), `-e`), which here is a few words of Python: they hand the stream, and the
command that the client wants executed, to us over an inherited socket, and end. No node logs in to the other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple, cast

from .errors import LauncherError
from .frames import Frames
from .rsync import ENVIRONMENT

__all__ = ["Passed", "receiving", "sending"]

_CHUNK = 1 << 16
_ARGV_BYTES = 1 << 16
_SHELL = (
    "import os,socket,sys;s=socket.socket(fileno=int(sys.argv[1]));"
    "socket.send_fds(s,[b'\\0'.join(map(os.fsencode,sys.argv[3:]))],[0,1])"
)


class Passed(NamedTuple):
    """A pass that is over: rsync's exit status, and what it wrote to stdout and stderr."""

    status: int
    output: bytes
    errors: bytes


def _remote_shell(descriptor: int) -> str:
    """What `-e` gets: rsync cuts it at spaces and knows both quotes."""
    return f'"{sys.executable}" -I -S -c "{_SHELL}" {descriptor}'


def sending(frames: Frames, command: Callable[[str], Sequence[str]], names: bytes = b"", **header: object) -> Passed:
    """Run the sender in the current directory.

    Args:
        frames: towards the receiver; the first document is `{"argv": …}`, what is to be executed there.
        command: makes the command line, given its remote shell.
        names: its stdin.
        header: what else the first document says.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _scratch() as output, _scratch() as errors, _scratch(names) as stdin:
        process = subprocess.Popen(
            command(_remote_shell(theirs.fileno())),
            stdin=stdin,
            stdout=output,
            stderr=errors,
            env=ENVIRONMENT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        argv, streams, _, _ = socket.recv_fds(ours, _ARGV_BYTES, 2)
        if len(streams) == 2:  # noqa: PLR2004 (its stdin and stdout); none: it ended before it asked for anything
            reading, writing = streams
            frames.say({**header, "argv": argv.decode("utf-8", "surrogateescape").split("\0")})
            _pump(process, frames, reading, writing)
        ours.close()
        return Passed(process.wait(), _all_of(output), _all_of(errors))


def receiving(frames: Frames, argv: Sequence[str]) -> Passed:
    """Run the receiver in the current directory."""
    with _scratch() as errors:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=ENVIRONMENT)
        assert process.stdin is not None
        assert process.stdout is not None
        _pump(process, frames, os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno()))
        process.stdin.close()
        process.stdout.close()
        return Passed(process.wait(), b"", _all_of(errors))


def _scratch(content: bytes = b"") -> BinaryIO:
    """A file in memory, to be read from its start (memfd_create(2))."""
    stream = cast("BinaryIO", os.fdopen(os.memfd_create("rsync"), "w+b"))
    stream.write(content)
    stream.seek(0)
    return stream


def _all_of(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()


def _pump(process: subprocess.Popen[bytes], frames: Frames, reading: int, writing: int) -> None:
    """Until what `process` says has ended. A connection that is gone ends the process."""
    inward = threading.Thread(target=_inward, args=(process, frames, writing), daemon=True)
    inward.start()
    try:
        while data := _read(reading):
            frames.send(b"D", data)
        frames.send(b"E")
    except OSError:
        _kill(process)
    finally:
        os.close(reading)


def _inward(process: subprocess.Popen[bytes], frames: Frames, writing: int) -> None:
    ended = False
    try:
        while not ended:
            received = frames.receive()
            if received is None:
                _kill(process)
                return
            if received[0] == b"E":
                ended = True
            elif received[0] == b"D":
                _write(writing, received[1])
    except (OSError, LauncherError):  # it has ended by itself, and says why; or nonsense came
        _kill(process, unless_ended=True)
    finally:
        os.close(writing)


def _kill(process: subprocess.Popen[bytes], *, unless_ended: bool = False) -> None:
    if not unless_ended or process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)


def _read(descriptor: int) -> bytes:
    """What rsync says; the end also where it was killed with data on its way (a socket says so by an error)."""
    try:
        return os.read(descriptor, _CHUNK)
    except ConnectionResetError:
        return b""


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
