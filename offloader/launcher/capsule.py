"""The capsule: everything needed to start a process elsewhere. JSON → checked, typed, immutable.

It comes over an authenticated channel and is still checked field by field: what it says is executed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .errors import LauncherError
from .fileprint import FilePrint, SharedDevices, SharedFile
from .wire import Document, unpack_bytes

__all__ = ["Capsule", "HoldTimings", "Image", "Stream", "directories", "load"]

T = TypeVar("T")
_JOB = re.compile(r"[0-9A-Za-z_-]{1,64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_KINDS = frozenset({"file", "null", "tty", "pipe", "socket", "device", "other", "closed"})


@dataclass(frozen=True)
class Stream:
    """One standard stream as the source had it."""

    kind: str
    flags: int = 0
    path: bytes = b""
    shared: SharedFile | None = None
    deleted: bool = False
    exhausted: bool = False


@dataclass(frozen=True)
class Image:
    """The process part (see capture.py)."""

    argv: tuple[bytes, ...]
    environ: tuple[bytes, ...]
    cwd: bytes
    exe: FilePrint
    files: tuple[tuple[bytes, str | None], ...]
    umask: int
    nice: int
    affinity: tuple[int, ...] | None
    oom_score_adj: int
    rlimits: Mapping[str, tuple[int, int]]
    hup_ignored: bool
    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    stdio: Mapping[int, Stream]
    group_names: Mapping[int, str] = field(default_factory=dict)  # of those groups, as far as they have any


@dataclass(frozen=True)
class HoldTimings:
    """Seconds; a capsule may carry others (tests do)."""

    lease_s: float = 10.0
    question_s: float = 2.0
    unlinked_s: float = 120.0
    grace_s: float = 10.0


@dataclass(frozen=True)
class Capsule:
    """A checked capsule."""

    job: str
    epoch: int
    move: str
    image: Image
    env_add: Mapping[str, str]  # MIGRATED_FROM_PID and so on, and what the user asked for
    redirect_output: bool = False
    outputs_apart: bool = False  # what goes to a log: standard error into one of its own
    pass_env: tuple[str, ...] = ()
    shared: SharedDevices = frozenset()
    staged: tuple[bytes, ...] = ()  # directories of the source that are copied to this node
    timings: HoldTimings = field(default_factory=HoldTimings)
    state_in: tuple[bytes, ...] = ()  # directories that it goes on from, where it does not begin anew
    checkpoint: bytes = b""  # the file from which its command goes on
    criu: str = ""  # its path, where an image of the original is restored instead of running the command again
    terminal: bool = False  # whether what is restored has one, which is kept here for its user

    def carries(self, path: bytes) -> bool:
        """Whether that path of the source is copied along."""
        return any(path == root or path.startswith(root + b"/") for root in self.staged)

    @property
    def task(self) -> str:
        """The attempt's name: its directory, and OFFLOADING_TASK_ID in the environment of all that runs for it."""
        return f"{self.job}.{self.epoch}"


def load(document: Document) -> Capsule:
    """Check a document.

    Raises:
        LauncherError: BAD_CAPSULE, naming the field.
    """
    reader = _Reader(document, "")
    if reader.integer("version") != 1:
        raise _bad("version", "this launcher opens version 1")
    process = _Reader(reader.get("process", dict), "process.")
    timings = _Reader(document.get("timings", {}), "timings.")
    job = reader.get("job", str)
    if not _JOB.fullmatch(job):
        raise _bad("job", "letters, digits, _ and - only")
    passed = tuple(reader.get("pass_env", list, []))
    if not all(isinstance(name, str) and _VARIABLE.fullmatch(name) for name in passed):
        raise _bad("pass_env", "names of environment variables")
    added = reader.get("env_add", dict, {})
    for name, value in added.items():
        if not _VARIABLE.fullmatch(name) or not isinstance(value, str) or "\0" in value:
            raise _bad("env_add", f"{name!r}: names and values of environment variables")
    return Capsule(
        job=job,
        epoch=reader.integer("epoch"),
        move=reader.get("move", str, ""),
        image=_image(process),
        env_add=added,
        redirect_output=reader.get("redirect_output", bool, False),
        outputs_apart=reader.get("outputs_apart", bool, False),
        pass_env=passed,
        shared=reader.convert("shared", reader.get("shared", list, []), _device_pairs),
        staged=reader.convert("staged", reader.get("staged", list, []), _directories),
        timings=HoldTimings(
            **{name: timings.number(name, default) for name, default in HoldTimings().__dict__.items()}
        ),
        state_in=reader.convert("state_in", reader.get("state_in", list, []), directories),
        checkpoint=reader.convert("checkpoint", reader.get("checkpoint", str, ""), unpack_bytes),
        criu=reader.get("criu", str, ""),
        terminal=reader.get("terminal", bool, False),
    )


def _bad(name: str, what: str) -> LauncherError:
    return LauncherError("BAD_CAPSULE", f"{name}: {what}")


