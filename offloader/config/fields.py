"""Types of single values as people write them. Each reads text with a unit and is shown in the same way again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo

from offloader.config.units import duration_text, parse_duration, parse_ratio, parse_size, ratio_text, size_text
from offloader.model import bad_pattern
from offloader.model.signals import signal_name, signal_number

__all__ = [
    "Address",
    "Alias",
    "Argv",
    "Count",
    "Duration",
    "Glob",
    "LabelName",
    "ListenAddress",
    "LocalPath",
    "Name",
    "NodePath",
    "NonEmpty",
    "Pattern",
    "Port",
    "Ratio",
    "SignalNumber",
    "Size",
    "Strict",
    "Url",
]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_ADDRESS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}|[0-9a-fA-F:]{2,39}", re.ASCII)
_ALIAS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}|[0-9a-fA-F:]{2,39}", re.ASCII)


class Strict(BaseModel):
    """Base of everything that people write: frozen, no conversions, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _duration(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a duration as in 30s, 2m, 1h30m, 500ms")  # noqa: TRY004 -- pydantic collects ValueError
    if not isinstance(value, str) and value != 0:
        raise ValueError(f"{value} has no unit; write {value}s if seconds are meant")
    return parse_duration(value) if isinstance(value, str) else 0.0


def _ratio(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a ratio as in 70% or 0.7")  # noqa: TRY004 -- pydantic collects ValueError
    return parse_ratio(value if isinstance(value, str) else format(value, "f").rstrip("0").rstrip(".") or "0")


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("must be a size as in 512MiB, 2GiB, 1.5GB")  # noqa: TRY004 -- pydantic collects ValueError
    if isinstance(value, int) and value != 0:
        raise ValueError(f"{value} has no unit; write {value}B if bytes are meant")
    return parse_size(str(value))


def _signal(value: Any) -> int:
    """By name or number, as in `kill -s`."""
    number = signal_number(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if number is None:
        raise ValueError("must be a signal that a process can handle, as in USR1")
    return number


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError(f"{text!r} is no {what}")
        return text

    return AfterValidator(check)


def _url(text: str) -> str:
    parts = urlsplit(text)
    try:
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number
        good = False
    if not good:
        raise ValueError(f"{text!r} is no http(s) URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password; use a token file")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or fragment")
    return text.rstrip("/")


def _listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    address = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536 or _ADDRESS.fullmatch(address) is None:  # noqa: PLR2004 -- ports
        raise ValueError(f"{text!r} is no HOST:PORT")
    return text


def _local_path(value: Any, info: ValidationInfo) -> Path:
    """`~` is this account's home; relative paths count from the file that names them (context `base`)."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("must be a path")
    base: Path = (info.context or {}).get("base", Path.cwd())
    try:
        expanded = Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{value}: no such user's home") from error
    return Path(os.path.normpath(base / expanded))


def _node_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} must be an absolute path on the node")
    return os.path.normpath(text)


def _glob(text: str) -> str:
    if not text or "/" in text:
        raise ValueError(f"{text!r} must be a pattern for base names, as in train*.py; no slash")
    return text


def _pattern(text: str) -> str:
    wrong = bad_pattern(text)
    if wrong is not None:
        raise ValueError(f"{text!r}: {wrong}")
    return text


def _non_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _shown_as(show: Callable[[Any], str]) -> PlainSerializer:
    return PlainSerializer(show, return_type=str)


Duration = Annotated[float, BeforeValidator(_duration), _shown_as(duration_text)]
Ratio = Annotated[float, BeforeValidator(_ratio), _shown_as(ratio_text)]
SignalNumber = Annotated[int, BeforeValidator(_signal), _shown_as(signal_name)]
Size = Annotated[int, BeforeValidator(_size), _shown_as(size_text)]
Count = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(gt=0, lt=65536)]
NonEmpty = Annotated[str, AfterValidator(_non_empty)]
Name = Annotated[str, _matching(_NAME, "name (letters, digits, . _ -, at most 63)")]
LabelName = Annotated[str, _matching(_LABEL, "label name (letters, digits, _)")]
Address = Annotated[str, _matching(_ADDRESS, "host name or IP address (no port, no URL)")]
Alias = Annotated[str, _matching(_ALIAS, "name or address (no port, no URL)")]
ListenAddress = Annotated[str, AfterValidator(_listen)]
Url = Annotated[str, AfterValidator(_url)]
Glob = Annotated[str, AfterValidator(_glob)]
Pattern = Annotated[str, AfterValidator(_pattern)]
LocalPath = Annotated[Path, BeforeValidator(_local_path), _shown_as(str)]
NodePath = Annotated[str, AfterValidator(_node_path)]
Argv = tuple[NonEmpty, ...]
