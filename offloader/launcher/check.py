"""`check` (target): what this node lacks for a job, found before the original is touched. Leaves nothing behind.

On stdin one document: `capsule`, and optionally `survey` (what the job has in its hands at the source, with tokens),
`memory_bytes` (what it needs), and `coming`: true before the capsule's `staged` directories are copied. Looks with the
owner's eyes: a directory that only root can enter is not there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Container, Iterable
from dataclasses import replace

from . import as_owner, owner, room, stdio, surroundings
from .capsule import Capsule, Image, load
from .errors import LauncherError
from .fileprint import digest
from .obstacle import obstacle, shown
from .surroundings import Surroundings, different
from .wire import LIMIT_BYTES, Document, decode

__all__ = ["obstacles_as_owner"]

_ARGUMENT_BYTES = 128 * 1024
_ALL_BYTES = 2 * 1024 * 1024
_INPUT_LIMIT_BYTES = 10 * LIMIT_BYTES


def obstacles_as_owner(capsule: Capsule) -> list[Document]:
    """What is in the way of this capsule alone: asked again by whoever opens it."""
    found: list[Document] = _as_owner(capsule.image, lambda: {"obstacles": _obstacles(capsule)})["obstacles"]
    return found


def _as_owner(image: Image, answer: Callable[[], Document]) -> Document:
    """The answer of a child that became the owner; a node where there is no such owner has one obstacle."""
    wrong = owner.mismatch(image)
    if wrong is not None:
        return _nothing_but(obstacle("IDENTITY_MISMATCH", wrong, "give the user the same uid and groups on both nodes"))
    try:
        return as_owner.answered(image, answer)
    except LauncherError as error:
        return _nothing_but(obstacle("LAUNCH_FAILED", f"the check: {error.detail}", ""))


def _nothing_but(found: Document) -> Document:
    return {"obstacles": [found], "notes": [], "shared": [], "streams": {}}


def _nothing(_path: bytes) -> bool:
    return False


def _whole(capsule: Capsule, around: Surroundings | None, memory_bytes: int, *, coming: bool) -> Document:
    """Everything, seen with the eyes of this process. Without surroundings this node is the job's own source.

    `coming`: what is to be staged is not here yet, and is taken to be.
    """
    gained, told = _groups(capsule.image) if around is not None else ([], [])
    around = around or Surroundings()
    capsule = replace(capsule, shared=capsule.shared | around.shared())
    openings, _, notes = stdio.plan(capsule, coming=coming)
    found, more = around.judge(capsule.shared, capsule.carries if coming else _nothing)
    memory, disk = room.short_of_memory(memory_bytes), room.short_of_disk(capsule.image.cwd)
    found += [obstacle("NO_ROOM", memory, "choose another node, or wait")] if memory else []
    found += [obstacle("NO_ROOM", disk, "make room there")] if disk else []
    return {
        "obstacles": [*_obstacles(capsule, {file.path for file in around.files}, coming=coming), *gained, *found],
        "notes": notes + more + told,
        "shared": sorted(capsule.shared),
        "streams": {str(number): opening.how for number, opening in openings.items()},
    }


def _groups(image: Image) -> tuple[list[Document], list[str]]:
    """Rights that this node would add: refused where they lead to root, else told (`render`, where there are GPUs)."""
    gained = owner.gained(image)
    mighty = [name for name in gained if name in owner.ALMOST_ROOT]
    if mighty:
        seen = f"{image.user} is in {', '.join(mighty)} on this node and not at the source, and would have its rights"
        remedy = f"take {image.user} out of that group on this node, or add it at the source"
        return [obstacle("IDENTITY_MISMATCH", seen, remedy)], []
    return [], [f"it will have the groups {', '.join(gained)}, which it has not at the source"] if gained else []


def _obstacles(capsule: Capsule, judged: Container[bytes] = (), *, coming: bool = False) -> list[Document]:
    """Of the capsule alone; files that are `judged` elsewhere are left out."""
    image = capsule.image
    expected = capsule.carries if coming else _nothing
    _, problems, _ = stdio.plan(capsule, coming=coming)
    found = [] if expected(image.exe.path) else [different(image.exe.path, image.exe.digest, image.exe.size)]
    found += [] if expected(image.cwd) else [_directory(image)]
    files = [file for file in image.files if not expected(file[0])]
    found += [*_files(files, judged), _size(image)]
    found += [obstacle(*problem) for problem in problems]
    return [one for one in found if one is not None]


def _directory(image: Image) -> Document | None:
    if os.path.isdir(image.cwd) and os.access(image.cwd, os.X_OK):
        return None
    return obstacle(
        "NO_DIRECTORY",
        f"its working directory {shown(image.cwd)} is not there, or {image.user} may not enter it",
        "use a shared file system",
    )


def _files(files: Iterable[tuple[bytes, str | None]], judged: Container[bytes]) -> list[Document]:
    """Arguments that named files at the source must name files here; a script must be the same one."""
    found = []
    for path, wanted in files:
        if path in judged:
            continue
        if not os.path.exists(path):
            found.append(obstacle("NO_FILE", f"{shown(path)} is not on this node", "use a shared file system"))
        elif wanted is not None and _digest_or_none(path) != wanted:
            found.append(obstacle("NO_FILE", f"{shown(path)} is another file here", "use a shared file system"))
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
    return obstacle("TOO_LARGE", f"arguments and environment hold {total} bytes", "pass large data in files")


def main(arguments: list[str]) -> Document:
    """The verb."""
    if arguments:
        raise LauncherError("USAGE", "check < document")
    data = sys.stdin.buffer.read(_INPUT_LIMIT_BYTES + 1)
    if len(data) > _INPUT_LIMIT_BYTES:
        raise LauncherError("BAD_CAPSULE", f"larger than {_INPUT_LIMIT_BYTES} bytes")
    document = decode(data)
    capsule = load(document.get("capsule", {}))
    try:
        around = surroundings.load(document["survey"]) if "survey" in document else None
        needed, coming = int(document.get("memory_bytes", 0)), document.get("coming") is True
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LauncherError("BAD_CAPSULE", f"survey: {error!r}") from error
    return _as_owner(capsule.image, lambda: _whole(capsule, around, needed, coming=coming))
