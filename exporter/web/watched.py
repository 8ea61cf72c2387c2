"""Files that are read again when they have changed."""

import os
from pathlib import Path

_Stamp = tuple[int, int, int, int] | None


class Watched:
    """Reads files, and remembers what they were just before: a change that happens meanwhile is seen later."""

    def __init__(self) -> None:
        self._stamps: dict[Path, _Stamp] = {}

    def read(self, path: Path) -> bytes:
        """The content. Raises OSError, and watches for the file all the same: one that is there counts as changed."""
        stamp = _stamp(path)
        self._stamps[path] = None
        content = path.read_bytes()
        self._stamps[path] = stamp
        return content

    def changed(self) -> bool:
        """Whether any of them was changed, replaced, taken away or has come."""
        return any(_stamp(path) != stamp for path, stamp in self._stamps.items())


def _stamp(path: Path) -> _Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 -- with every request, and half of Path.stat's time
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
