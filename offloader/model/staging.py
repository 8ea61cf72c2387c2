"""What may be copied of a working directory that a target does not share."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_EXCLUDES", "StagingLimits", "bad_pattern"]

DEFAULT_EXCLUDES = ("__pycache__/", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".nfs*")
"""Caches that are made anew. Not `.git/objects`: a job that asks git for its revision would get a broken answer."""


@dataclass(frozen=True, slots=True)
class StagingLimits:
    """Of one copy. `enabled`: unless a move says otherwise; `excludes`: patterns of gitignore(5); times in seconds."""

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