class _Reader:
    """Typed access to one JSON object; every complaint names the field."""

    _NONE: Any = object()

    def __init__(self, document: Document, prefix: str) -> None:
        if not isinstance(document, dict):
            raise _bad(prefix.rstrip("."), "an object")
        self._document = document
        self.prefix = prefix

    def get(self, name: str, kind: type[T], default: T = _NONE) -> T:
        value = self._document.get(name, default)
        if value is self._NONE:
            raise _bad(self.prefix + name, "missing")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _bad(self.prefix + name, f"must be of type {kind.__name__}")
        return value

    def optional(self, name: str, kind: type[T]) -> T | None:
        return None if self._document.get(name) is None else self.get(name, kind)

    def integer(self, name: str, default: int = _NONE) -> int:
        return self.get(name, int, default)

    def number(self, name: str, default: float = _NONE) -> float:
        value: Any = self._document.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise _bad(self.prefix + name, "a number of seconds, not negative")
        return float(value)

    def data(self, name: str) -> bytes:
        return self.convert(name, self.get(name, str), unpack_bytes)

    def convert(self, name: str, value: object, how: Callable[[Any], T]) -> T:
        try:
            return how(value)
        except (TypeError, ValueError, KeyError) as error:
            raise _bad(self.prefix + name, str(error) or "malformed") from error

    def path(self, name: str) -> bytes:
        value = self.data(name)
        if not value.startswith(b"/") or b"\0" in value:
            raise _bad(self.prefix + name, "an absolute path")
        return value


def directories(values: list[str]) -> tuple[bytes, ...]:
    """Absolute paths, packed. Raises ValueError, TypeError."""
    found = _strings(values)
    if not all(path.startswith(b"/") for path in found):
        raise ValueError("absolute paths")
    return found


def _strings(values: list[str]) -> tuple[bytes, ...]:
    found = tuple(unpack_bytes(value) for value in values)
    if any(b"\0" in value for value in found):
        raise ValueError("a NUL inside")
    return found


def _directories(values: list[str]) -> tuple[bytes, ...]:
    found = _strings(values)
    if not all(value.startswith(b"/") and value != b"/" for value in found):
        raise ValueError("absolute paths of directories")
    return found


def _image(reader: _Reader) -> Image:
    argv = reader.convert("argv", reader.get("argv", list), _strings)
    if not argv:
        raise _bad("process.argv", "empty")
    exe = _Reader(reader.get("exe", dict), "process.exe.")
    affinity = reader.optional("affinity", list)  # None: not pinned
    stdio = _Reader(reader.get("stdio", dict), "process.stdio.")
    return Image(
        argv=argv,
        environ=reader.convert("environ", reader.get("environ", list), _strings),
        cwd=reader.path("cwd"),
        exe=FilePrint(exe.path("path"), exe.get("digest", str), exe.integer("size", 0)),
        files=tuple(_file(_Reader(entry, "process.files.")) for entry in reader.get("files", list, [])),
        umask=reader.integer("umask") & 0o777,
        nice=reader.integer("nice"),
        affinity=None if affinity is None else reader.convert("affinity", affinity, _integers),
        oom_score_adj=reader.integer("oom_score_adj"),
        rlimits=reader.convert("rlimits", reader.get("rlimits", dict), _pairs),
        hup_ignored=reader.get("hup_ignored", bool),
        user=reader.get("user", str),
        uid=reader.integer("uid"),
        gid=reader.integer("gid"),
        groups=reader.convert("groups", reader.get("groups", list), _integers),
        stdio={one: _stream(_Reader(stdio.get(str(one), dict), f"process.stdio.{one}.")) for one in range(3)},
        group_names=reader.convert("group_names", reader.get("group_names", dict, {}), _names),
    )


def _names(values: dict[str, str]) -> dict[int, str]:
    return {int(number): str(name) for number, name in values.items()}


def _integers(values: list[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _device_pairs(values: list[list[int]]) -> SharedDevices:
    return frozenset((int(there), int(here)) for there, here in values)


def _pairs(values: dict[str, list[int]]) -> dict[str, tuple[int, int]]:
    return {name: (int(soft), int(hard)) for name, (soft, hard) in values.items()}


def _file(reader: _Reader) -> tuple[bytes, str | None]:
    return reader.path("path"), reader.optional("digest", str)  # None: existence only


def _stream(reader: _Reader) -> Stream:
    kind = reader.get("kind", str)
    if kind not in _KINDS:
        raise _bad(reader.prefix + "kind", f"one of {', '.join(sorted(_KINDS))}")
    shared = None
    if kind == "file":
        shared = SharedFile(reader.integer("dev"), reader.integer("inode"), reader.integer("size"))
    return Stream(
        kind=kind,
        flags=reader.integer("flags", 0),
        path=reader.path("path") if kind in {"file", "device"} else b"",
        shared=shared,
        deleted=reader.get("deleted", bool, False),
        exhausted=reader.get("exhausted", bool, False),
    )
