"""rsync(1) as staging uses it: its command lines, and what it writes. Pure but for `installed`.

The client always sends and works in the tree's root; the server always receives, and is told nothing but `./` (or a
scratch directory below it): no path ever goes through a command line that anybody would have to quote.
"""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .errors import LauncherError

__all__ = [
    "ENVIRONMENT",
    "OLDEST",
    "RESULTS",
    "TOLERATED",
    "Item",
    "checked_server",
    "installed",
    "items",
    "listing",
    "sending",
    "skipped",
    "what_failed",
]

OLDEST = (3, 1, 3)
"""Compares modification times to the nanosecond (`--modify-window=-1`), as a pass over a frozen job needs."""

RESULTS = b".grid-offload-results-"
"""Scratch directories in which results wait to be merged begin so."""

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "HOME": "/"}
"""All of it: messages in English, no aliases from anybody's ~/.popt, no RSYNC_* of the launcher's account."""

TOLERATED = frozenset({0, 23, 24})
"""Exit statuses of a pass that went on to its end: all is there; some files could not be read; some vanished."""

_STALL_S = 60
_KEEPING = "-lptgSH"
"""Symbolic links, modes, times, groups as far as its owner is in them, holes, hard links. Never devices or owners."""
_VERSION = re.compile(rb"rsync +version v?(\d+)\.(\d+)\.(\d+)")
_ESCAPED = re.compile(rb"\\#([0-3][0-7]{2})")
_ITEM = re.compile(rb"=(\S.{10}) (\d+) (.+)", re.DOTALL)
_SKIPPED = re.compile(rb'skipping non-regular file "(.*)"')
_FLAGS = re.compile(r"-[lHgtprRSd]*e\d*\.\d*[A-Za-z]*")
_OPTIONS = re.compile(r"--log-format=\S*|--timeout=\d+|--partial|-@-1|--modify-window=-1|-d|--dirs|--no-r")
_DELETE = re.compile(r"--delete(-during|-delay)?")


class Item(NamedTuple):
    """One line of a listing: what it is (file, link, directory), how large, where below the root."""

    kind: str
    size: int
    path: bytes


def installed() -> str:
    """The version here. Raises LauncherError (NO_EXECUTABLE): none, or one that is too old."""
    program = shutil.which("rsync", path=ENVIRONMENT["PATH"])
    if program is None:
        raise LauncherError("NO_EXECUTABLE", "rsync is not installed")
    done = subprocess.run([program, "--version"], capture_output=True, env=ENVIRONMENT, check=False)
    found = _VERSION.search(done.stdout)
    if found is None:
        raise LauncherError("NO_EXECUTABLE", "rsync does not say its version")
    numbers = tuple(int(part) for part in found.groups())
    version = ".".join(map(str, numbers))
    if numbers < OLDEST:
        raise LauncherError("NO_EXECUTABLE", f"rsync {version} is too old, {'.'.join(map(str, OLDEST))} is needed")
    return version


def listing(filters: Iterable[str]) -> list[str]:
    """Says what of the current directory would be sent, by rsync's own eyes; touches nothing."""
    nowhere = f"./{RESULTS.decode()}none/"
    return ["rsync", "-rn", _KEEPING, *_filters(filters), "--out-format==%i %l %n", "--outbuf=L", "./", nowhere]


def sending(filters: Iterable[str], remote_shell: str, *, names: bool, scratch: str = "") -> list[str]:
    """The client, in the tree's root.

    Args:
        filters: its rules, `- PATTERN` or `+ PATTERN`, the first that matches decides.
        remote_shell: for `-e`.
        names: send what is named on stdin (NUL-terminated), into `scratch`; else the whole tree, and let go there of
            what is not here any more.
        scratch: a directory below the receiver's root.
    """
    common = ["rsync", _KEEPING, "--modify-window=-1", f"--timeout={_STALL_S}", "--out-format==%i %l %n"]
    if names:
        parts = ["-d", "--no-r", "--partial", "--compare-dest=..", "--files-from=-", "--from0"]
    else:
        parts = ["-r", "--delete", *_filters(filters)]
    return [*common, *parts, "-e", remote_shell, "./", f"staged:./{scratch}"]


def _filters(rules: Iterable[str]) -> list[str]:
    return [f"--filter={rule}" for rule in rules]


def checked_server(argv: Sequence[str], scratch: str) -> list[str]:
    """What the client wants executed at the other end: only a receiver, with options of ours.

    `scratch` is where it may write, below its directory: empty for all of it; only there it may delete.

    Raises:
        LauncherError: BAD_MESSAGE: anything else.
    """
    given = list(argv)
    if given[:2] != ["rsync", "--server"] or len(given) < 5 or given[-2] != ".":  # noqa: PLR2004 (its least words)
        raise LauncherError("BAD_MESSAGE", "no rsync server")
    options = given[2:-2]
    if not _FLAGS.fullmatch(options[0]) or given[-1] != f"./{scratch}":
        raise LauncherError("BAD_MESSAGE", f"not for staging: {options[0]} {given[-1]}")
    position = 1
    while position < len(options):
        if options[position : position + 2] == ["--compare-dest", ".."]:
            position += 2
        elif _OPTIONS.fullmatch(options[position]) or (not scratch and _DELETE.fullmatch(options[position])):
            position += 1
        else:
            raise LauncherError("BAD_MESSAGE", f"not for staging: {options[position]}")
    return given


_KINDS = {b"f": "file", b"L": "link", b"d": "directory"}


def items(lines: Iterable[bytes]) -> Iterator[Item]:
    """What a listing or a pass names (rsync(1), `--out-format`); other lines are passed over."""
    for line in lines:
        found = _ITEM.fullmatch(line.rstrip(b"\n"))
        if found is not None and not found[1].startswith(b"*") and found[1][1:2] in _KINDS:
            yield Item(_KINDS[found[1][1:2]], int(found[2]), _unescaped(found[3]).rstrip(b"/") or b".")


def skipped(lines: Iterable[bytes]) -> list[bytes]:
    """Sockets, pipes and devices that it left out."""
    return [_unescaped(found[1]) for line in lines if (found := _SKIPPED.search(line)) is not None]


def _unescaped(name: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), name)


_MEANINGS = {
    10: "the connection was lost",
    11: "nothing more can be written there: is its disk full, or its owner's quota used up?",
    12: "the connection was lost, or the two versions of rsync do not understand each other",
    20: "it was interrupted",
    30: f"nothing came through for {_STALL_S} s",
}

_NO_ROOM = tuple(f"({number})" for number in (errno.ENOSPC, errno.EDQUOT))
"""How a message about that ends (rerr of rsync's log.c: the text, then the number)."""


def what_failed(status: int, words: bytes) -> str:
    """A sentence about an exit status that is not tolerated (rsync(1), EXIT VALUES), with its own last words."""
    lines = [line for line in words.decode("utf-8", "replace").splitlines() if line.strip()]
    said = next((line for line in lines if "rsync error:" not in line), "")
    if status < 0 and said.endswith(_NO_ROOM):
        status = 11  # ended by the loss of its other end before it could say so by its status
    meaning = _MEANINGS.get(status, f"rsync ended with {status}")
    return f"{meaning} ({said})" if said else meaning
