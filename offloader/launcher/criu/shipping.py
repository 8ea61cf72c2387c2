"""The memory of a dump on its way between two nodes: `pages DIR …` at the source, `receive DIR …` at the target.

Raw bytes on stdin and stdout, criu's own conversation between dump and page server; the controller only ties the two
ends together. Both are started before the freeze. What the job has in memory then goes ahead, to a first page server;
the dump, to a second one, brings what has changed since. What they have to say goes to stderr, in lines of JSON.
"""

from __future__ import annotations

import contextlib
import fcntl
import select
import shutil
import socket
import threading
from pathlib import Path

from ..durable import read_json
from ..errors import LauncherError
from ..lease import boottime
from ..socket_path import connect
from ..splice import CHUNK_BYTES, failed, say, splice
from . import ahead, image
from .arguments import Pages
from .copying import PAGES
from .page_stream import Server
from .sieve import Sieve

__all__ = ["main_pages", "main_receive"]

_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of fcntl(2), a name only since Python 3.10
_SEND_BUFFER_FORCE = 32  # SO_SNDBUFFORCE of socket(7) on most architectures: beyond net.core.wmem_max


def main_pages(arguments: list[str]) -> int:
    """The verb at the source: `pages DIR SECONDS`; DIR is the guard's. So long may memory go ahead."""
    if len(arguments) != 2:  # noqa: PLR2004 (as above)
        raise LauncherError("USAGE", "pages DIR SECONDS")
    directory, until = Path(arguments[0]), boottime() + float(arguments[1])
    server = Server(0, 1)
    try:
        peer = connect(directory, PAGES)
    except OSError as error:
        return failed({"error": "NOT_RUNNING", "detail": f"no guard waits in {arguments[0]}: {error.strerror}"})
    with peer:
        try:
            known, sent = ahead.send(_members(directory), server, until=until)
            say({"ready": True, "ahead_bytes": sent})
            Sieve(peer, server, known).run()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            return failed({"error": "DUMP_FAILED", "detail": str(error)})
    return 0


def _members(directory: Path) -> list[tuple[int, int]]:
    """Pid and start time of those that the guard has written down."""
    state = read_json(directory / "state.json") or {}
    return [(int(one["pid"]), int(one["start_ticks"])) for one in state.get("members", ())]


def main_receive(arguments: list[str]) -> int:
    """The verb at the target: `receive DIR CRIU SECONDS`; DIR is the attempt's. Says how much has arrived.

    So long may a page server take to end after it was told to.
    """
    if len(arguments) != 3:  # noqa: PLR2004 (as above)
        raise LauncherError("USAGE", "receive DIR CRIU SECONDS")
    images, criu, limit_s = Path(arguments[0]) / image.NAME, arguments[1], float(arguments[2])
    if not images.is_dir():
        return failed({"error": "NOT_RUNNING", "detail": f"no launcher waits for an image in {arguments[0]}"})
    before = images / image.PARENT
    try:
        before.mkdir(mode=0o700)
        _serve(criu, before, limit_s, ready=False)
        if not any(before.glob("pagemap-*")):
            shutil.rmtree(before)
        _serve(criu, images, limit_s, ready=True)
    except OSError as error:
        return failed({"error": "DUMP_FAILED", "detail": f"{error}"})
    except LauncherError as error:
        return failed({"error": error.code, "detail": error.detail})
    say({"pages_bytes": image.pages_bytes(images), "ahead_bytes": image.pages_bytes(before)})
    return 0


def _serve(criu: str, images: Path, limit_s: float, *, ready: bool) -> None:
    """One page server. Raises LauncherError, OSError."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            server = image.PageServer(criu, images, Pages(socket=theirs.fileno()))
        if ready:
            say({"ready": True})
        threading.Thread(target=_end_with, args=(server.descriptor, ours), daemon=True).start()
        _widen(ours)
        splice(ours)
    server.wait(limit_s)


def _end_with(server: int, ours: socket.socket) -> None:
    """When that process ends nobody says or hears anything here any more, whoever else still has the other end.

    A criu that is killed while it looks what the kernel can do leaves a child behind, stopped, with all it had open.
    """
    poll = select.poll()
    poll.register(server, select.POLLIN)
    poll.poll()
    with contextlib.suppress(OSError):  # it was closed before
        ours.shutdown(socket.SHUT_RDWR)


def _widen(peer: socket.socket) -> None:
    """Whoever fills a way that holds little waits, or is waited for, at every turn: sshd gives a pipe of 64 KiB."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(0, _SET_PIPE_SIZE, CHUNK_BYTES)
    with contextlib.suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, _SEND_BUFFER_FORCE, 4 * CHUNK_BYTES)
