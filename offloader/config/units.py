"""Text with units → numbers: durations, ratios, sizes. A number without its unit is refused, never guessed."""

from __future__ import annotations

import math
import re
from typing import Final

__all__ = ["duration_text", "parse_duration", "parse_ratio", "parse_size", "ratio_text", "size_text"]

_DURATION: Final = re.compile(
    r"(?:(?P<y>\d{1,9})y)?(?:(?P<w>\d{1,9})w)?(?:(?P<d>\d{1,9})d)?(?:(?P<h>\d{1,9})h)?"
    r"(?:(?P<m>\d{1,9})m)?(?:(?P<s>\d{1,9})s)?(?:(?P<ms>\d{1,9})ms)?",
    re.ASCII,
)
_SECONDS: Final = {"y": 365 * 86400.0, "w": 7 * 86400.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_SIZES: Final[dict[str, int]] = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGTP", start=1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGTP", start=1)},
}


def parse_duration(text: str) -> float:
    """Seconds of a duration as Prometheus writes it: `500ms`, `30s`, `1h30m`, `0`.

    Largest unit first, each at most once, whole numbers (prometheus/common, model/time.go).

    Raises:
        ValueError: it is none; the message says how one looks.
    """
    match = _DURATION.fullmatch(text)
    if text == "0":
        return 0.0
    if not text or match is None:
        raise ValueError(f"{text!r} is no duration; write it as in 30s, 2m, 1h30m, 500ms")
    return sum(_SECONDS[unit] * int(count) for unit, count in match.groupdict().items() if count is not None)


def parse_ratio(text: str, *, bare_percent: bool = False) -> float:
    """A ratio 0..1 from `70%` or `0.7`. A bare number above 1 is refused, unless `bare_percent` (command line).

    Raises:
        ValueError: neither of these, or outside 0..100 %.
    """
    percent = text.endswith("%") or bare_percent
    digits = text.removesuffix("%").rstrip()
    if _NUMBER.fullmatch(digits) is None:
        raise ValueError(f"{text!r} is no ratio; write 70% or 0.7")
    number = float(digits)
    if not percent and number > 1:
        raise ValueError(f"{text} as a ratio is above 1; write {text}% if percent is meant")
    if percent and number > 100:  # noqa: PLR2004 -- per cent
        raise ValueError(f"{text} is above 100%")
    return number / 100 if percent else number


def parse_size(text: str) -> int:
    """Bytes from `2GiB`, `1.5GB`, `512 MiB`, `0`. Powers of 1024 have an i.

    Raises:
        ValueError: no number, an unknown unit, or none.
    """
    if text == "0":
        return 0
    digits = _NUMBER.match(text)
    unit = text[digits.end() :].strip() if digits else ""
    if digits is None or unit not in _SIZES:
        raise ValueError(f"{text!r} is no size; write it as in 512MiB, 2GiB, 1.5GB")
    return round(float(digits.group()) * _SIZES[unit])


def duration_text(seconds: float) -> str:
    """What `parse_duration` reads back, to the millisecond."""
    rest = round(seconds * 1000)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, round(_SECONDS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def ratio_text(ratio: float) -> str:
    """What `parse_ratio` reads back."""
    return f"{round(ratio * 100, 6):g}%"


def size_text(count: int) -> str:
    """What `parse_size` reads back, in the largest unit that gives a whole number (1024 or 1000 based)."""
    if count == 0:
        return "0"
    whole = [(factor, unit) for unit, factor in _SIZES.items() if count % factor == 0]
    factor, unit = max(whole)
    return f"{math.floor(count / factor)}{unit}"
