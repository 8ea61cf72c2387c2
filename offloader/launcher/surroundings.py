"""What a job had in its hands at the source (survey.py), and this node does not offer. Looks with the owner's eyes.

| at the source | in the way here |
| --- | --- |
| program of a member, library | it is missing; for a program also: its content differs |
| file read | missing; or on a file system of this node's own, with another size |
| file written | not the same file (scratch files below /tmp and the like: a note, they are made anew) |
| file locked | the same file: the successor would meet the original's lock |
| directory, device | missing, or may not be entered or opened |
| directory with its saved state | not the same one, or that cannot be shown |
| its terminal, opened as /dev/tty | always |
| deleted file | nothing: no successor could find it, so a run from the start makes its own |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .fileprint import SharedDevices, SharedFile, digest
from .obstacle import obstacle, shown
from .tokens import Token
from .wire import Document, unpack_bytes

__all__ = ["Surroundings", "load"]

_SCRATCH = (b"/tmp/", b"/var/tmp/", b"/dev/shm/", b"/run/")
_SHARE = "put it on a file system that both nodes see"


class _File(NamedTuple):
    path: bytes
    same: SharedFile
    writable: bool
    deleted: bool
    locked: bool
    stream: bool


class Surroundings(NamedTuple):
    """A survey, read. `programs`: path, digest, size; `libraries`: path, size; `devices`: path, whether written to."""

    files: tuple[_File, ...] = ()
    programs: tuple[tuple[bytes, str, int], ...] = ()
    libraries: tuple[tuple[bytes, int], ...] = ()
    directories: tuple[bytes, ...] = ()
    devices: tuple[tuple[bytes, bool], ...] = ()
    terminal: bool = False
    tokens: tuple[Token, ...] = ()
    state_in: tuple[tuple[bytes, bytes], ...] = ()  # directory, and the one at or above it that is there

    def shared(self) -> SharedDevices:
        """The file systems that are proven to be the source's too."""
        pairs = ((token.dev, token.device_here()) for token in self.tokens)
        return frozenset((there, here) for there, here in pairs if here is not None)

    def judge(self, shared: SharedDevices, coming: Callable[[bytes], bool]) -> tuple[list[Document], list[str]]:
        """Obstacles and notes for people. `coming`: of a path, whether it is still to be copied here."""
        obstacles = [*self._programs(coming), *self._directories(coming), *self._state(coming), *self._devices()]
        notes: list[str] = []
        if self.terminal:
            seen = "it opened its terminal (/dev/tty) by itself; there is none on another node"
            obstacles.append(obstacle("TERMINAL", seen, "start it without a terminal: `setsid`, or a batch job"))
        for file in self.files:
            here = file.same.is_here(file.path, shared)
            obstacles += _locked(file, notes, here=here)
            if not (here or file.deleted or file.stream or coming(file.path)):
                obstacles += _elsewhere(file, notes)
        for path, size in self.libraries:
            obstacles += [] if coming(path) else _library(path, size, notes)
        return obstacles, notes

    def _programs(self, coming: Callable[[bytes], bool]) -> Iterator[Document]:
        for path, wanted, size in self.programs:
            found = None if coming(path) else different(path, wanted, size)
            if found is not None:
                yield found

    def _directories(self, coming: Callable[[bytes], bool]) -> Iterator[Document]:
        for path in self.directories:
            if not coming(path) and not (os.path.isdir(path) and os.access(path, os.X_OK)):
                yield obstacle("NO_DIRECTORY", f"{shown(path)} is not there, or its owner may not enter it", _SHARE)

    def _state(self, coming: Callable[[bytes], bool]) -> Iterator[Document]:
        found = {os.path.dirname(token.path) for token in self.tokens if token.device_here() is not None}
        for directory, place in self.state_in:
            if place not in found and not coming(directory):
                seen = f"its saved state is in {shown(directory)}, which is not the same directory on this node"
                yield obstacle("NO_DIRECTORY", seen, _SHARE)

    def _devices(self) -> Iterator[Document]:
        for path, writable in self.devices:
            if not os.access(path, os.R_OK | (os.W_OK if writable else 0)):
                seen = f"it uses the device {shown(path)}, which is not there, or not for its owner"
                yield obstacle("UNSUPPORTED_FD", seen, "choose a node that has it")


