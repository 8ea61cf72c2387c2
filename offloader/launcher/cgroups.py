"""The two freezer hierarchies of Linux: where they are mounted, and what freezing means in each.

Sources: the kernel's admin-guide cgroup-v1/freezer-subsystem and cgroup-v2 (cgroup.freeze, cgroup.events).
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import proc
from .lease import boottime

__all__ = ["Hierarchy", "find", "managed"]

_PAUSE_S = 0.002
_REMOVE_LIMIT_S = 2.0


class Hierarchy(NamedTuple):
    """One mounted hierarchy: `how` is v1 or v2; `top` is the cgroup path at which its mount begins."""

    how: str
    mount: str
    top: str = "/"

    def of(self, pid: int) -> Path | None:
        """The directory of the cgroup that a process is in, None when this mount does not show it."""
        for line in proc.read_bytes(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape").splitlines():
            _, controllers, path = line.split(":", 2)
            mine = controllers == "" if self.how == "v2" else "freezer" in controllers.split(",")
            if mine:
                return self._directory(path)
        return None

    def _directory(self, path: str) -> Path | None:
        if self.top != "/":
            if path != self.top and not path.startswith(self.top + "/"):
                return None
            path = path[len(self.top) :]
        # Outside of our cgroup namespace paths begin with /..: out of reach.
        return None if ".." in path.split("/") else Path(self.mount + path)

    def switch(self, directory: Path, *, frozen: bool) -> None:
        """Order the cgroup to freeze or thaw. Raises OSError."""
        if self.how == "v1":
            _write(directory / "freezer.state", "FROZEN" if frozen else "THAWED")
        else:
            _write(directory / "cgroup.freeze", "1" if frozen else "0")

    def is_frozen(self, directory: Path) -> bool:
        """What the kernel says: every task in it has stopped."""
        if self.how == "v1":
            return (directory / "freezer.state").read_text(encoding="ascii").strip() == "FROZEN"
        return "frozen 1" in (directory / "cgroup.events").read_text(encoding="ascii").splitlines()

    def pids(self, directory: Path) -> list[int]:
        """Who is in it now; nobody when it is gone."""
        try:
            return sorted({int(pid) for pid in (directory / "cgroup.procs").read_text(encoding="ascii").split()})
        except FileNotFoundError:
            return []

    def move(self, pid: int, directory: Path) -> bool:
        """Put a process into a cgroup; False when it is gone. Raises OSError."""
        try:
            _write(directory / "cgroup.procs", str(pid))
        except ProcessLookupError:
            return False
        return True

    def dissolve(self, directory: Path) -> None:
        """Return everybody to the cgroup above and remove this one; tries until the kernel lets go of it.

        Raises OSError when it does not: whoever is in there runs all the same.
        """
        deadline = boottime() + _REMOVE_LIMIT_S
        while True:
            for pid in self.pids(directory):
                self.move(pid, directory.parent)
            try:
                directory.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.EBUSY or boottime() >= deadline:
                    raise
                select.select([], [], [], _PAUSE_S)
            else:
                return


def find() -> list[Hierarchy]:
    """The hierarchies with a freezer that this system mounts, v1 first: there a KILL wakes no frozen process."""
    found: list[Hierarchy] = []
    for kind, options, mount, top in _mounts():
        if kind == "cgroup" and "freezer" in options:
            found.append(Hierarchy("v1", mount, top))
        elif kind == "cgroup2":
            found.append(Hierarchy("v2", mount, top))
    return sorted(found)


def managed() -> list[str]:
    """Where the hierarchies are mounted by which service managers keep track of processes."""
    return [mount for kind, options, mount, _ in _mounts() if kind == "cgroup2" or "name=systemd" in options]


def _mounts() -> Iterator[tuple[str, list[str], str, str]]:
    """Type, options, mount point and root of every cgroup mount (proc_pid_mountinfo(5))."""
    for line in proc.read_bytes("/proc/self/mountinfo").decode("utf-8", "surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        top, mount = left.split()[3:5]
        kind, _, options = right.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            yield kind, options.split(","), mount, top


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
