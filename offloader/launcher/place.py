"""Capsules on the target: placed once, then either claimed by `hold` or revoked by the controller, never both.

The directory's lock orders the three, and a rename is the claim: a submission that its backend starts after all, long
after it was stopped, finds nothing to open. A capsule is emptied as soon as it was read, or revoked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from .capsule import Capsule, load
from .durable import read_json, sync_directory, write_json
from .errors import LauncherError
from .wire import LIMIT_BYTES, Document, decode

__all__ = ["claim", "newer_epoch", "place", "revoke"]

WAITING, CLAIMED, REVOKED = "capsule.json", "capsule.claimed", "capsule.revoked"
_CAPSULE_LIMIT_BYTES = 8 * LIMIT_BYTES


def place(directory: Path, document: Document) -> None:
    """Make the attempt's directory with its capsule, durably.

    Raises:
        LauncherError: BAD_CAPSULE, EXISTS, OLD_EPOCH.
    """
    capsule = load(document)
    _named_like(directory, capsule)
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    newer = newer_epoch(directory, capsule)
    if newer is not None:
        raise LauncherError("OLD_EPOCH", f"epoch {newer} of the job is here already")
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise LauncherError("EXISTS", f"{directory} was used already: take a new epoch") from None
    with _locked(directory):
        if (directory / REVOKED).exists():
            raise LauncherError("EXISTS", f"{directory} was revoked")
        write_json(directory / WAITING, document)
    sync_directory(directory.parent)


def claim(directory: Path) -> Capsule | None:
    """Take the capsule, once; None when there is none to take. Raises LauncherError (BAD_CAPSULE, OLD_EPOCH)."""
    if not directory.is_dir():
        return None
    with _locked(directory):
        try:
            (directory / WAITING).rename(directory / CLAIMED)
        except FileNotFoundError:
            return None
        sync_directory(directory)
        document = read_json(directory / CLAIMED)
        _empty(directory / CLAIMED)
    capsule = load(document or {})
    _named_like(directory, capsule)
    newer = newer_epoch(directory, capsule)
    if newer is not None:
        raise LauncherError("OLD_EPOCH", f"epoch {newer} of the job is here already")
    return capsule


def revoke(directory: Path) -> bool:
    """Whether the capsule can never be claimed from now on; False when it was claimed before."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(directory):
        if (directory / CLAIMED).exists():
            _empty(directory / CLAIMED)  # whoever claimed it has read it, or died in between
            return False
        try:
            (directory / WAITING).rename(directory / REVOKED)
            _empty(directory / REVOKED)
        except FileNotFoundError:
            (directory / REVOKED).touch(mode=0o600)
        sync_directory(directory)
    sync_directory(directory.parent)
    return True


def newer_epoch(directory: Path, capsule: Capsule) -> int | None:
    """The highest later epoch of the job that this node has seen, if any."""
    prefix = f"{capsule.job}."
    epochs = [
        int(entry.name[len(prefix) :])
        for entry in directory.parent.iterdir()
        if entry.name.startswith(prefix) and entry.name[len(prefix) :].isdigit()
    ]
    return max((epoch for epoch in epochs if epoch > capsule.epoch), default=None)


def _named_like(directory: Path, capsule: Capsule) -> None:
    """Another attempt's capsule, taken along from its own directory, is none."""
    if directory.name != capsule.task:
        raise LauncherError("BAD_CAPSULE", f"its directory must be called {capsule.task}")


def _empty(capsule: Path) -> None:
    """The name says what became of it; the secrets in it must not lie on this disk after they served."""
    os.truncate(capsule, 0)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def main_place(arguments: list[str]) -> Document:
    """The verb `place`."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "place DIR < capsule")
    data = sys.stdin.buffer.read(_CAPSULE_LIMIT_BYTES + 1)
    if len(data) > _CAPSULE_LIMIT_BYTES:
        raise LauncherError("BAD_CAPSULE", f"larger than {_CAPSULE_LIMIT_BYTES} bytes")
    place(Path(arguments[0]), decode(data))
    return {"placed": True}


def main_revoke(arguments: list[str]) -> Document:
    """The verb `revoke`."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "revoke DIR")
    return {"revoked": revoke(Path(arguments[0]))}
