"""`facts`: what a node is like, as far as it matters to running our services there. Changes nothing.

On stdin one document: `state_dir`, `directories` (to be, by what for), `ports` (`[host, port]` to listen on), `shared`
(files that another node has just made), `programs` and `accounts` (that must be there), `criu` (a program, or nothing:
what PATH has).
"""

from __future__ import annotations

import contextlib
import errno
import grp
import importlib.util
import os
import platform
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .. import proc
from ..durable import read_json
from ..wire import LIMIT_BYTES, Document, decode
from .installed import INSTALLED

__all__ = ["main"]

_PROGRAM_S = 10.0
_DEVICES = Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_DRIVER = Path("/proc/driver/nvidia/version")


def main(_arguments: list[str]) -> Document:
    """The verb."""
    asked = decode(sys.stdin.buffer.read(LIMIT_BYTES))
    account = pwd.getpwuid(os.geteuid())
    return {
        "hostname": socket.gethostname(),
        "boot_id": proc.boot_id(),
        "uid": account.pw_uid,
        "user": account.pw_name,
        "home": account.pw_dir,
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": _python(),
        "installed": _installed(Path(str(asked["state_dir"]))),
        "systemd": _systemd(),
        "disk": {name: _directory(str(path)) for name, path in asked.get("directories", {}).items()},
        "programs": {str(path): os.access(str(path), os.X_OK) for path in asked.get("programs", ())},
        "ports": [[host, port, _free(str(host), int(port))] for host, port in asked.get("ports", ())],
        "shared": {str(path): os.path.exists(str(path)) for path in asked.get("shared", ())},
        "criu": _criu(asked.get("criu")),
        "rsync": shutil.which("rsync"),
        "sudo": shutil.which("sudo"),
        "accounts": {str(name): _account(str(name)) for name in asked.get("accounts", ())},
        "nvidia": _nvidia(),
        "t": time.time(),  # last: the answer's journey is what makes clocks hard to compare
    }


def _account(name: str) -> Document | None:
    """Its number, and what its groups are called; None: there is no such account."""
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam(name)
        known = {group.gr_gid: group.gr_name for group in grp.getgrall()}
        groups = os.getgrouplist(name, found.pw_gid)
        return {"uid": found.pw_uid, "groups": sorted(known.get(group, str(group)) for group in groups)}
    return None


def _python() -> Document:
    """Of the interpreter that runs this, which environments are made from."""
    return {
        "version": platform.python_version(),
        "program": sys.executable,
        "venv": importlib.util.find_spec("venv") is not None and importlib.util.find_spec("ensurepip") is not None,
    }


def _installed(state_dir: Path) -> Document:
    """Which environments this node uses, with what their own mark says; a broken one says nothing."""
    with contextlib.suppress(OSError, ValueError):
        return read_json(state_dir / INSTALLED) or {}
    return {}


def _systemd() -> str | None:
    """`system` or `user`: which of its managers takes our services; None: none does."""
    if not Path("/run/systemd/system").is_dir():  # sd_booted(3)
        return None
    if os.geteuid() == 0:
        return "system"
    done = _run("systemctl", "--user", "show-environment")
    return "user" if done is not None and done.returncode == 0 else None


def _directory(path: str) -> Document:
    """Room, kind of file system and whether we may write, of a directory that may be still to come."""
    there = path
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    room = os.statvfs(there)
    return {
        "path": path,
        "free": room.f_bavail * room.f_frsize,
        "writable": os.access(there, os.W_OK | os.X_OK),
        "type": _file_system(there),
    }


def _file_system(path: str) -> str:
    """Its type by /proc/self/mountinfo (proc(5)): of the longest mount point that leads to it."""
    real, best, kind = os.path.realpath(path), "", "?"
    for line in proc.read_bytes("/proc/self/mountinfo").decode("utf-8", "surrogateescape").splitlines():
        fields, _, tail = line.partition(" - ")
        point = fields.split()[4].replace("\\040", " ")
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, tail.split()[0]
    return kind


def _free(host: str, port: int) -> str | None:
    """Why nothing of ours could listen there; None: it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return {errno.EADDRINUSE: "taken", errno.EADDRNOTAVAIL: "no address of this node"}.get(
                error.errno or 0, os.strerror(error.errno or 0)
            )
    return None


def _criu(program: Any) -> Document | None:
    found = shutil.which(str(program)) if program else shutil.which("criu", path=f"{os.defpath}:/usr/sbin:/sbin")
    if found is None:
        return None
    done = _run(found, "--version")
    words = done.stdout.split() if done is not None and done.returncode == 0 else []
    return {"program": found, "version": words[1] if len(words) > 1 else None}


def _nvidia() -> Document:
    """GPUs on the bus, and the kernel's driver for them (its own words)."""
    cards = 0
    with contextlib.suppress(OSError):
        for device in _DEVICES.iterdir():
            with contextlib.suppress(OSError):
                vendor, kind = ((device / name).read_text("ascii").strip() for name in ("vendor", "class"))
                cards += vendor == _NVIDIA and kind.startswith(_DISPLAY)
    driver = None
    with contextlib.suppress(OSError, IndexError):
        driver = _DRIVER.read_text("ascii", "replace").split("Module")[1].split()[0]
    return {"gpus": cards, "driver": driver}


def _run(*argv: str) -> subprocess.CompletedProcess[str] | None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(argv, capture_output=True, text=True, timeout=_PROGRAM_S, check=False)
    return None
