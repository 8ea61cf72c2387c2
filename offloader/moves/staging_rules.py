"""What staging allows, and what follows from what was weighed: pure.

Patterns are those of gitignore(5), of which the last one that matches decides; of rsync(1)'s rules it is the first.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from offloader.model import Obstacle, Reason

__all__ = ["DEFAULT_EXCLUDES", "StagingLimits", "bad_pattern", "filters", "notes", "too_much"]

DEFAULT_EXCLUDES = ("__pycache__/", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".nfs*")
"""Caches that are made anew. Not `.git/objects`: a job that asks git for its revision would get a broken answer."""

_OURS = "- .grid-offload-*"


@dataclass(frozen=True, slots=True)
class StagingLimits:
    """Of one copy. `enabled`: unless a move says otherwise; times in seconds."""

    enabled: bool = True
    max_bytes: int = 2 << 30
    max_files: int = 50_000
    max_file_bytes: int = 1 << 30
    reserve_bytes: int = 1 << 30
    excludes: tuple[str, ...] = DEFAULT_EXCLUDES
    copy_s: float = 600.0
    catch_up_s: float = 30.0
    carry_deletions: bool = False


def bad_pattern(pattern: str) -> str | None:
    """What is wrong with a pattern; None: nothing."""
    core = pattern.removeprefix("!")
    if not core.strip("/"):
        return "must name something"
    if core != core.strip() or not core.isprintable() or "\\" in core:
        return "must hold neither backslashes nor control characters, nor begin or end with a space"
    return None


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
