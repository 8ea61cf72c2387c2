"""The witness: records which copies of which load execute, where and when. It runs outside every node.

Loads send datagrams to a socket in the file system, which network partitions do not touch. The kernel supplies each
datagram's time of arrival (SO_TIMESTAMPNS, socket(7)) and its sender's process id as the machine numbers it
(SO_PASSCRED, unix(7)), so a slow witness or a lying load changes neither. The log gets one JSON object per line.

Usage: witness.py DIRECTORY (creates `socket` and `log.jsonl` in it; ends on TERM).
"""

import json
import socket
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

SO_TIMESTAMPNS = 35  # include/uapi/asm-generic/socket.h; SCM_TIMESTAMPNS is the same number
MAX_DATAGRAM = 4096
FIELDS = ("load", "node", "start_id", "pid", "seq", "leader", "mono")
ALSO = ("saved",)  # of a load that saves its state: the `seq` that it saved last


def parse(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> dict[str, Any] | None:
    """One datagram as a record; None when it is none of ours."""
    record: dict[str, Any] = {}
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("=qq", value)
            record["t"] = seconds + nanoseconds / 1e9
        elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            record["host_pid"], record["uid"], _ = struct.unpack("=iii", value)
    with suppress(ValueError, TypeError, KeyError):
        message: Mapping[str, Any] = json.loads(data)
        also = {field: message[field] for field in ALSO if field in message}
        return record | {field: message[field] for field in FIELDS} | also
    return None


def main() -> None:
    """Record until killed."""
    directory = Path(sys.argv[1])
    path = directory / "socket"
    path.unlink(missing_ok=True)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
        (directory / "log.jsonl").open("a", encoding="utf-8", buffering=1) as log,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.bind(str(path))
        path.chmod(0o666)
        print("ready", flush=True)
        space = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(12)
        while True:
            data, ancillary, _, _ = receiver.recvmsg(MAX_DATAGRAM, space)
            if (record := parse(data, ancillary)) is not None:
                log.write(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
