"""Stopping a whole job at once, by three ways of one shape: v1 freezer, v2 freezer, SIGSTOP.

The cgroup ways are invisible to the job's parent and terminal. A child cgroup is made below each cgroup that members
are in, so limits and accounting stay, and it is frozen before anybody enters it: what its members fork is born frozen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from . import cgroups, proc
from .errors import LauncherError
from .members import Members
from .pidfds import Held
from .stopping import StopFreezer, pause_before
from .wire import Document

__all__ = ["CgroupFreezer", "Freezer", "candidates", "remembered"]


class Freezer(Protocol):
    """One way to stop a job. Members are handles: no way can touch a process that does not belong."""

    how: str

    def freeze(self, members: Members, deadline: float, wrote: Callable[[], None]) -> list[int]:
        """Stop all members and what they fork; returns their pids. `wrote` journals what `memory` says now.

        Raises LauncherError (FREEZE_FAILED, or what `wrote` raises) with nothing left frozen, OSError when the way is
        closed to us.
        """

    def pids(self, members: Members) -> list[int]:
        """Who is stopped now, newly forked ones included."""

    def intact(self, members: Members) -> bool:
        """Whether every member that lives is stopped."""

    def thaw(self, members: Members) -> None:
        """Let all of them run on, put them back where they were. Needs no disk. Raises LauncherError (THAW_FAILED)."""

    def memory(self) -> Document:
        """What a later guard needs to thaw them."""


class CgroupFreezer:
    """v1 and v2: the same moves, another switch."""

    def __init__(self, hierarchy: cgroups.Hierarchy, name: str, directories: list[Path] | None = None) -> None:
        self.how = hierarchy.how
        self._hierarchy = hierarchy
        self._name = name
        self._directories = directories if directories is not None else []

    def freeze(self, members: Members, deadline: float, wrote: Callable[[], None]) -> list[int]:
        """See Freezer."""
        try:
            for directory in filter(Path.is_dir, self._directories):
                self._hierarchy.switch(directory, frozen=True)
            self._gather(members, deadline, wrote)
            while not all(self._hierarchy.is_frozen(directory) for directory in self._directories):
                pause_before(deadline)
            members.include(self.pids(members))
        except BaseException:
            self.thaw(members)
            raise
        return self.pids(members)

    def _gather(self, members: Members, deadline: float, wrote: Callable[[], None]) -> None:
        """Until a scan finds nobody outside."""
        while True:
            outside = [held for held in members.alive() if self._is_outside(held)]
            for held in outside:
                self._take(held, wrote)
            if not outside and not members.scan():
                return
            pause_before(deadline)

    def _is_outside(self, held: Held) -> bool:
        try:
            directory = self._hierarchy.of(held.pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return directory not in self._directories

    def _take(self, held: Held, wrote: Callable[[], None]) -> None:
        try:
            origin = self._hierarchy.of(held.pid)
        except (FileNotFoundError, ProcessLookupError):
            return
        if origin is None:
            raise PermissionError(f"the cgroup of process {held.pid} is out of reach")
        directory = origin / self._name
        if directory not in self._directories:
            self._directories.append(directory)
            wrote()  # before it exists: whoever comes after us finds it
        if not directory.is_dir():
            directory.mkdir()
            self._hierarchy.switch(directory, frozen=True)
        self._hierarchy.move(held.pid, directory)
        if not held.alive and proc.read_stat(held.pid) is not None:
            # It ended in between and its pid went to a stranger, or to its own zombie, which does not mind.
            self._hierarchy.move(held.pid, origin)

    def pids(self, members: Members) -> list[int]:  # noqa: ARG002 (the shape of Freezer)
        """See Freezer."""
        return sorted(pid for directory in self._directories for pid in self._hierarchy.pids(directory))

    def intact(self, members: Members) -> bool:
        """See Freezer."""
        inside = set(self.pids(members))
        present = [directory for directory in self._directories if directory.is_dir()]
        return {held.pid for held in members.alive()} <= inside and all(map(self._hierarchy.is_frozen, present))

    def thaw(self, members: Members) -> None:  # noqa: ARG002 (the shape of Freezer)
        """All switches first, then the moves back: everybody runs again at once."""
        for directory in self._directories:
            try:
                self._hierarchy.switch(directory, frozen=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise LauncherError("THAW_FAILED", f"{directory}: {error.strerror}") from error
        for directory in self._directories:
            try:
                self._hierarchy.dissolve(directory)
            except OSError as error:
                sys.stderr.write(f"{directory} stays, thawed: {error.strerror}\n")
        self._directories.clear()

    def memory(self) -> Document:
        """See Freezer."""
        return {
            "how": self.how,
            "mount": self._hierarchy.mount,
            "top": self._hierarchy.top,
            "name": self._name,
            "directories": [str(directory) for directory in self._directories],
        }


def candidates(name: str, ways: list[str]) -> list[Freezer]:
    """Every way that this system offers, best first; `ways` names the wanted ones."""
    found: list[Freezer] = [CgroupFreezer(hierarchy, name) for hierarchy in cgroups.find()]
    found.append(StopFreezer())
    return [freezer for freezer in found if freezer.how in ways]


def remembered(memory: Document) -> Freezer:
    """The freezer that a former guard used."""
    if memory["how"] == "stop":
        return StopFreezer()
    hierarchy = cgroups.Hierarchy(memory["how"], memory["mount"], memory["top"])
    return CgroupFreezer(hierarchy, memory["name"], [Path(directory) for directory in memory["directories"]])
