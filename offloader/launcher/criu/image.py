"""An image's files: where they are, how they travel, and that they go away.

Memory goes through criu's page server straight to the target; what criu writes at the source beside that (registers,
descriptors, contents of deleted files) is small and follows as a tar archive: within the messages about it where it
fits, else by `pack DIR` and `unpack DIR`. A launcher accepts only plain files of criu's kinds, into a directory that it
has made itself.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import shutil
import signal
import sys
import tarfile
from pathlib import Path
from typing import IO, Any

from .. import proc
from ..durable import read_json
from ..errors import LauncherError
from ..lease import boottime
from ..reaper import signal_one
from ..wire import Document, pack_bytes, unpack_bytes
from .arguments import GHOST_LIMIT_BYTES, Pages, page_server
from .execution import Execution, complaint

__all__ = ["NAME", "PARENT", "PageServer", "create", "main_pack", "main_unpack", "pack"]
__all__ += ["pages_bytes", "remove", "rest", "sweep", "unpack", "unpack_rest", "users"]

NAME = "image"
"""Of its directory, in the one of a move at the source and of an attempt at the target."""

PARENT = "parent"
"""Within it, where criu looks for an image made before: memory that has not changed since is only there."""

_NAME = re.compile(r"[a-z0-9][A-Za-z0-9._-]{0,100}\.img")
_PAGES = re.compile(r"(pages|pagemap)-.*\.img")
_MOST_FILES = 100_000
_REMOVE_S, _PAUSE_S = 2.0, 0.01
_REST_LIMIT_BYTES = GHOST_LIMIT_BYTES + (16 << 20)


def create(directory: Path) -> None:
    """Make room for an image that nobody else may read. Raises FileExistsError: an image is never written over."""
    directory.mkdir(mode=0o700)


def remove(directory: Path) -> None:
    """Delete it: an image that outlives its move could bring back the past. Nothing there is well. Raises OSError.

    Whatever still works on it is ended: a page server that nobody waits for, or a child that criu makes at its start to
    try the kernel's ptrace(2), and that stays stopped for ever where criu is killed in that moment.
    """
    deadline = boottime() + _REMOVE_S
    while directory.is_dir():
        for user in users(directory):
            signal_one(user, signal.SIGKILL)
        try:
            shutil.rmtree(directory)
        except OSError:
            if boottime() >= deadline:
                raise
            select.select([], [], [], _PAUSE_S)


def sweep(attempts: Path) -> None:
    """Delete what attempts from before this boot have left: nobody asks for those again, and it is all their memory."""
    for directory in attempts.glob(f"*/{NAME}"):
        state = read_json(directory.parent / "state.json")
        if state is not None and state.get("boot_id") != proc.boot_id():
            with contextlib.suppress(OSError):
                remove(directory)


def users(directory: Path) -> list[proc.Stat]:
    """Processes that were started for this image: its directory, or its parent's, is a word of their command line."""
    paths, found = {os.fsencode(directory), os.fsencode(directory / PARENT)}, []
    for stat in proc.all_stats():
        with contextlib.suppress(OSError):
            if not stat.dead and paths & set(proc.read_bytes(f"/proc/{stat.pid}/cmdline").split(b"\0")):
                found.append(stat)
    return found


def pages_bytes(directory: Path) -> int:
    """How much memory an image holds here; nothing if there is none."""
    return sum(path.stat().st_size for path in directory.glob("pages-*"))


def pack(directory: Path, stream: IO[bytes], *, pages: bool = False) -> None:
    """Write the image's files as a tar stream; those of memory only if asked for (`pages`)."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(directory.iterdir()):
            if _NAME.fullmatch(path.name) and (pages or not _PAGES.fullmatch(path.name)):
                archive.add(path, arcname=path.name, recursive=False)


def unpack(stream: IO[bytes], directory: Path, *, limit_bytes: int) -> int:
    """Write the files of such a stream, 0600, none over another one; returns their bytes.

    Raises:
        LauncherError: BAD_IMAGE: something else than an image's files, or more than the limit. What was written stays.
    """
    total = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, entry in enumerate(archive):
                total += entry.size
                if number >= _MOST_FILES or total > limit_bytes:
                    raise LauncherError("BAD_IMAGE", f"more than {limit_bytes} bytes or {_MOST_FILES} files")
                _unpack_one(archive, entry, directory)
    except (tarfile.TarError, EOFError, FileExistsError) as error:
        raise LauncherError("BAD_IMAGE", str(error)) from error
    return total


def _unpack_one(archive: tarfile.TarFile, entry: tarfile.TarInfo, directory: Path) -> None:
    source: Any = archive.extractfile(entry) if entry.isreg() else None
    if source is None or not _NAME.fullmatch(entry.name):
        raise LauncherError("BAD_IMAGE", f"{entry.name!r} is no file of an image")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(directory / entry.name, flags, 0o600), "wb") as written:
        shutil.copyfileobj(source, written, 1 << 20)


class PageServer:
    """Receives the memory of one dump into `images`, from a socket that somebody connects to the dumping criu."""

    def __init__(self, criu: str, images: Path, pages: Pages) -> None:
        """Start it. Raises OSError."""
        self._images = images
        passed = [pages.socket] if pages.socket is not None else []
        self._execution = Execution(page_server(criu, str(images), pages), str(images / "stderr"), passed=passed)

    @property
    def descriptor(self) -> int:
        """Readable once it has ended."""
        return self._execution.descriptor

    def wait(self, limit_s: float) -> None:
        """Wait until everything is there. Raises LauncherError (DUMP_FAILED, TIMEOUT); it has ended in any case."""
        status = self._execution.wait(limit_s)
        self._execution.close()
        if status is None:
            raise LauncherError("TIMEOUT", "not all of the memory arrived in time")
        if status != 0:
            raise LauncherError("DUMP_FAILED", f"memory: {complaint(str(self._images / 'page-server.log'))}")

    def close(self) -> None:
        """Give up."""
        self._execution.close()


def rest(directory: Path) -> str:
    """Everything but the memory, as base64."""
    stream = io.BytesIO()
    pack(directory, stream)
    return pack_bytes(stream.getvalue())


def unpack_rest(archive: str, directory: Path) -> int:
    """The inverse; returns the bytes. Raises LauncherError (BAD_IMAGE)."""
    try:
        data = unpack_bytes(archive)
    except ValueError as error:
        raise LauncherError("BAD_IMAGE", "no base64") from error
    return unpack(io.BytesIO(data), directory, limit_bytes=_REST_LIMIT_BYTES)


def main_pack(arguments: list[str]) -> Document:
    """The verb at the source: `pack DIR`, the guard's."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "pack DIR")
    directory = Path(arguments[0]) / NAME
    if not directory.is_dir():
        raise LauncherError("DUMP_FAILED", f"there is no image in {arguments[0]}")
    return {"rest": rest(directory)}


def main_unpack(arguments: list[str]) -> Document:
    """The verb at the target: `unpack DIR < base64`, the attempt's."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "unpack DIR")
    data = sys.stdin.buffer.read(2 * _REST_LIMIT_BYTES)
    return {"bytes": unpack_rest(data.decode("ascii", "replace"), Path(arguments[0]) / NAME)}
