"""What follows from what was weighed: pure.

Patterns are those of gitignore(5), of which the last one that matches decides; of rsync(1)'s rules it is the first.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from offloader.model import Obstacle, Reason, StagingLimits

__all__ = ["filters", "notes", "too_much"]

_OURS = "- .grid-offload-*"


def filters(patterns: Iterable[str]) -> tuple[str, ...]:
    """The filter rules of rsync for patterns without a `bad_pattern`. Our own scratch never travels."""
    return (_OURS, *(_rule(pattern) for pattern in reversed(tuple(patterns))))


def _rule(pattern: str) -> str:
    sign = "+" if pattern.startswith("!") else "-"
    core = pattern.removeprefix("!")
    if core.startswith("**/"):
        core = core.removeprefix("**/")
    elif "/" in core[:-1] and not core.startswith("/"):
        core = f"/{core}"  # gitignore: a slash in the middle ties it to the root
    return f"{sign} {core}"


def too_much(weight: Mapping[str, Any], limits: StagingLimits, root: str) -> tuple[Obstacle, ...]:
    """The limits that a tree passes. An incomplete weight says at least so much."""
    more = "" if weight["complete"] else "at least "
    found = []
    largest = weight.get("largest")
    if largest and largest["bytes"] > limits.max_file_bytes:
        found.append(
            _over(
                f"{_text(largest['path'])} in its working directory has {_size(largest['bytes'])}",
                _size(limits.max_file_bytes),
                "staging.max_file",
            )
        )
    if weight["bytes"] > limits.max_bytes:
        held = f"its working directory {root} holds {more}{_size(weight['bytes'])}"
        found.append(_over(held, _size(limits.max_bytes), "staging.max_size"))
    if weight["files"] > limits.max_files:
        held = f"its working directory {root} holds {more}{weight['files']} files"
        found.append(_over(held, str(limits.max_files), "staging.max_files"))
    return tuple(found)


def _over(seen: str, limit: str, key: str) -> Obstacle:
    remedy = f"use a shared file system, exclude what it does not need (`staging.exclude`), or raise `{key}`"
    return Obstacle(Reason.NOT_STAGED, f"{seen}; at most {limit} are copied", remedy)


def notes(weight: Mapping[str, Any], root: str) -> tuple[str, ...]:
    """What people should know of a copy, although it stops nobody."""
    told = [f"{root} is copied there ({weight['files']} files, {_size(weight['bytes'])}) and its results come back"]
    if weight["left_behind"]:
        names = ", ".join(map(_text, weight["left_behind"][:3]))
        told.append(f"pipes, sockets and devices in it stay behind: {names}")
    if weight["lead_out"]:
        names = ", ".join(map(_text, weight["lead_out"][:3]))
        told.append(f"symbolic links lead out of it, to what may not be there: {names}")
    if weight["words"]:
        told.append(f"not all of it can be read: {weight['words'][0]}")
    return tuple(told)


def _text(packed: str) -> str:
    return base64.b64decode(packed).decode("utf-8", "replace")


def _size(size: int) -> str:
    unit, name = next((one for one in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= one[0]), (1, "bytes"))
    return f"{size / unit:.3g} {name}"
