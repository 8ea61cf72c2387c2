"""Verbs for services that systemd keeps: `unit-start`, `unit-stop`, `unit-remove`, `units` (systemctl(1)).

root's are units of the system, anybody else's of his own manager, which needs lingering to outlive his last login.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from ..durable import write_bytes
from ..errors import LauncherError
from ..wire import LIMIT_BYTES, Document, decode
from .tending import awaited

__all__ = ["main_remove", "main_start", "main_stop", "main_units"]

_NAME = re.compile(r"grid-[a-z-]+\.service")
_MARK = re.compile(r"^# mark: (\S+)$", re.MULTILINE)
_STOP_S = 120.0
_SHOWN = ("ActiveState", "SubState", "MainPID", "NRestarts", "ExecMainStatus")


def main_start(arguments: list[str]) -> Document:
    """`unit-start NAME`, on stdin `text` of the unit, `listens`, `ready_s`: written, enabled, started, waited for.

    A unit that is active is left alone. Raises LauncherError: SYSTEMD, with what systemctl said.
    """
    name, asked = _name(arguments), decode(sys.stdin.buffer.read(LIMIT_BYTES))
    changed = _state(name)["state"] not in {"running", "waiting"}
    if changed:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / name, str(asked["text"]).encode(), 0o644)
        if os.geteuid() != 0:
            _linger()
        _systemctl("daemon-reload")
        _systemctl("enable", "--quiet", name)
        _systemctl("restart", "--no-block", name)
    wanted = [(str(host), int(port)) for host, port in asked["listens"]]
    ready = awaited(wanted, float(asked["ready_s"]), lambda: _state(name)["state"] == "stopped")
    return {**_state(name), "changed": changed, "ready": ready}


def main_stop(arguments: list[str]) -> Document:
    """`unit-stop NAME`: ended, and not started at boot any more."""
    name = _name(arguments)
    before = _state(name)["state"]
    if before not in {"absent", "stopped"}:
        _systemctl("disable", "--quiet", "--now", name)
    return {**_state(name), "changed": before in {"running", "waiting"}}


def main_remove(arguments: list[str]) -> Document:
    """`unit-remove NAME`: systemd knows it no more. Of one that runs, raises LauncherError: SYSTEMD."""
    name = _name(arguments)
    state = _state(name)["state"]
    if state not in {"absent", "stopped"}:
        raise LauncherError("SYSTEMD", f"{name} still runs")
    if state != "absent":
        (_folder() / name).unlink()
        _systemctl("daemon-reload")
    return {"changed": state != "absent"}


def main_units(arguments: list[str]) -> Document:
    """`units NAME…`: how each of them is, in the words of `tended`."""
    return {"services": [_state(_name([argument])) for argument in arguments]}


def _state(name: str) -> Document:
    short = name.removeprefix("grid-").removesuffix(".service")
    file = _folder() / name
    if not file.exists():
        return {"name": short, "state": "absent"}
    text = _systemctl("show", "--property", ",".join(_SHOWN), name)
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    words = {"active": "running", "activating": "waiting", "reloading": "running", "deactivating": "waiting"}
    mark = _MARK.search(file.read_text(encoding="utf-8"))
    return {
        "name": short,
        "state": words.get(found.get("ActiveState", ""), "stopped"),
        "pid": int(found.get("MainPID", "0")) or None,
        "restarts": int(found.get("NRestarts", "0") or 0),
        "last_exit": None,
        "mark": mark[1] if mark else None,
    }


def _folder() -> Path:
    if os.geteuid() == 0:
        return Path("/etc/systemd/system")
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) / "systemd/user"


def _name(arguments: list[str]) -> str:
    if len(arguments) != 1 or not _NAME.fullmatch(arguments[0]):
        raise LauncherError("USAGE", "a name as in grid-exporter.service")
    return arguments[0]


def _linger() -> None:
    """Without it systemd ends the services with the account's last login (loginctl(1))."""
    done = subprocess.run(["loginctl", "enable-linger"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LauncherError("SYSTEMD", f"loginctl enable-linger: {done.stderr.strip()}; ask root for it")


def _systemctl(*words: str) -> str:
    whose = [] if os.geteuid() == 0 else ["--user"]
    try:
        done = subprocess.run(
            ["systemctl", *whose, *words], capture_output=True, text=True, timeout=_STOP_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LauncherError("SYSTEMD", f"systemctl {words[0]}: {error}") from error
    if done.returncode != 0:
        raise LauncherError("SYSTEMD", f"systemctl {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
