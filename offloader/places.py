"""Where things are unless somebody says otherwise: configuration, state, socket. Standard library only.

root uses the machine's folders, anybody else his own (XDG base directory specification): a single-account cluster
needs no root anywhere.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = [
    "CONFIG_ENV",
    "SOCKET_ENV",
    "STATE_ENV",
    "config_file",
    "config_files",
    "runtime_dir",
    "socket_path",
    "state_dir",
]

CONFIG_ENV = "GRID_OFFLOADER_CONFIG"
STATE_ENV = "GRID_OFFLOADER_STATE_DIR"
SOCKET_ENV = "GRID_OFFLOADER_SOCKET"

_NAME = "grid-offloader"
_SOCKET = "control.sock"


def config_files() -> tuple[Path, ...]:
    """Where the cluster file is looked for: only GRID_OFFLOADER_CONFIG where set, else the account's, the machine's."""
    if named := os.environ.get(CONFIG_ENV):
        return (Path(named),)
    return tuple(folder / _NAME / "cluster.yaml" for folder in (_xdg("XDG_CONFIG_HOME", ".config"), Path("/etc")))


def config_file() -> Path:
    """The first of `config_files` that exists, else the last."""
    files = config_files()
    return next((file for file in files if file.exists()), files[-1])


def state_dir() -> Path:
    """GRID_OFFLOADER_STATE_DIR, else /var/lib/grid-offloader for root and ~/.local/state/grid-offloader otherwise."""
    if named := os.environ.get(STATE_ENV):
        return Path(named)
    return Path("/var/lib") / _NAME if os.geteuid() == 0 else _xdg("XDG_STATE_HOME", ".local/state") / _NAME


def runtime_dir() -> Path:
    """/run/grid-offloader for root and where there is no runtime directory of the session, else that one."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    return Path(own) / _NAME if own and os.geteuid() != 0 else Path("/run") / _NAME


def socket_path() -> Path:
    """GRID_OFFLOADER_SOCKET, else this account's own controller where one is, else the machine's."""
    if named := os.environ.get(SOCKET_ENV):
        return Path(named)
    own = runtime_dir() / _SOCKET
    return own if own.exists() else Path("/run") / _NAME / _SOCKET


def _xdg(variable: str, below_home: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / below_home)
