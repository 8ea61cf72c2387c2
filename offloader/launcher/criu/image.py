"""An image's files: where they are, how they travel, and that they go away.

Memory goes through criu's page server straight to the target; what criu writes at the source beside that (registers,
descriptors, contents of deleted files) is small and follows as a tar stream. A launcher accepts only plain files of
criu's kinds, into a directory that it has made itself.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..errors import LauncherError
from .arguments import Pages, page_server
from .execution import Execution, complaint

__all__ = ["PageServer", "Sizes", "create", "pack", "remove", "sizes", "unpack"]

_NAME = re.compile(r"[a-z0-9][A-Za-z0-9._-]{0,100}\.img")
_PAGES = re.compile(r"(pages|pagemap)-.*\.img")
_MOST_FILES = 100_000


class Sizes(NamedTuple):
    """Bytes: `pages` of memory, `rest` of everything else."""

    pages: int
    rest: int


def create(directory: Path) -> None:
    """Make room for an image that nobody else may read. Raises FileExistsError: an image is never written over."""
    directory.mkdir(mode=0o700)


def remove(directory: Path) -> None:
    """Delete it: an image that outlives its move could bring back the past. Nothing there is well. Raises OSError."""
    if directory.is_dir():
        shutil.rmtree(directory)


def sizes(directory: Path) -> Sizes:
    """How much an image holds here."""
    pages = rest = 0
    for entry in os.scandir(directory):
        size = entry.stat().st_size
        if entry.name.startswith("pages-"):
            pages += size
        else:
            rest += size
    return Sizes(pages, rest)


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
