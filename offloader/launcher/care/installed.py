"""Which environments a node uses: `installed.json` in its state directory, a mark in each environment.

An environment without its mark is one whose making was interrupted.
"""

from __future__ import annotations

from pathlib import Path

from ..durable import read_json, write_json
from ..errors import LauncherError
from ..wire import Document

__all__ = ["INSTALLED", "KINDS", "MARK", "complete", "main_revert", "use", "uses"]

INSTALLED = "installed.json"
KINDS = ("app", "ray")
MARK = "grid-offloader.json"


def complete(directory: Path, lock: str) -> bool:
    """Whether the environment holds exactly what that lock asks for."""
    try:
        mark = read_json(directory / MARK)
    except ValueError:
        return False
    return mark is not None and mark.get("lock") == lock and (directory / "bin/python").exists()


def use(state_dir: Path, kind: str, directory: Path, mark: Document, release: str) -> bool:
    """From now on this node's services of that kind run from there; the one before is remembered. Whether it is new.

    `release` names all that is installed together: what `revert` takes back at once.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = uses(state_dir)
    now = {"directory": str(directory), **mark}
    before = _plain(known.get(kind, {}))
    if before == now:
        return False
    known[kind] = {**now, "previous": before or None, "release": release}
    write_json(state_dir / INSTALLED, {**known, "release": release})
    return True


def main_revert(arguments: list[str]) -> Document:
    """`revert STATE_DIR`: from now on services run from what was used before the last release.

    The answer has `changed` (the kinds concerned) and `versions` (of what is used now, by kind). What was used lately
    is the previous one then, so that doing it twice leads back. Raises LauncherError: NOTHING_BEFORE.
    """
    if len(arguments) != 1:
        raise LauncherError("USAGE", "revert STATE_DIR")
    state_dir = Path(arguments[0])
    known = uses(state_dir)
    release = known.get("release")
    kinds = [kind for kind in KINDS if known.get(kind, {}).get("release") == release and known[kind].get("previous")]
    gone = [known[kind]["previous"]["directory"] for kind in kinds if not _there(known[kind]["previous"])]
    if not kinds or gone:
        raise LauncherError("NOTHING_BEFORE", f"{', '.join(gone)} is gone" if gone else "no version before this one")
    for kind in kinds:
        entry = known[kind]
        known[kind] = {**entry["previous"], "previous": _plain(entry), "release": release}
    write_json(state_dir / INSTALLED, known)
    return {"changed": kinds, "versions": {kind: known[kind].get("versions", {}) for kind in kinds}}


def uses(state_dir: Path) -> Document:
    """What the node uses, by kind; nothing where its file is broken."""
    try:
        return read_json(state_dir / INSTALLED) or {}
    except ValueError:
        return {}


def _plain(entry: Document) -> Document:
    return {key: value for key, value in entry.items() if key not in {"previous", "release"}}


def _there(entry: Document) -> bool:
    return (Path(str(entry["directory"])) / "bin/python").exists()
