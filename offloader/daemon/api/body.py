"""Request bodies and query strings: checked against a table of fields, all problems reported at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from offloader.errors import UsageError

__all__ = [
    "Field",
    "boolean",
    "environment",
    "flag",
    "number_map",
    "one_of",
    "parse_body",
    "parse_object",
    "parse_query",
    "text",
    "texts",
    "whole",
]

Check = Callable[[Any], Any]
_TEXT_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `check` returns the value to use or raises ValueError with what was expected."""

    check: Check
    required: bool = False
    default: Any = None


def parse_body(raw: bytes, fields: Mapping[str, Field]) -> dict[str, Any]:
    """A JSON object with exactly these fields. Raises UsageError that lists every problem."""
    return _checked(parse_object(raw), fields, "field")


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object with whatever is in it, no key twice. Raises UsageError."""
    try:
        document = json.loads(raw or b"{}", parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is no JSON document: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"the body must be a JSON object, not {_kind(document)}")
    return document


def parse_query(pairs: Iterable[tuple[str, str]], fields: Mapping[str, Field]) -> dict[str, Any]:
    """Query parameters; one that occurs several times becomes a list. Raises UsageError that lists every problem."""
    given: dict[str, Any] = {}
    for key, value in pairs:
        given[key] = [*given[key], value] if key in given else [value]
    single = {key: values[0] if len(values) == 1 else values for key, values in given.items()}
    return _checked(single, fields, "parameter")


def _checked(given: Mapping[str, Any], fields: Mapping[str, Field], what: str) -> dict[str, Any]:
    problems = [f"unknown {what} {key!r} (known: {', '.join(sorted(fields))})" for key in given if key not in fields]
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in given or given[name] is None:
            values[name] = field.default
            if field.required:
                problems.append(f"{what} {name!r} is missing")
            continue
        try:
            values[name] = field.check(given[name])
        except ValueError as error:
            problems.append(f"{what} {name!r} {error}")
    if problems:
        raise UsageError("\n".join(problems))
    return values


def whole(low: int, high: int = 2**63 - 1) -> Check:
    """A whole number within limits; digits in a query string count too."""

    def check(value: Any) -> int:
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:20])
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong("must be a whole number", value)
        if not low <= value <= high:
            raise ValueError(f"must be between {low} and {high}, not {value}")
        return value

    return check


def boolean(value: Any) -> bool:
    """JSON true or false, nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise _wrong("must be true or false", value)
    return value


def flag(value: Any) -> bool:
    """A switch in a query string."""
    if value not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return bool(value == "1")


def text(value: Any) -> str:
    """A short, printable, non-empty string."""
    if not isinstance(value, str):
        raise _wrong("must be a string", value)
    if not value or len(value) > _TEXT_LIMIT or not value.isprintable():
        raise ValueError(f"must be 1 to {_TEXT_LIMIT} printable characters")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """A parameter that may be repeated."""
    return tuple(text(each) for each in (value if isinstance(value, list) else [value]))


def one_of(kind: type[StrEnum]) -> Check:
    """A word of an enumeration."""

    def check(value: Any) -> StrEnum:
        words = [str(word) for word in kind]
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not {value!r:.60}")
        return kind(value)

    return check


def number_map(keys: type[StrEnum], low: float, high: float) -> Check:
    """An object with words of an enumeration as keys and numbers above `low` up to `high`, or null."""

    def check(value: Any) -> dict[StrEnum, float | None]:
        if not isinstance(value, dict) or not value:
            raise _wrong(f"must be an object such as {{{next(iter(keys)).value!r}: 0.8}}", value)
        key_of = one_of(keys)
        return {key_of(key): None if number is None else _number(number, low, high) for key, number in value.items()}

    return check


def environment(value: Any) -> dict[str, str]:
    """Environment variables: names without `=`, nothing with a NUL."""
    if not isinstance(value, dict):
        raise _wrong("must be an object of strings", value)
    for name, content in value.items():
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"has {name!r:.60}, which is no name of a variable")
        if not isinstance(content, str) or "\0" in content:
            raise ValueError(f"has a value for {name!r:.60} that is no string without NUL")
        try:
            os.fsencode(name + content)
        except UnicodeEncodeError:
            raise ValueError(f"has {name!r:.60} with characters that no environment can hold") from None
    return dict(value)


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong("must hold numbers", value)
    if not low < value <= high:  # false for NaN as well
        raise ValueError(f"must hold numbers above {low:g} up to {high:g}, not {value}")
    return float(value)


def _wrong(expected: str, value: Any) -> ValueError:
    return ValueError(f"{expected}, not {_kind(value)}")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        twice = sorted({key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1})
        raise ValueError(f"{', '.join(map(repr, twice))} given twice")
    return document
