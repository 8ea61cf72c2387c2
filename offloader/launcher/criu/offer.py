"""What the target has of a job's estate (estate.py): read there, with root's eyes, as criu will."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from .. import room
from ..errors import LauncherError
from ..fileprint import digest
from ..wire import LIMIT_BYTES, Document, decode, unpack_bytes
from .sockets import bound_ports

__all__ = ["main", "offer"]

_INPUT_LIMIT_BYTES = 10 * LIMIT_BYTES


def offer(estate: Document, directory: str) -> Document:
    """For each path of the estate what is there (None: nothing), which ports are taken, which addresses are its own.

    And how much an image could take: `free_bytes` below the launcher's directory (None: its file system does not say).
    """
    ports = {(one["kind"], one["port"]) for one in estate["sockets"] if "port" in one}
    addresses = sorted({one["address"] for one in estate["sockets"] if "address" in one})
    return {
        "files": {one["path"]: _file(unpack_bytes(one["path"])) for one in estate["files"]},
        "programs": {one["path"]: _program(unpack_bytes(one["path"])) for one in estate["programs"]},
        "directories": {path: os.path.isdir(unpack_bytes(path)) for path in estate["directories"]},
        "parents": {
            one["path"]: os.path.isdir(os.path.dirname(unpack_bytes(one["path"])))
            for one in estate["files"]
            if one["deleted"]
        },
        "addresses": [address for address in addresses if _is_ours(address)],
        "taken_ports": sorted(map(list, ports & bound_ports())) if ports else [],
        "free_bytes": room.free_bytes(os.fsencode(directory)),
    }


def _file(path: bytes) -> Document | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return {"dev": found.st_dev, "inode": found.st_ino, "size": found.st_size}


def _program(path: bytes) -> str | None:
    if not Path(os.fsdecode(path)).is_file():
        return None
    return digest(path)


def _is_ours(address: str) -> bool:
    """Whether something may be bound to it here (bind(2), EADDRNOTAVAIL)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def main(arguments: list[str]) -> Document:
    """The verb: `offer DIR < estate`; below DIR is what the launcher keeps."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "offer DIR < estate")
    data = sys.stdin.buffer.read(_INPUT_LIMIT_BYTES + 1)
    if len(data) > _INPUT_LIMIT_BYTES:
        raise LauncherError("BAD_MESSAGE", f"larger than {_INPUT_LIMIT_BYTES} bytes")
    try:
        return offer(decode(data), arguments[0])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LauncherError("BAD_MESSAGE", f"no estate: {error!r}") from error
