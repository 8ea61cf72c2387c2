"""What people and programs get to see: tables, JSON, errors. Plain text; colour only on a terminal.

Names of processes come from other users: control bytes never reach the terminal.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import click

from offloader.errors import OffloaderError, Refused

__all__ = [
    "Column",
    "clean",
    "cores",
    "percent",
    "say",
    "seconds",
    "show_error",
    "show_hanging",
    "show_json",
    "show_pairs",
    "show_table",
    "size",
    "style",
]

_GAP = "  "
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_NARROWEST = 12
_UNDECODED = range(0xDC80, 0xDD00)  # surrogates that stand for bytes (PEP 383)


class Column(NamedTuple):
    """A column. On a narrow terminal `spare` ones are left out and `flex` ones shortened, last ones first."""

    title: str
    right: bool = False
    flex: bool = False
    spare: bool = False


def show_json(document: Any) -> None:
    """One document for programs: never wrapped to a width, always plain ASCII."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))


def show_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    indent: str = "",
    colours: Mapping[str, str] | None = None,
) -> None:
    """A table with aligned columns. On a terminal it fits the width; into a pipe nothing is ever shortened.

    `colours` gives words that are coloured where they fill a whole cell.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(len(text) for text in (column.title, *(row[i] for row in cells))) for i, column in enumerate(columns)]
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - len(indent)
        kept = _kept(columns, widths, room)
        columns = [columns[i] for i in kept]
        cells = [[row[i] for i in kept] for row in cells]
        widths = _fitted(columns, [widths[i] for i in kept], room)
    click.echo(style(indent + _line([column.title for column in columns], columns, widths, {}), dim=True))
    for row in cells:
        click.echo(indent + _line(row, columns, widths, colours or {}))


def show_pairs(pairs: Iterable[tuple[str, str]], *, indent: str = "") -> None:
    """Names and values, values aligned; on a terminal long ones go on below their beginning."""
    listed = list(pairs)
    width = max(len(name) for name, _ in listed)
    for name, value in listed:
        first, *more = _wrapped(value, len(indent) + width + len(_GAP))
        click.echo(f"{indent}{style(name.ljust(width), dim=True)}{_GAP}{first}".rstrip())
        for line in more:
            click.echo(f"{indent}{' ' * width}{_GAP}{line}")


def show_hanging(lead: str, text: str, *, used: int, **styles: Any) -> None:
    """Text after a lead of `used` visible characters; on a terminal long text goes on below its beginning."""
    first, *more = _wrapped(text, used)
    click.echo(f"{lead}{style(first, **styles)}".rstrip())
    for line in more:
        click.echo(f"{' ' * used}{style(line, **styles)}")


def show_error(error: OffloaderError) -> None:
    """What happened and what to do, on stderr."""
    first, *rest = str(error).splitlines() or [""]
    reason = f" [{error.reason}]" if isinstance(error, Refused) else ""
    say(style("error: ", fg="red", bold=True, err=True) + clean(first) + reason)
    for line in rest:
        say(f"  {clean(line)}")
    for obstacle in error.obstacles if isinstance(error, Refused) else ():
        if obstacle.seen and obstacle.seen not in str(error):
            say(f"  {obstacle.reason}: {clean(obstacle.seen)}")
        if obstacle.remedy:
            say(f"  {clean(obstacle.remedy)}")


def say(message: str) -> None:
    """A message to the person, beside the data."""
    click.echo(message, err=True)


def style(text: str, *, err: bool = False, **styles: Any) -> str:
    """Colour and weight, on a terminal that wants them (https://no-color.org)."""
    stream = sys.stderr if err else sys.stdout
    wanted = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return click.style(text, **styles) if wanted else text


def clean(text: str) -> str:
    r"""Without anything that a terminal would obey; bytes that were no text come out as `\\xNN`."""
    return text if text.isprintable() else "".join(map(_harmless, text))


def percent(ratio: float | None) -> str:
    """`93 %`; nothing known is `-`."""
    return "-" if ratio is None else f"{ratio * 100:.0f} %"


def seconds(value: float | None) -> str:
    """`2.1 s`, `31 s`, `4 min`, `3 h 12 min`, `5 d`."""
    if value is None:
        return "-"
    if value < 10:  # noqa: PLR2004 - below ten seconds a tenth matters
        return f"{max(0.0, value):.1f} s"
    if value < 2 * _MINUTE:
        return f"{value:.0f} s"
    if value < _HOUR:
        return f"{value / _MINUTE:.0f} min"
    if value < _DAY:
        return f"{int(value // _HOUR)} h {int(value % _HOUR // _MINUTE):02} min"
    return f"{value / _DAY:.0f} d"


def size(value: float | None) -> str:
    """Bytes, in powers of ten as people buy memory: `5.1 GB`."""
    if value is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":  # noqa: PLR2004 - SI prefixes
            return f"{value:.0f} {unit}" if unit in ("B", "kB", "MB") else f"{value:.1f} {unit}"
        value /= 1000
    return "-"


def cores(value: float | None) -> str:
    """`2.5`."""
    return "-" if value is None else f"{value:.1f}"


def _wrapped(value: str, used: int) -> list[str]:
    """Lines that fit; text with colour in it is short and stays as it is."""
    if not sys.stdout.isatty() or not value or "\x1b" in value:
        return [value]
    room = max(_NARROWEST, shutil.get_terminal_size().columns - used)
    return textwrap.wrap(value, room, break_on_hyphens=False) or [value]


def _harmless(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code & 0xFF:02x}" if code in _UNDECODED else character.encode("unicode_escape").decode()


def _line(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int], colours: Mapping[str, str]) -> str:
    cells = []
    for cell, column, width in zip(row, columns, widths, strict=True):
        cut = _cut(cell, width)
        padded = cut.rjust(width) if column.right else cut.ljust(width)
        cells.append(padded.replace(cut, style(cut, fg=colours[cell])) if cell in colours else padded)
    return _GAP.join(cells).rstrip()


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: max(0, width - 3)] + "..."


def _kept(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """Positions of the columns that there is room for."""
    least = [min(width, _NARROWEST) if column.flex else width for column, width in zip(columns, widths, strict=True)]
    kept = list(range(len(columns)))
    for i in reversed(range(len(columns))):
        if columns[i].spare and sum(least[k] for k in kept) + len(_GAP) * (len(kept) - 1) > room:
            kept.remove(i)
    return kept


def _fitted(columns: Sequence[Column], widths: list[int], room: int) -> list[int]:
    widths = list(widths)
    for i in reversed([i for i, column in enumerate(columns) if column.flex]):
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - room
        if excess > 0:
            widths[i] = max(min(widths[i], _NARROWEST), widths[i] - excess)
    return widths
