"""`members DIR`: the processes of an attempt that runs on this node, as whoever moves it from here has to know them."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from . import proc
from .errors import LauncherError
from .reaper import descendants
from .status import status
from .wire import Document, pack_bytes

__all__ = ["main", "members"]

_KB = 1024


def members(directory: Path) -> list[Document]:
    """Of an attempt that owns its work: the leader first, then everything below its launcher but a cradle's init.

    Raises:
        LauncherError: NO_SUCH_PROCESS: it does not run (here, any more, or with its ownership settled).
    """
    state = status(directory)
    if state["state"] != "owned" or not state["launcher_alive"] or not state["child_alive"]:
        raise LauncherError("NO_SUCH_PROCESS", f"nothing of {directory.name} runs on this node: it is {state['state']}")
    leader = int(state["child"]["pid"])
    found = []
    for stat in descendants(int(state["pid"])):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            one = _member(stat)
            if one is not None:
                found.append(one)
    return sorted(found, key=lambda one: one["pid"] != leader)


def _member(stat: proc.Stat) -> Document | None:
    identity, status_now = proc.identity(stat.pid), proc.status(stat.pid)
    if identity is None or status_now.get("NSpid", "").split()[1:] == ["1"]:
        return None
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return {
        **identity,
        "ppid": stat.ppid,
        "pgrp": stat.pgrp,
        "session": stat.session,
        "state": stat.state,
        "comm": status_now["Name"],
        "argv": [pack_bytes(word) for word in proc.read_bytes(f"/proc/{stat.pid}/cmdline").split(b"\0")[:-1]],
        "age_s": since_boot - stat.start_ticks / os.sysconf("SC_CLK_TCK"),
        "rss_bytes": int(status_now.get("VmRSS", "0 kB").split()[0]) * _KB,
    }


def main(arguments: list[str]) -> Document:
    """The verb."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "members DIR")
    return {"members": members(Path(arguments[0]))}
