"""The successor's whole tree: nothing leaves it (subreaper), so it can be counted, signalled and killed completely."""

from __future__ import annotations

import os
import select
import signal

from . import proc
from .pidfds import hold

__all__ = ["Tree", "descendants", "kill_tree"]

_PAUSE_MS = 5


def descendants(root: int) -> list[proc.Stat]:
    """Every process below `root` that still executes something, parents before their children."""
    children: dict[int, list[proc.Stat]] = {}
    for stat in proc.all_stats():
        children.setdefault(stat.ppid, []).append(stat)
    found: list[proc.Stat] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(0), [])
        found += [stat for stat in below if not stat.dead]
        queue += [stat.pid for stat in below]
    return found


def kill_tree(root: int) -> int:
    """SIGKILL everything below `root` once; returns how many were met.

    Each is killed the moment it is seen: the walk goes by ascending pid, so in a tree that keeps forking it runs
    along with the newest child instead of behind it.
    """
    known = {root}
    met = 0
    for stat in proc.all_stats():
        if stat.ppid not in known or stat.dead:
            continue
        known.add(stat.pid)
        met += 1
        signal_one(stat, signal.SIGKILL)
    return met + sum(signal_one(stat, signal.SIGKILL) for stat in descendants(root) if stat.pid not in known)


def signal_one(stat: proc.Stat, number: int) -> bool:
    """Signal exactly the process that was seen; False when it is gone."""
    held = hold(stat.pid, stat.start_ticks)
    if held is None:
        return False
    try:
        return held.signal(number)
    finally:
        held.close()


class Tree:
    """The children of this process, all of which belong to the successor."""

    def __init__(self) -> None:
        self.leader: int | None = None
        self.leader_status: int | None = None
        self.empty = True

    def adopt(self, leader: int) -> None:
        """The successor was forked."""
        self.leader = leader
        self.empty = False

    def collect(self) -> None:
        """Reap whoever ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.empty = True
                return
            if pid == 0:
                return
            if pid == self.leader:
                self.leader_status = status

    def signal(self, number: int) -> None:
        """Pass a signal to all of it, parents first."""
        for stat in descendants(os.getpid()):
            signal_one(stat, number)

    def kill(self) -> None:
        """Kill all of it and return when nothing is left, however long a process stuck in the kernel takes."""
        self.collect()
        while not self.empty:
            kill_tree(os.getpid())
            select.select([], [], [], _PAUSE_MS / 1000)
            self.collect()
