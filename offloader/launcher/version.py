"""`version`: which launcher this is, and on which boot of which node it runs."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from pathlib import Path

from . import PROTOCOL, proc
from .errors import LauncherError
from .wire import Document

__all__ = ["main"]

_HASH_LENGTH = 16


def main(arguments: list[str]) -> Document:
    """The verb."""
    if arguments:
        raise LauncherError("USAGE", "version")
    return {
        "launcher": _own_hash(),
        "protocol": PROTOCOL,
        "boot_id": proc.boot_id(),
        "hostname": socket.gethostname(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "uid": os.getuid(),
    }


def _own_hash() -> str:
    """Of the zipapp that runs; "source" when it runs from its sources."""
    archive = Path(sys.argv[0])
    if archive.is_file() and archive.suffix == ".pyz":
        return hashlib.sha256(archive.read_bytes()).hexdigest()[:_HASH_LENGTH]
    return "source"
