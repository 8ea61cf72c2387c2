"""The command line of OpenSSH's client for one node: for bulk, which paramiko is several times too slow for.

It goes where paramiko goes, trusts what paramiko trusts, and asks nobody anything (ssh(1), ssh_config(5)).
"""

from __future__ import annotations

from collections.abc import Sequence

from offloader.adapters.ssh.session import command_line
from offloader.adapters.ssh.settings import SshSettings

__all__ = ["client_argv"]


def client_argv(program: str, settings: SshSettings, argv: Sequence[str]) -> list[str]:
    """`ssh …`, by which that command runs there with our stdin and stdout as its own."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ClearAllForwardings": "yes",
        "ControlMaster": "no",
        "ControlPath": "none",
        "PermitLocalCommand": "no",
        "Compression": "no",
        "ConnectTimeout": f"{max(1, round(settings.connect_timeout_s))}",
        "ServerAliveInterval": f"{max(1, round(settings.keepalive_s))}",
        "ServerAliveCountMax": "3",
        # The fastest on processors that have AES; the others stay behind it.
        "Ciphers": "^aes128-gcm@openssh.com,aes256-gcm@openssh.com",
    }
    if settings.identity_file is not None:
        options |= {"IdentityFile": f'"{settings.identity_file}"', "IdentitiesOnly": "yes"}
    if settings.known_hosts is not None:
        options |= {"UserKnownHostsFile": f'"{settings.known_hosts}"', "GlobalKnownHostsFile": "none"}
    found = [program, "-T", "-x", "-a", "-q"]
    found += ["-F", str(settings.config_file)] if settings.config_file is not None else []
    found += ["-l", settings.user] if settings.user is not None else []
    found += ["-p", str(settings.port)] if settings.port is not None else []
    for name, value in options.items():
        found += ["-o", f"{name}={value}"]
    remote = command_line(argv, at_most_s=None, sudo=settings.sudo).decode("utf-8", "surrogateescape")
    return [*found, "--", settings.host, remote]
