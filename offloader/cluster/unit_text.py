"""A service as a systemd unit, hardened as far as its duty allows (systemd.service(5), systemd.exec(5)). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from offloader.cluster.services import Service

__all__ = ["unit_name", "unit_text"]

_HARDENED = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
)
"""For what only looks and tells. /proc stays whole: to look at everybody's processes is the exporter's work."""

_ACTS = ("KillMode=mixed", "LimitNOFILE=65536")
"""What works on other people's processes, or runs them, needs all that they may need: no confinement would be true."""


def unit_name(service: str) -> str:
    """As systemd knows it."""
    return f"grid-{service}.service"


def unit_text(service: Service, *, system: bool) -> str:
    """The whole unit. `system`: of the system's manager, else of the account's own."""
    return "\n".join([*_unit(service), *_service(service, system=system), *_install(system=system)]) + "\n"


def _unit(service: Service) -> Iterator[str]:
    yield f"# Made by `grid-offloader cluster start`: changes are lost.\n# mark: {service.mark}"
    yield "[Unit]"
    yield f"Description={service.description}"
    yield "After=network-online.target"
    yield "Wants=network-online.target"
    yield "StartLimitIntervalSec=0"
    yield ""


def _service(service: Service, *, system: bool) -> Iterator[str]:
    yield "[Service]"
    yield f"Type={'notify' if service.name == 'controller' else 'exec'}"
    if system and service.user != "root":
        yield f"User={service.user}"
    yield f"ExecStart={' '.join(_quoted(word) for word in service.argv)}"
    for name, value in service.environ.items():
        yield f"Environment={_quoted(f'{name}={value}')}"
    yield "Restart=always"
    yield "RestartSec=2"
    yield f"TimeoutStopSec={service.grace_s:g}"
    if service.leaves:
        yield "KillMode=process"  # the guards of moves in flight go on
        yield from (line for line in _ACTS if not line.startswith("KillMode"))
    elif service.acts:
        yield from _ACTS
    elif system:
        yield from _HARDENED
    else:
        yield "NoNewPrivileges=yes"
    yield f"UMask={'0077' if service.private else '0022'}"
    if system and service.private:
        yield "StateDirectoryMode=0700"
        yield "RuntimeDirectoryMode=0700"
    if system:
        yield from (_directory(path, confined=not service.acts) for path in service.writes)
    yield ""


def _directory(path: str, *, confined: bool) -> str:
    """What makes a directory be there, the account's own, and writable (systemd.exec(5))."""
    for root, option in (("/var/lib/", "StateDirectory"), ("/run/", "RuntimeDirectory")):
        if path.startswith(root):
            return f"{option}={path[len(root) :]}"
    return f"ReadWritePaths={path}" if confined else f"# writes to {path}"


def _install(*, system: bool) -> Iterator[str]:
    yield "[Install]"
    yield f"WantedBy={'multi-user' if system else 'default'}.target"


def _quoted(word: str) -> str:
    """One word as systemd reads it: specifiers and variables are none (systemd.syntax(7), systemd.service(5))."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if not plain or set(plain) & set(" \t'\"\\;") else plain
