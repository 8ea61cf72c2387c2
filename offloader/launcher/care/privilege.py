"""`privilege`: the one thing that a backend's account may do as root on a node that several users share (sudoers(5)).

On stdin `opener` (a program to make), `account` (who may run it), `sudoers` (the file that says so). The program is the
launcher's verb `open` and nothing else. `unprivilege`, with the same, takes both away.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from ..durable import write_bytes
from ..errors import LauncherError
from ..rooted import intruder
from ..wire import LIMIT_BYTES, Document, decode

__all__ = ["main", "main_unprivilege", "rule"]

_PLAIN = re.compile(r"/[A-Za-z0-9/_.-]+", re.ASCII)
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_ALLOCATION = "CUDA_VISIBLE_DEVICES"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_CHECK_S = 20.0


def main(_arguments: list[str]) -> Document:
    """The verb.

    Raises:
        LauncherError: USAGE; NO_SUDO: there is none, or it does not take the rule; OPEN_TO_OTHERS: somebody else could
            change what would be run as root.
    """
    opener, account, sudoers = _asked()
    python, launcher = sys.executable, os.path.realpath(sys.argv[0])
    os.umask(0o022)
    opener.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    for path in (os.path.dirname(python), os.path.realpath(python), launcher, str(opener.parent)):
        _roots_alone(path)
    program = f"#!/bin/sh\n# Made by `grid-offloader cluster install`.\nexec {python} -I -S {launcher} open\n"
    made = _written(opener, program, 0o755)
    text = rule(str(opener), account)
    _check(text)
    return {"changed": _written(sudoers, text, 0o440) or made}


def main_unprivilege(_arguments: list[str]) -> Document:
    """The verb: the rule first."""
    opener, _, sudoers = _asked()
    there = [path for path in (sudoers, opener) if path.exists()]
    for path in there:
        path.unlink()
    if opener in there:
        opener.parent.rmdir()
    return {"changed": bool(there)}


def rule(opener: str, account: str) -> str:
    """The file for sudo: that program as root without any argument (`""`), and with no environment of the caller's."""
    return (
        "# Made by `grid-offloader cluster install`: changes are lost.\n"
        f'Defaults!{opener} env_reset, !requiretty, !use_pty, env_keep = "{_ALLOCATION}", secure_path = "{_PATH}"\n'
        f'{account} ALL = (root) NOPASSWD: {opener} ""\n'
    )


def _roots_alone(path: str) -> None:
    if not _PLAIN.fullmatch(path):
        raise LauncherError("USAGE", f"{path}: letters, digits, / _ . - only")
    others = intruder(Path(path))
    if others is not None:
        raise LauncherError("OPEN_TO_OTHERS", f"{others} is not root's alone, and leads to what root would run: {path}")


def _asked() -> tuple[Path, str, Path]:
    asked = decode(sys.stdin.buffer.read(LIMIT_BYTES))
    opener, account, sudoers = (str(asked.get(key)) for key in ("opener", "account", "sudoers"))
    if not _PLAIN.fullmatch(opener) or not _ACCOUNT.fullmatch(account) or not _PLAIN.fullmatch(sudoers):
        raise LauncherError("USAGE", "opener and sudoers: plain absolute paths; account: its name")
    if os.geteuid() != 0:
        raise LauncherError("NOT_ROOT", "only root may give this away")
    return Path(opener), account, Path(sudoers)


def _check(text: str) -> None:
    """By sudo itself: a file that it does not take would keep everybody from using it."""
    try:
        done = subprocess.run(
            ["visudo", "-c", "-f", "-"], input=text, capture_output=True, text=True, timeout=_CHECK_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LauncherError("NO_SUDO", f"visudo: {error}: install sudo") from error
    if done.returncode != 0:
        raise LauncherError("NO_SUDO", f"sudo does not take the rule: {(done.stdout + done.stderr).strip()}")


def _written(path: Path, text: str, mode: int) -> bool:
    data = text.encode("ascii")
    if path.is_file() and path.read_bytes() == data and path.stat().st_mode & 0o7777 == mode:
        return False
    write_bytes(path, data, mode)
    return True
