"""Lack of memory where the originals run: a small control group (v1 memory controller) that hogs fill.

Several of them: the kernel chooses by memory held plus oom_score_adj thousandths of the limit, rounded down, so one hog
that holds all of it counts for more than an original at 1000.

Sources: the kernel's Documentation/admin-guide/cgroup-v1/memory.rst; proc(5), oom_score_adj; mm/oom_kill.c.
"""

import subprocess
import sys
from pathlib import Path

from _testbed import nodes
from _testbed.errors import TestbedError
from _testbed.shell import wait_until

from _faults.rig import Rig

__all__ = ["adopt", "exhaust", "prepare", "tidy"]

LIMIT = 160 << 20
HOG = """
import pathlib, sys, time
(pathlib.Path(sys.argv[1]) / "cgroup.procs").write_text("0")
held = []
while True:
    held.append(bytearray(b"x" * (1 << 20)))
    time.sleep(0.002)
"""
HOGS = 4
KILLED_S = 20


def _directory(rig: Rig) -> Path:
    head = nodes.group(rig.settings, rig.head)
    for directory in head.directories():
        if (directory / "memory.oom_control").exists():
            return directory / "faults-oom"
    raise TestbedError("there is no cgroup v1 memory controller: nothing can run out of memory here")


def prepare(rig: Rig) -> None:
    """Make the small control group."""
    directory = _directory(rig)
    directory.mkdir(exist_ok=True)
    (directory / "memory.limit_in_bytes").write_text(str(LIMIT), encoding="ascii")


def adopt(rig: Rig, pid: int) -> None:
    """Put an original into it, as the first whom the kernel will choose."""
    (_directory(rig) / "cgroup.procs").write_text(str(pid), encoding="ascii")
    Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def exhaust(rig: Rig, pids: list[int]) -> None:
    """Fill it until the kernel has killed every original that is in it; those that ended before are not waited for."""
    directory = _directory(rig)
    present = set(map(int, (directory / "cgroup.procs").read_text(encoding="ascii").split())) & set(pids)
    wanted = _killed(directory) + len(present)
    command = [sys.executable, "-I", "-c", HOG, str(directory)]
    hogs = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(HOGS)]
    try:
        wait_until(lambda: _killed(directory) >= wanted, KILLED_S, "the kernel to kill for lack of memory")
    finally:
        for hog in hogs:
            hog.kill()  # with nobody left to kill it would wait for memory for ever
            hog.wait()


def _killed(directory: Path) -> int:
    """How many processes the kernel has killed in the group for lack of memory."""
    text = (directory / "memory.oom_control").read_text(encoding="ascii")
    return int(dict(line.split() for line in text.splitlines())["oom_kill"])


def tidy(rig: Rig) -> None:
    """Remove it."""

    def gone() -> bool:
        try:
            _directory(rig).rmdir()
        except FileNotFoundError:
            return True
        except OSError:  # EBUSY until the last member is reaped
            return False
        return True

    wait_until(gone, 15, "the small control group to be empty")
