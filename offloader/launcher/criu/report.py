"""`criu [PATH]`: whether this node can take part in a live move, with all that its peer has to agree with."""

from __future__ import annotations

import os
import subprocess

from .. import proc
from ..errors import LauncherError
from ..obstacle import obstacle
from ..wire import Document
from .probe import round_trip
from .program import find, version

__all__ = ["main", "report"]

_FEATURES = {"pre_dump": "mem_dirty_track", "lazy_pages": "uffd-noncoop"}
"""What speeds a live move up where the kernel has it, by criu's own names for it (criu check --feature)."""
_LIMIT_S = 10.0
_CAP_SYS_RESOURCE = 24
_GET_IT = (
    "install CRIU 4.2 or newer, or name it in the configuration (Debian: `apt-get install criu`; where that one is too "
    "old for the kernel, deploy/criu of the sources unpacks a newer one)"
)


def report(given: str = "") -> Document:
    """`usable`, and if not `obstacle`; the node's kernel and processor are told in any case.

    `any_account`: whether it can take other accounts' processes than root's.
    """
    found: Document = {
        "usable": False,
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "cpu_flags": flags(),
    }
    try:
        found["path"] = find(given)
        found["version"] = version(found["path"])
        _demand_root()
        found["any_account"] = _may_read_limits()
        found["round_trip_s"] = round(round_trip(found["path"]), 3)
        found["features"] = {name: _has(found["path"], feature) for name, feature in _FEATURES.items()}
        found["usable"] = True
    except LauncherError as error:
        remedy = "run the launcher as root on this node" if error.code == "UNREADABLE" else _GET_IT
        found["obstacle"] = obstacle("NO_CRIU", error.detail, remedy)
    return found


def flags() -> list[str]:
    """What the first processor can do, by the kernel's names (proc_cpuinfo(5): flags, on ARM Features)."""
    for line in proc.read_bytes("/proc/cpuinfo").decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return sorted(value.split())
    return []


def _demand_root() -> None:
    # CAP_CHECKPOINT_RESTORE alone lets criu dump some processes of one's own, and restore fewer: not relied on.
    if os.geteuid() != 0:
        raise LauncherError("UNREADABLE", "criu needs root, and the launcher runs as an ordinary account")


def _may_read_limits() -> bool:
    """Whether criu may read and raise limits of other accounts' processes (prlimit(2)): in a container it may not."""
    return bool(int(proc.status(os.getpid())["CapEff"], 16) >> _CAP_SYS_RESOURCE & 1)


def _has(criu: str, feature: str) -> bool:
    try:
        done = subprocess.run([criu, "check", "--feature", feature], capture_output=True, timeout=_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def main(arguments: list[str]) -> Document:
    """The verb."""
    if len(arguments) > 1:
        raise LauncherError("USAGE", "criu [PATH]")
    return report(*arguments)
