"""`guard DIR`: starts the guard detached, fresh from a configuration or in the place of one that died.

Two processes: the guard, and a keeper that starts it again from its state file should it be killed, because nobody
else would ever thaw what it froze.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import sys
import time
import traceback
from pathlib import Path

from . import cgroups, detach, guard_config, proc
from .criu import image
from .durable import read_json
from .errors import LauncherError
from .guard import Guard
from .guard_config import GuardConfig
from .members import Members
from .wire import LIMIT_BYTES, Document, decode

__all__ = ["adopt", "main", "start"]

_END_S = 2.0
_OVER = frozenset({"armed", "thawed", "saved", "ended", "gone"})


def main(arguments: list[str]) -> Document:
    """The verb: configuration on stdin; nothing there: take over from a guard that died.

    Raises:
        LauncherError: LOCKED (a guard runs there), NO_STATE (nothing to take over), EXISTS (another move's directory),
            BAD_CONFIG, ORIGINAL_GONE, PID_REUSED.
    """
    if len(arguments) != 1:
        raise LauncherError("USAGE", "guard DIR < configuration")
    directory = Path(arguments[0]).absolute()
    data = sys.stdin.buffer.read(LIMIT_BYTES)
    config = guard_config.load(decode(data)) if data.strip() else None
    if config is not None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not (directory / "state.json").exists():
        raise LauncherError("NO_STATE", f"no guard ever ran in {directory}")
    lock, failed = _lock(directory), False
    try:
        return {"guard_pid": detach.run(directory, lambda ready: _serve(directory, config, ready))}
    except LauncherError:
        failed = True
        raise
    finally:
        os.close(lock)
        if failed:
            _await_release(directory)


def _lock(directory: Path) -> int:
    """The move's lock; the guard inherits it and holds it as long as it, or its keeper, lives."""
    descriptor = os.open(directory / "move.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LauncherError("LOCKED", f"a guard runs in {directory}") from None
    return descriptor


def _await_release(directory: Path) -> None:
    """Until those that did not become a guard have ended: whoever asks again must not meet them."""
    deadline = time.monotonic() + _END_S
    while time.monotonic() < deadline:
        with contextlib.suppress(LauncherError):
            os.close(_lock(directory))
            return
        time.sleep(0.005)


def _serve(directory: Path, config: GuardConfig | None, ready: detach.Ready) -> int:
    """Be the guard until it is over."""
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _allow_many_descriptors()
    _survive()
    _start_keeper(directory)
    role = start(directory, config) if config is not None else adopt(directory)
    ready()
    role.run()
    return 0


def start(directory: Path, config: GuardConfig) -> Guard:
    """A fresh guard; the same move once more takes over from the former one. Raises LauncherError."""
    former = read_json(directory / "state.json")
    if former is not None:
        if former.get("move") != config.move:
            raise LauncherError("EXISTS", f"{directory} belongs to {former.get('move')}")
        if former["state"] not in {"armed", "gone"}:
            return adopt(directory)
    if any(one["boot_id"] != proc.boot_id() for one in config.identities):
        raise LauncherError("ORIGINAL_GONE", "this node was booted since")
    role = Guard(directory, config, Members.verified(list(config.identities)))
    role.arm()
    return role


def adopt(directory: Path) -> Guard:
    """Take over from a guard that died: what it froze is frozen still. Raises LauncherError (NO_STATE)."""
    memory = read_json(directory / "state.json")
    if memory is None:
        raise LauncherError("NO_STATE", f"no guard ever ran in {directory}")
    config = guard_config.load(memory)
    if memory["boot_id"] != proc.boot_id():
        # One that was asked to save may have done so before; that it can be run again was declared.
        image.remove(directory / image.NAME)  # whoever worked on it is gone with the boot
        state = "saved" if memory["state"] in {"saving", "saved"} else "gone"
        return Guard(directory, config, Members.remembered([]), state)
    role = Guard(directory, config, Members.remembered(memory["members"]), memory["state"])
    role.take_over(memory)
    return role


def _start_keeper(directory: Path) -> None:
    """Fork the process that becomes the next guard when this one is killed."""
    guard = os.pidfd_open(os.getpid())
    if os.fork() != 0:
        os.close(guard)
        return
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        select.select([guard], [], [])
        os.close(guard)
        os.setsid()
        if _still_needed(read_json(directory / "state.json") or {}):
            _serve(directory, None, detach.not_waited_for)
    except BaseException:  # noqa: BLE001 (the last frame of a process: leave a trace, then end)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def _still_needed(memory: Document) -> bool:
    """Whether the guard that wrote this left anything behind; what was frozen before this boot is gone with it."""
    return memory.get("state") not in {None, *_OVER} and memory.get("boot_id") == proc.boot_id()


def _survive() -> None:
    """Outlive whoever started us, as far as we may.

    Out of the controller's cgroup, all of which a service manager kills when it stops the service, and late in the OOM
    killer's queue.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-900", encoding="ascii")
    for mount in cgroups.managed():
        with contextlib.suppress(OSError):
            (Path(mount) / "cgroup.procs").write_text("0", encoding="ascii")


def _allow_many_descriptors() -> None:
    """One pidfd for each process of the job."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