def different(path: bytes, wanted: str, size: int) -> Document | None:
    """Whether a program is missing here, or another one."""
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        if path.endswith(b" (deleted)"):
            seen = f"{shown(path)}: it was replaced or removed at the source while it ran"
            return obstacle("NO_EXECUTABLE", seen, "start the job anew with the program that is there now")
        seen = f"{shown(path)} is not there, or may not be executed"
        return obstacle("NO_EXECUTABLE", seen, "install it on this node")
    try:
        same, here = digest(path) == wanted, os.stat(path).st_size
    except OSError as error:
        return obstacle("NO_EXECUTABLE", f"{shown(path)} cannot be read: {error.strerror}", "make it readable")
    if same:
        return None
    sizes = f" ({here} bytes here, {size} at the source)" if size else ""
    return obstacle(
        "NO_EXECUTABLE", f"{shown(path)} is another build here{sizes}", "install the same version on both nodes"
    )


def _locked(file: _File, notes: list[str], *, here: bool) -> list[Document]:
    if not file.locked or file.deleted:
        return []
    if not here:
        notes.append(f"its lock on {shown(file.path)} guards nothing on this node, which does not see that file")
        return []
    seen = f"it holds a lock on {shown(file.path)}, which this node sees too: its successor would wait for it, or fail"
    return [obstacle("LOCKED", seen, "let it release the lock first")]


def _elsewhere(file: _File, notes: list[str]) -> list[Document]:
    """A file of the source's own disks."""
    if file.writable and file.path.startswith(_SCRATCH):
        notes.append(f"{shown(file.path)} stays behind: scratch that a new run makes anew")
        return []
    if file.writable:
        return [obstacle("NO_FILE", f"it writes {shown(file.path)}, which is not the same file on this node", _SHARE)]
    try:
        size = os.stat(file.path).st_size
    except OSError:
        return [obstacle("NO_FILE", f"it reads {shown(file.path)}, which is not on this node", _SHARE)]
    if size == file.same.size and os.access(file.path, os.R_OK):
        return []
    return [obstacle("NO_FILE", f"it reads {shown(file.path)}, which is another file here, or not for it", _SHARE)]


def _library(path: bytes, size: int, notes: list[str]) -> list[Document]:
    try:
        here = os.stat(path).st_size
    except OSError:
        seen = f"it runs with {shown(path)}, which is not on this node"
        return [obstacle("NO_FILE", seen, "install the same version on both nodes")]
    if here != size:
        notes.append(f"{shown(path)} is another build here ({here} bytes, {size} at the source)")
    return []


def load(document: Document) -> Surroundings:
    """From the survey's document, which comes from our own launcher. Raises KeyError, TypeError, ValueError."""
    return Surroundings(
        files=tuple(_file(one) for one in document["files"]),
        programs=tuple((unpack_bytes(one["path"]), one["digest"], int(one["size"])) for one in document["programs"]),
        libraries=tuple((unpack_bytes(one["path"]), int(one["size"])) for one in document["libraries"]),
        directories=tuple(unpack_bytes(path) for path in document["directories"]),
        devices=tuple((unpack_bytes(one["path"]), bool(one["writable"])) for one in document["devices"]),
        terminal=bool(document["terminal"]),
        state_in=tuple((unpack_bytes(one), unpack_bytes(place)) for one, place in document["state_in"]),
        tokens=tuple(Token(unpack_bytes(one["path"]), int(one["dev"]), one["content"]) for one in document["tokens"]),
    )


def _file(one: Document) -> _File:
    return _File(
        path=unpack_bytes(one["path"]),
        same=SharedFile(int(one["dev"]), int(one["inode"]), int(one["size"])),
        writable=bool(one["writable"]),
        deleted=bool(one["deleted"]),
        locked=bool(one["locked"]),
        stream=bool(one["stream"]),
    )
