"""Settings and the SSH client configuration → where to connect, as whom, trusting which keys.

Respected of ssh_config(5): HostName, User, Port, IdentityFile, IdentitiesOnly, ProxyJump, UserKnownHostsFile,
GlobalKnownHostsFile, HostKeyAlias, Include, Host and Match (without `exec`). Host keys are always checked strictly,
whatever StrictHostKeyChecking says. ProxyCommand is refused rather than ignored.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from paramiko.ssh_exception import ConfigParseError, CouldNotCanonicalize

from offloader.adapters.ssh.knownhosts import host_key_name
from offloader.adapters.ssh.settings import SshSettings
from offloader.errors import NodeUnreachable

__all__ = ["Destination", "destination"]

_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_USER_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_MAX_HOPS = 8
_MAX_INCLUDES = 16  # as deep as OpenSSH goes


@dataclass(frozen=True, slots=True)
class Destination:
    """One SSH server."""

    host: str
    port: int
    user: str
    host_key_name: str
    identity_files: tuple[Path, ...]  # in the order in which they are tried
    use_agent: bool
    known_hosts: tuple[Path, ...]
    jumps: tuple[Destination, ...] = ()  # to go through, nearest first; these have none themselves

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


def destination(settings: SshSettings) -> Destination:
    """Where the settings lead.

    Raises:
        NodeUnreachable: the client configuration cannot be read or asks for what is not supported.
    """
    config = _client_config(settings.config_file)
    try:
        return _resolved(config, settings, hops_left=_MAX_HOPS)
    except (ConfigParseError, CouldNotCanonicalize, ValueError) as error:
        file = settings.config_file or "~/.ssh/config"
        raise NodeUnreachable(f"{settings.host}: {file} cannot be applied: {error}") from error


def _resolved(config: paramiko.SSHConfig, settings: SshSettings, *, hops_left: int) -> Destination:
    options: Mapping[str, Any] = config.lookup(settings.host)
    if options.get("proxycommand"):
        raise ValueError("ProxyCommand is not supported: use ProxyJump")
    host = str(options.get("hostname", settings.host))
    port = settings.port or int(options.get("port", 22))
    user = settings.user or options.get("user") or pwd.getpwuid(os.geteuid()).pw_name
    identities = _identities(settings, options)
    only_these = settings.identity_file is not None or str(options.get("identitiesonly", "no")).lower() == "yes"
    alias = options.get("hostkeyalias")
    return Destination(
        host=host,
        port=port,
        user=str(user),
        host_key_name=str(alias).lower() if alias else host_key_name(host, port),
        identity_files=identities,
        use_agent=not only_these,
        known_hosts=_known_hosts(settings, options),
        jumps=_jumps(config, settings, str(options.get("proxyjump", "none")), hops_left),
    )


def _identities(settings: SshSettings, options: Mapping[str, Any]) -> tuple[Path, ...]:
    if settings.identity_file is not None:
        return (settings.identity_file,)
    named = options.get("identityfile") or _DEFAULT_IDENTITIES
    return tuple(path for path in map(_path, named) if path.exists())


def _known_hosts(settings: SshSettings, options: Mapping[str, Any]) -> tuple[Path, ...]:
    if settings.known_hosts is not None:
        return (settings.known_hosts,)
    user = str(options.get("userknownhostsfile", _USER_KNOWN_HOSTS))
    system = str(options.get("globalknownhostsfile", _SYSTEM_KNOWN_HOSTS))
    return tuple(_path(name) for name in shlex.split(f"{user} {system}") if name.lower() != "none")


def _jumps(config: paramiko.SSHConfig, settings: SshSettings, chain: str, hops_left: int) -> tuple[Destination, ...]:
    """The servers on the way; each is looked up in the configuration itself, and may name further ones before it."""
    if chain.lower() == "none":
        return ()
    found: list[Destination] = []
    for word in chain.split(","):
        if hops_left <= 0:
            raise ValueError(f"ProxyJump: more than {_MAX_HOPS} hosts on the way")
        user, host, port = _jump_parts(word.strip())
        hop_settings = SshSettings(
            host=host, user=user, port=port, known_hosts=settings.known_hosts, config_file=settings.config_file
        )
        # Only the first of a chain may have a way of its own: the others are reached through the one before.
        hop = _resolved(config, hop_settings, hops_left=hops_left - 1)
        before = hop.jumps if not found else ()
        found += [*before, _without_jumps(hop)]
        hops_left -= 1
    return tuple(found)


def _jump_parts(word: str) -> tuple[str | None, str, int | None]:
    """`[user@]host[:port]`, the host in brackets if it has colons itself; also as ssh:// URI."""
    word = word.removeprefix("ssh://")
    user, _, rest = word.rpartition("@")
    if rest.startswith("["):
        host, _, tail = rest[1:].partition("]")
        port = tail.removeprefix(":")
    else:
        host, _, port = rest.partition(":")
    if not host:
        raise ValueError(f"ProxyJump: no host in {word!r}")
    return user or None, host, int(port) if port else None


def _without_jumps(hop: Destination) -> Destination:
    return Destination(
        hop.host, hop.port, hop.user, hop.host_key_name, hop.identity_files, hop.use_agent, hop.known_hosts
    )


def _client_config(file: Path | None) -> paramiko.SSHConfig:
    """The given file alone, or the user's and the system's, as ssh(1) does."""
    config = paramiko.SSHConfig()
    try:
        if file is not None:
            config.parse(list(_lines(file, file.parent, 0)))
            return config
        for default in (_path("~/.ssh/config"), _SYSTEM_CONFIG):
            if default.exists():
                config.parse(list(_lines(default, default.parent, 0)))
    except (OSError, ConfigParseError) as error:
        raise NodeUnreachable(f"SSH client configuration {file or '~/.ssh/config'} cannot be used: {error}") from error
    return config


def _lines(file: Path, base: Path, depth: int) -> Iterator[str]:
    """A configuration's lines, with `Include` replaced by what it names (paramiko passes over it)."""
    for line in file.read_text("utf-8", "surrogateescape").splitlines():
        words = line.replace("=", " ", 1).split(maxsplit=1)
        if words and words[0].lower() == "match" and re.search(r"\s!?exec\b", line, re.IGNORECASE):
            raise ConfigParseError("`Match exec` is not supported: it would run a command to know where to connect")
        if len(words) < 2 or words[0].lower() != "include":  # noqa: PLR2004 - keyword and argument
            yield line
        elif depth < _MAX_INCLUDES:
            for pattern in shlex.split(words[1]):
                expanded = _path(pattern)
                # An absolute pattern replaces the base when joined; glob needs it relative to the root.
                whole = base / expanded
                for included in sorted(Path("/").glob(str(whole.relative_to("/")))):
                    yield from _lines(included, base, depth + 1)


def _path(text: str) -> Path:
    return Path(text).expanduser()
