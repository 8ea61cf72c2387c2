"""Working directories that follow their job: the verbs on both nodes (docs/protocol.md, Staging).

| verb | |
| --- | --- |
| `weigh` | what would be copied, without copying it |
| `lodge DIR`, `unlodge DIR` | room for the copy, made and taken away |
| `stage`, `staged` | the two ends of a pass: what is sent, what is received |
| `manifest DIR` | what the tree is right after a pass, kept |
| `merge DIR` | results that came back take their places |

Each reads a request first; whatever touches the tree does so as the job's owner.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from . import lodging, manifest, owner, relay, rsync
from .as_owner import answered
from .errors import LauncherError
from .frames import LIMIT_BYTES, Frames
from .merge import merge
from .obstacle import shown
from .tree import leads_out, look
from .wire import Document, decode, pack_bytes, unpack_bytes

__all__ = ["main_lodge", "main_manifest", "main_merge", "main_stage", "main_staged", "main_unlodge", "main_weigh"]

_MANIFEST = "manifest"
_TASK = re.compile(r"[0-9A-Za-z_-]{1,64}\.[0-9]{1,9}")
_LISTED = 20
_WORDS = 5


def main_weigh(arguments: list[str]) -> Document:
    """The verb `weigh`: rsync's version, how many files and bytes, the largest file, what would be left behind."""
    asked = _Request(_stdin(arguments, 0, "weigh < request"))
    version = rsync.installed()
    return {"rsync": version, **answered(asked.owner, lambda: _weighed(asked))}


def _weighed(asked: _Request) -> Document:
    asked.enter()
    scale = _Scale(asked.limits)
    tree = look(asked.filters, scale.full)
    links = [item.path for item in tree.items if item.kind == "link" and _leads_out(asked.root, item.path)]
    return {
        "files": scale.files,
        "bytes": scale.bytes,
        "largest": {"path": pack_bytes(scale.largest.path), "bytes": scale.largest.size} if scale.largest else None,
        "complete": tree.complete,
        "left_behind": [pack_bytes(path) for path in tree.skipped[:_LISTED]],
        "lead_out": [pack_bytes(path) for path in links[:_LISTED]],
        "words": _words(tree.words),
    }


def _leads_out(root: bytes, path: bytes) -> bool:
    try:
        return leads_out(root, path, os.readlink(path))
    except OSError:  # it is no link any more
        return False


class _Scale:
    """Adds up, until a limit is passed."""

    def __init__(self, limits: Document) -> None:
        self._limits = limits
        self.files = 0
        self.bytes = 0
        self.largest: rsync.Item | None = None

    def full(self, item: rsync.Item) -> bool:
        self.files += 1
        if item.kind != "directory":
            self.bytes += item.size
            if self.largest is None or item.size > self.largest.size:
                self.largest = item
        return (
            self.files > self._limits["files"]
            or self.bytes > self._limits["bytes"]
            or (self.largest is not None and self.largest.size > self._limits["file_bytes"])
        )


def main_lodge(arguments: list[str]) -> Document:
    """The verb `lodge DIR`."""
    request = _stdin(arguments, 1, "lodge DIR < request")
    asked = _Request(request)
    room = _room(request)
    epoch, rehearse = int(request.get("epoch", 0)), request.get("rehearse") is True
    return lodging.lodge(Path(arguments[0]), asked.owner, asked.root, epoch, room, rehearse=rehearse)


