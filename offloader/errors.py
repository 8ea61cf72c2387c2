"""Every error that a person can meet, as a tree. Each message says what happened and what to do.

OffloaderError                     exit code
├── UsageError                     2   wrong arguments
├── ConfigError                    1   configuration or rule files, every problem with file:line:column
├── ControllerUnavailable          3   no controller answers on the socket
├── Refused                        4   a safety rule says no; carries the Reason
│   └── NotPermitted               5   the caller may not do this
│       └── NotAuthenticated       5   nobody knows who the caller is
├── NotFound                       6   no such move, job or node
├── MoveFailed                     7   the move was rolled back or lost
├── JournalError                   8   the state directory cannot be used (disk full, newer version, network disk)
└── ExternalError                  9   another system failed
    ├── PrometheusError
    ├── NodeUnreachable
    └── BackendError
"""

from __future__ import annotations

from typing import ClassVar

from offloader.model import Obstacle, Reason

__all__ = [
    "BackendError",
    "ConfigError",
    "ControllerUnavailable",
    "ExternalError",
    "JournalError",
    "MoveFailed",
    "NodeUnreachable",
    "NotAuthenticated",
    "NotFound",
    "NotPermitted",
    "OffloaderError",
    "PrometheusError",
    "Refused",
    "UsageError",
]


class OffloaderError(Exception):
    """Base of all; `exit_code` is what the command line returns for it."""

    exit_code: ClassVar[int] = 1


class UsageError(OffloaderError):
    """Arguments that make no sense."""

    exit_code = 2


class ConfigError(OffloaderError):
    """One or more problems in files that people write; nothing of them was applied."""

    exit_code = 1

    def __init__(self, problems: tuple[str, ...]) -> None:
        """Args: problems: one `file:line:column: message` each."""
        self.problems = problems
        super().__init__("\n".join(problems))


class ControllerUnavailable(OffloaderError):
    """Nothing listens on the controller's socket, or it does not answer."""

    exit_code = 3


class Refused(OffloaderError):
    """Something that must not be done now, with its reason code."""

    exit_code = 4

    def __init__(self, reason: Reason, message: str, obstacles: tuple[Obstacle, ...] = ()) -> None:
        self.reason = reason
        self.obstacles = obstacles
        super().__init__(message)


class NotPermitted(Refused):
    """The caller is neither owner nor admin."""

    exit_code = 5


class NotAuthenticated(NotPermitted):
    """The caller's token is missing or wrong."""

    exit_code = 5


class NotFound(OffloaderError):
    """A name that nothing bears."""

    exit_code = 6


class MoveFailed(OffloaderError):
    """A move that was waited for ended without success."""

    exit_code = 7


class JournalError(OffloaderError):
    """The journal cannot be opened or written."""

    exit_code = 8


class ExternalError(OffloaderError):
    """A system that we depend on failed or did not answer in time."""

    exit_code = 9


class PrometheusError(ExternalError):
    """Prometheus answered with an error, something else than its API, too much, or too late."""


class NodeUnreachable(ExternalError):
    """A node could not be reached over SSH, or a command there did not end in time."""


class BackendError(ExternalError):
    """Ray or a batch scheduler refused or failed."""
