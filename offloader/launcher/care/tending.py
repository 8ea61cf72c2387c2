"""Verbs that start, stop and show the services kept by keepers of ours: `tend`, `untend`, `tended`."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .. import detach
from ..durable import read_json, write_json
from ..errors import LauncherError
from ..reaper import kill_tree
from ..wire import LIMIT_BYTES, Document, decode
from . import record
from .keeper import Service, keep

__all__ = ["awaited", "main_tend", "main_tended", "main_untend"]

_RUNS = frozenset({"running", "waiting"})
_HOPELESS = 3  # restarts while it is waited for
_SPARE_S = 5.0
_PAUSE_S = 0.05
_DEATH_S = 10.0


def main_tend(arguments: list[str]) -> Document:
    """`tend DIR`, the service on stdin: keeps it running, as it is to be; one that runs is left alone.

    `listens` (addresses) are waited for, for `ready_s`. The answer's `changed` says whether anything was started,
    `ready` whether it listens, `said` what it wrote last if it does not.

    Raises:
        LauncherError: BAD_CONFIG, LOCKED.
    """
    if len(arguments) != 1:
        raise LauncherError("USAGE", "tend DIR < service")
    directory, spec = Path(arguments[0]), decode(sys.stdin.buffer.read(LIMIT_BYTES))
    try:
        service = Service.of(spec)
        wanted, ready_s = [(str(host), int(port)) for host, port in spec["listens"]], float(spec["ready_s"])
    except (KeyError, TypeError, ValueError) as error:
        raise LauncherError("BAD_CONFIG", f"no service: {error}") from error
    with record.locked(directory) as lock:
        changed = record.state(directory)["state"] not in _RUNS
        if changed:
            _end_left_over(directory)
            write_json(directory / record.SPEC, spec)
            detach.run(directory, lambda ready: _keep(directory, service, ready, lock))
    ready = awaited(wanted, ready_s, lambda: record.state(directory).get("restarts", 0) >= _HOPELESS)
    found = {**record.state(directory), "changed": changed}
    found["ready"] = ready = ready and found["state"] == "running"
    return found if ready else {**found, "said": record.said(directory)}


def main_untend(arguments: list[str]) -> Document:
    """`untend DIR`: ends the service and its keeper. The answer's `changed` says whether anything ran."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "untend DIR")
    directory = Path(arguments[0])
    if not directory.is_dir():
        return {"name": directory.name, "state": "absent", "changed": False}
    with record.locked(directory):
        before = record.state(directory)["state"]
        spec = read_json(directory / record.SPEC) or {}
        keeper = record.held((read_json(directory / record.KEEPER) or {}).get("keeper"))
        if keeper is not None:
            keeper.signal(signal.SIGTERM)
            if not keeper.wait(float(spec.get("grace_s", 0)) + _SPARE_S):
                kill_tree(keeper.pid)
                keeper.signal(signal.SIGKILL)
                keeper.wait(_DEATH_S)
            keeper.close()
        _end_left_over(directory)
        return {**record.state(directory), "changed": before in {*_RUNS, "left"}}


def main_tended(arguments: list[str]) -> Document:
    """`tended DIR…`: how each of these services is."""
    return {"services": [record.state(Path(argument)) for argument in arguments]}


def awaited(addresses: Iterable[tuple[str, int]], limit_s: float, hopeless: Callable[[], bool]) -> bool:
    """Whether something listens at every address in time; given up early when it is hopeless."""
    deadline, missing = time.monotonic() + limit_s, list(addresses)
    while missing := [address for address in missing if not _listens(address)]:
        if time.monotonic() > deadline or hopeless():
            return False
        time.sleep(_PAUSE_S)
    return True


def _keep(directory: Path, service: Service, ready: detach.Ready, lock: int) -> int:
    os.close(lock)  # of whoever starts us, not ours
    return keep(directory, service, ready)


def _listens(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=1.0):
            return True
    except OSError:
        return False


def _end_left_over(directory: Path) -> None:
    """A service whose keeper was killed dies with it; what is slow to die is waited for."""
    child = record.held((read_json(directory / record.KEEPER) or {}).get("child"))
    if child is not None:
        kill_tree(child.pid)
        child.signal(signal.SIGKILL)
        child.wait(_DEATH_S)
        child.close()