def main_unlodge(arguments: list[str]) -> Document:
    """The verb `unlodge DIR`: the copy if there is one, and what is remembered of the tree."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "unlodge DIR")
    return lodging.remove(Path(arguments[0]))


def main_manifest(arguments: list[str]) -> Document:
    """The verb `manifest DIR`: how many entries were written down."""
    asked = _Request(_stdin(arguments, 1, "manifest DIR < request"))
    directory = Path(arguments[0])
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with manifest.replacing(directory / _MANIFEST) as descriptor:
        return answered(asked.owner, lambda: _written_down(asked, descriptor))


def _written_down(asked: _Request, descriptor: int) -> Document:
    asked.enter()
    found = manifest.taken(item.path for item in look(asked.filters).items)
    manifest.dump(descriptor, found)
    return {"entries": len(found)}


def main_merge(arguments: list[str]) -> Document:
    """The verb `merge DIR`: how many results landed, and which of them beside what had changed here."""
    request = _stdin(arguments, 1, "merge DIR < request")
    asked = _Request(request)
    before = _manifest_in(Path(arguments[0]))
    gone = tuple(unpack_bytes(path) for path in request.get("gone", ()))
    suffix = os.fsencode(f".from-{request['node']}-{request['epoch']}")

    def merged() -> Document:
        asked.enter()
        return merge(os.fsencode(asked.scratch), before, suffix, gone)

    return answered(asked.owner, merged)


def _manifest_in(directory: Path) -> dict[bytes, manifest.Entry]:
    """Without it nobody could tell what changed."""
    found = manifest.read(directory / _MANIFEST)
    if found is None:
        raise LauncherError("NO_MANIFEST", f"nothing is remembered of a copy in {directory}")
    return found


def main_stage(arguments: list[str]) -> int:
    """The verb `stage [DIR]`: sends the whole tree; with DIR, what has changed since the manifest there was taken."""
    return _framed(lambda frames: _sent(frames, [Path(argument) for argument in arguments]))


def _sent(frames: Frames, directories: list[Path]) -> Document:
    asked = _Request(frames.document())
    before = _manifest_in(directories[0]) if directories else None
    asked.become()
    if before is None:
        passed = relay.sending(frames, lambda shell: rsync.sending(asked.filters, shell, names=False))
        return _report(passed)
    now = manifest.taken(item.path for item in look(asked.filters).items)
    found = manifest.changes(before, now)
    header: Document = {
        "files": len(found.changed),
        "bytes": sum(now[path].size for path in found.changed),
        "gone": [pack_bytes(path) for path in found.gone] if asked.wants_gone else [],
    }
    if not found.changed:
        frames.say({**header, "argv": None})
        return {"files": 0, "bytes": 0, "words": []}
    names = b"\0".join(found.changed)
    passed = relay.sending(
        frames, lambda shell: rsync.sending((), shell, names=True, scratch=f"{asked.scratch}/"), names, **header
    )
    return _report(passed)


def main_staged(arguments: list[str]) -> int:
    """The verb `staged [DIR]`: receives into the copy that DIR remembers; without it, results into their scratch."""
    return _framed(lambda frames: _received(frames, [Path(argument) for argument in arguments]))


def _received(frames: Frames, directories: list[Path]) -> Document:
    request = frames.document()
    asked = _Request(request)
    argv = rsync.checked_server([str(word) for word in request["argv"]], "" if directories else f"{asked.scratch}/")
    if directories and not lodging.is_lodged(directories[0], asked.root):
        raise LauncherError("NOT_STAGED", "what is there is not the copy that was made room for")
    asked.become()
    short = lodging.short_of_room(b".", _room(request))
    if short is not None:
        raise LauncherError("NO_ROOM", short)
    return _report(relay.receiving(frames, argv))


def _report(passed: relay.Passed) -> Document:
    """Of a pass that came to its end. Raises LauncherError (NOT_STAGED): it did not."""
    if passed.status not in rsync.TOLERATED:
        raise LauncherError("NOT_STAGED", rsync.what_failed(passed.status, passed.errors))
    sent = [item for item in rsync.items(passed.output.splitlines()) if item.kind == "file"]
    return {"files": len(sent), "bytes": sum(item.size for item in sent), "words": _words(passed.errors)}


def _framed(work: Callable[[Frames], Document]) -> int:
    """Whatever becomes of it is said in a frame, since stdout carries frames."""
    frames = Frames()
    try:
        frames.say(work(frames))
    except LauncherError as error:
        frames.say({"error": error.code, "detail": error.detail})
        return 1
    except OSError as error:
        with contextlib.suppress(OSError):  # it may be that nobody listens any more
            frames.say({"error": "OS_ERROR", "detail": str(error)})
        return 1
    return 0


def _words(errors: bytes) -> list[str]:
    """The first of what rsync complained about."""
    lines = errors.decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("rsync error:")][:_WORDS]


def _room(request: Document) -> lodging.Room:
    try:
        return lodging.Room(int(request["bytes"]), int(request["files"]), int(request["reserve_bytes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise LauncherError("BAD_MESSAGE", f"room: {error!r}") from error


class _Request:
    """What every verb is told: whose tree, where, and by which rules."""

    def __init__(self, document: Document) -> None:
        """Raises LauncherError: BAD_MESSAGE."""
        try:
            self.owner = owner.account(document["owner"])
            self.root = unpack_bytes(document["root"])
            self.filters = [str(rule) for rule in document.get("filters", ())]
            self.limits: Document = {name: int(limit) for name, limit in document.get("limits", {}).items()}
            self.wants_gone = document.get("gone") is True
            task = str(document.get("task", ""))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LauncherError("BAD_MESSAGE", f"request: {error!r}") from error
        if not self.root.startswith(b"/") or b"\0" in self.root or os.path.normpath(self.root) != self.root:
            raise LauncherError("BAD_MESSAGE", "root: an absolute path")
        if not all(rule.startswith(("- ", "+ ")) for rule in self.filters):
            raise LauncherError("BAD_MESSAGE", "filters: `- PATTERN` or `+ PATTERN`")
        if _TASK.fullmatch(task) is None:
            raise LauncherError("BAD_MESSAGE", "task: JOB.EPOCH")
        self.scratch = rsync.RESULTS.decode() + task

    def become(self) -> None:
        """The owner, for good, in the tree's root. Raises LauncherError, OSError."""
        wrong = owner.mismatch(self.owner)
        if wrong is not None:
            raise LauncherError("IDENTITY_MISMATCH", wrong)
        owner.become(self.owner)
        self.enter()

    def enter(self) -> None:
        """Raises LauncherError (NO_DIRECTORY)."""
        try:
            os.chdir(self.root)
        except OSError as error:
            raise LauncherError("NO_DIRECTORY", f"{shown(self.root)}: {error.strerror}") from error


def _stdin(arguments: list[str], count: int, usage: str) -> Document:
    if len(arguments) != count:
        raise LauncherError("USAGE", usage)
    return decode(sys.stdin.buffer.read(LIMIT_BYTES))
