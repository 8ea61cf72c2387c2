"""Nodes behind SSH, by paramiko. Importing this package is what loads paramiko: only those who connect should."""

from offloader.adapters.ssh.host import SshHost
from offloader.adapters.ssh.settings import SshSettings

__all__ = ["SshHost", "SshSettings"]
