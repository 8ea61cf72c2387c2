"""`check DIR`: what this node lacks for a placed capsule, found before the original is touched.

Looks with the owner's eyes: a directory that only root can enter is not there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from . import owner, stdio
from .capsule import Capsule, Image, load
from .durable import read_json
from .errors import LauncherError
from .fileprint import digest
from .wire import Document, encode

__all__ = ["obstacles", "obstacles_as_owner"]

_ARGUMENT_BYTES = 128 * 1024
_ALL_BYTES = 2 * 1024 * 1024


def obstacles_as_owner(capsule: Capsule) -> Document:
    """`{"obstacles": [{"reason", "seen", "remedy"}], "notes": […]}`, seen by a child that became the owner."""
    image = capsule.image
    wrong = owner.mismatch(image)
    if wrong is not None:
        return {
            "obstacles": [_obstacle("IDENTITY_MISMATCH", wrong, "give the user the same uid and groups on both nodes")],
            "notes": [],
        }
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer_from_child(capsule, writing)
    os.close(writing)
    with open(reading, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    if not answer:
        return {
            "obstacles": [_obstacle("LAUNCH_FAILED", "the check could not become the job's owner", "")],
            "notes": [],
        }
    document: Document = json.loads(answer)
    return document


def _answer_from_child(capsule: Capsule, writing: int) -> None:
    """Never returns; an exception shows as an empty answer."""
    try:
        owner.become(capsule.image)
        with open(writing, "wb") as stream:
            stream.write(encode(obstacles(capsule)))
    finally:
        os._exit(0)


def obstacles(capsule: Capsule) -> Document:
    """The same, seen with the eyes of this process."""
    image = capsule.image
    _, problems, notes = stdio.plan(image, redirect=capsule.redirect_output)
    found = [_executable(image), _directory(image), *_files(image), _size(image)]
    found += [_obstacle(*problem) for problem in problems]
    return {"obstacles": [one for one in found if one is not None], "notes": notes}


def _obstacle(reason: str, seen: str, remedy: str) -> Document:
    return {"reason": reason, "seen": seen, "remedy": remedy}


def _executable(image: Image) -> Document | None:
    path = image.exe.path
    shown = _shown(path)
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return _obstacle("NO_EXECUTABLE", f"{shown} is not there, or may not be executed", "install it on this node")
    try:
        same = digest(path) == image.exe.digest
    except OSError as error:
        return _obstacle("NO_EXECUTABLE", f"{shown} cannot be read: {error.strerror}", "make it readable")
    if not same:
        return _obstacle("NO_EXECUTABLE", f"{shown} is another build here", "install the same version on both nodes")
    return None


def _directory(image: Image) -> Document | None:
    if os.path.isdir(image.cwd) and os.access(image.cwd, os.X_OK):
        return None
    shown = _shown(image.cwd)
    return _obstacle(
        "NO_DIRECTORY",
        f"its working directory {shown} is not there, or {image.user} may not enter it",
        "use a shared file system",
    )


def _files(image: Image) -> list[Document]:
    """Arguments that named files at the source must name files here; a script must be the same one."""
    found = []
    for path, wanted in image.files:
        if not os.path.exists(path):
            found.append(_obstacle("NO_FILE", f"{_shown(path)} is not on this node", "use a shared file system"))
        elif wanted is not None and _digest_or_none(path) != wanted:
            found.append(_obstacle("NO_FILE", f"{_shown(path)} is another file here", "use a shared file system"))
    return found


def _digest_or_none(path: bytes) -> str | None:
    try:
        return digest(path)
    except OSError:
        return None


def _size(image: Image) -> Document | None:
    """execve(2) refuses longer ones; the new variables need room too."""
    longest = max(map(len, [*image.argv, *image.environ]))
    total = sum(map(len, [*image.argv, *image.environ])) + 8 * (len(image.argv) + len(image.environ))
    if longest < _ARGUMENT_BYTES and total < _ALL_BYTES:
        return None
    return _obstacle("TOO_LARGE", f"arguments and environment hold {total} bytes", "pass large data in files")


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def main(arguments: list[str]) -> Document:
    """The verb."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "check DIR")
    document = read_json(Path(arguments[0]) / "capsule.json")
    if document is None:
        raise LauncherError("NOT_PLACED", f"no capsule waits in {arguments[0]}")
    return obstacles_as_owner(load(document))
