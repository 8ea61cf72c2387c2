"""How to reach one node, and how patiently."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["SshSettings"]


@dataclass(frozen=True, slots=True)
class SshSettings:
    """What is None comes from the SSH client configuration (ssh_config(5)), else from OpenSSH's defaults."""

    host: str  # host name, address, or an alias in the SSH client configuration
    user: str | None = None
    port: int | None = None
    identity_file: Path | None = None  # given: no other key is tried
    known_hosts: Path | None = None  # given: no other file is read
    config_file: Path | None = None  # None: ~/.ssh/config and /etc/ssh/ssh_config
    sudo: bool = False  # become root there by sudo(8), which must not ask for a password
    connect_timeout_s: float = 5.0  # for each step: TCP, banner, key exchange, authentication
    keepalive_s: float = 5.0  # something is sent at least so often
    dead_after_s: float = 15.0  # sent but not acknowledged for so long: the connection is lost
    idle_timeout_s: float = 600.0  # nothing running on it for so long: the connection is closed
    max_sessions: int = 8  # at once on the connection; sshd refuses above its MaxSessions, 10 by default
    output_limit_bytes: int = 32 << 20  # for each of stdout and stderr of `run`
