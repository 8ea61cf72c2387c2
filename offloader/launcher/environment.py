"""The successor's environment: the captured one, entry by entry, minus what belongs to a login session or a node.

Nothing of the launcher's own environment gets in (it runs inside a backend's job: RAY_*, OMP_NUM_THREADS=1, tokens),
except variables that the capsule names because they carry the allocation (CUDA_VISIBLE_DEVICES).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

__all__ = ["DROPPED_NAMES", "DROPPED_PREFIXES", "build", "dropped", "value_of"]

DROPPED_PREFIXES = (b"SSH_", b"XDG_", b"WAYLAND_", b"VSCODE_", b"LISTEN_", b"MEMORY_PRESSURE_")
DROPPED_NAMES = frozenset(
    {
        b"DISPLAY",
        b"XAUTHORITY",
        b"WINDOWID",
        b"DBUS_SESSION_BUS_ADDRESS",
        b"DESKTOP_SESSION",
        b"GPG_AGENT_INFO",
        b"GPG_TTY",
        b"TMUX",
        b"TMUX_PANE",
        b"STY",
        b"WINDOW",
        b"TERM_SESSION_ID",
        b"INVOCATION_ID",
        b"JOURNAL_STREAM",
        b"NOTIFY_SOCKET",
        b"MANAGERPID",
        b"SYSTEMD_EXEC_PID",
        b"WATCHDOG_PID",
        b"WATCHDOG_USEC",
    }
)
_DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"


def build(
    captured: Iterable[bytes], added: Mapping[str, str], passed: Iterable[str], own: Mapping[bytes, bytes]
) -> dict[bytes, bytes]:
    """Names and values for execve, in the captured order.

    Args:
        captured: `NAME=value` entries of the original.
        added: what the capsule adds or replaces.
        passed: names to take from `own`.
        own: the launcher's environment.
    """
    result: dict[bytes, bytes] = {}
    for entry in captured:
        name, separator, value = entry.partition(b"=")
        # The first entry counts, as for getenv(3); the rest could not be passed on faithfully by execve's caller.
        if separator and name and name not in result and not dropped(name):
            result[name] = value
    if b"PATH" in result and not _any_directory(result[b"PATH"]):
        result[b"PATH"] = _DEFAULT_PATH
    for variable in passed:
        key = os.fsencode(variable)
        result.pop(key, None)
        if key in own:
            result[key] = own[key]
    result.update({os.fsencode(name): os.fsencode(value) for name, value in added.items()})
    return result


def value_of(captured: Iterable[bytes], name: bytes) -> bytes | None:
    """The value of one captured variable."""
    prefix = name + b"="
    return next((entry[len(prefix) :] for entry in captured if entry.startswith(prefix)), None)


def dropped(name: bytes) -> bool:
    """Whether a variable belongs to a login session or a node, and so stays there."""
    return name in DROPPED_NAMES or name.startswith(DROPPED_PREFIXES)


def _any_directory(path: bytes) -> bool:
    """Whether the source's PATH makes any sense on this node."""
    return any(os.path.isdir(entry) for entry in path.split(b":") if entry)
