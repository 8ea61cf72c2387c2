"""File locks: `lock:` lines of /proc/PID/fdinfo/FD, and who waits according to /proc/locks (man 5 proc_locks). Pure.

/proc/locks alone does not tell who holds a lock: an OFD lock has pid -1, and a flock(2) that was taken by a program
which then ended (`flock -n 9`) goes on in whoever inherited the descriptor, under a dead pid or, seen from a pid
namespace, not at all. A descriptor's own lines do tell.
"""

import re

_HELD = re.compile(rb"^lock:\s+\d+:\s+(FLOCK|POSIX|OFDLCK)\s", re.MULTILINE)
_WAITS = re.compile(rb"^\d+:\s+->\s+(?:FLOCK|POSIX|OFDLCK)\s+\S+\s+\S+\s+(-?\d{1,10})\s+\S+:(\d{1,20})\s", re.MULTILINE)


def parse_held(raw: bytes) -> frozenset[str]:
    """The kinds of lock that one open file carries: `FLOCK`, `POSIX`, `OFDLCK`. Leases are none."""
    return frozenset(kind.decode("ascii") for kind in _HELD.findall(raw))


def parse_waiting(raw: bytes) -> frozenset[tuple[int, int]]:
    """Who waits for a lock: (pid, inode of the file)."""
    return frozenset((int(pid), int(inode)) for pid, inode in _WAITS.findall(raw))
