"""The spellings of `--threshold`: percentages, as people say them."""

from __future__ import annotations

from collections.abc import Iterable

import click

__all__ = ["RESOURCES", "parse_thresholds"]

RESOURCES = ("cpu", "memory", "gpu")
_BARE = "memory"
_LOWEST, _HIGHEST = 1.0, 100.0


def parse_thresholds(words: Iterable[str]) -> dict[str, float | None]:
    """`cpu=80`, `memory=65%`, `gpu=default`, or a bare `70` for memory, as ratios by resource (None: the rule's own).

    Raises click.UsageError that names every word that is wrong.
    """
    thresholds: dict[str, float | None] = {}
    problems: list[str] = []
    for word in words:
        resource, separator, number = word.partition("=")
        if not separator:
            resource, number = _BARE, word
        try:
            ratio = _ratio(resource, number)
        except ValueError as error:
            problems.append(f"{word!r}: {error}")
            continue
        if resource in thresholds:
            problems.append(f"{word!r}: {resource} is given twice")
        thresholds[resource] = ratio
    if problems:
        raise click.UsageError("--threshold " + "\n  --threshold ".join(problems))
    return thresholds


def _ratio(resource: str, number: str) -> float | None:
    if resource not in RESOURCES:
        raise ValueError(f"unknown resource {resource!r} (known: {', '.join(RESOURCES)})")
    if number == "default":
        return None
    try:
        percent = float(number.removesuffix("%"))
    except ValueError:
        raise ValueError(f"{number!r} is no percentage; write for example {resource}=80") from None
    if not _LOWEST <= percent <= _HIGHEST:  # false for NaN as well
        hint = f"; did you mean {resource}={percent * 100:g}?" if 0 < percent < _LOWEST else ""
        raise ValueError(f"a threshold is {_LOWEST:g} to {_HIGHEST:g} percent, not {number}{hint}")
    return percent / 100
