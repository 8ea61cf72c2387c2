"""Which criu is used, and which version it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from ..errors import LauncherError

__all__ = ["find", "version"]

_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
_LIMIT_S = 10.0


def find(given: str = "") -> str:
    """The path of criu: the given one, else what PATH or a system folder has.

    Raises:
        LauncherError: NO_CRIU.
    """
    if given:
        if os.path.isfile(given) and os.access(given, os.X_OK):
            return given
        raise LauncherError("NO_CRIU", f"{given} is no program")
    # An SSH session of an ordinary account often has no sbin in its PATH.
    found = shutil.which("criu", path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_FOLDERS}")
    if found is None:
        raise LauncherError("NO_CRIU", "there is no criu in PATH")
    return found


def version(criu: str) -> str:
    """Such as 4.2.1. Raises LauncherError (NO_CRIU) when it does not even say that."""
    try:
        done = subprocess.run([criu, "--version"], capture_output=True, timeout=_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LauncherError("NO_CRIU", f"{criu} does not run: {error}") from error
    found = re.search(rb"Version: ([0-9]+(?:\.[0-9]+)*)", done.stdout)
    if found is None:
        words = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-200:]
        raise LauncherError("NO_CRIU", f"{criu} does not say its version: {words}")
    return found.group(1).decode("ascii")
