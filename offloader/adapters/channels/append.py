"""Appends a message to a file as the account that runs this: a program of its own, started by channels/file.py.

Standard library only: it is given to the node's Python as its argument. One JSON document on stdin: `text`; `log`, the
job's output file or null; `home`. Exit 0: written beside the log or below home; 1: nowhere.
"""

import json
import os
import stat
import sys
from pathlib import Path

_LARGEST = 1 << 20
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def main() -> int:
    """Beside the log where that is a file of this account, else in its state directory."""
    asked = json.load(sys.stdin)
    text = asked["text"].encode("utf-8", "backslashreplace")
    log = asked["log"]
    if log and _own_file(Path(log)) and append(Path(log + ".grid-offloader"), text):
        return 0
    folder = Path(asked["home"], ".local", "state", "grid-offloader")
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
    except OSError:
        return 1
    return 0 if append(folder / "messages.log", text) else 1


def append(path: Path, text: bytes) -> bool:
    """Write to a regular file of this account, made if need be; never through a link, never beyond a mebibyte."""
    try:
        target = os.open(path, _FLAGS, 0o600)
    except OSError:
        return False
    try:
        seen = os.fstat(target)
        good = stat.S_ISREG(seen.st_mode) and seen.st_uid == os.geteuid() and seen.st_nlink == 1
        return good and seen.st_size < _LARGEST and os.write(target, text) == len(text)
    except OSError:
        return False
    finally:
        os.close(target)


def _own_file(path: Path) -> bool:
    try:
        seen = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(seen.st_mode) and seen.st_uid == os.geteuid()


if __name__ == "__main__":
    sys.exit(main())
