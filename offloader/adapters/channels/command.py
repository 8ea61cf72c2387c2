"""`notify.owner`, `notify.admin`: commands of the site's choice that get a message as one JSON document on stdin."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from offloader.adapters.commands import LocalHost
from offloader.errors import ExternalError
from offloader.notify.post import Telling

__all__ = ["CommandChannel"]

_OUTPUT_BYTES = 64 << 10
_SHOWN = 200
_MARGIN_S = 5.0

M = TypeVar("M", bound=Telling)


class CommandChannel(Generic[M]):
    """notify.post.Channel. Runs as the controller's account, without a shell, with PATH, HOME and LANG only."""

    name = "command"

    def __init__(
        self, key: str, argv: Sequence[str], timeout_s: float, document: Callable[[M], dict[str, Any]]
    ) -> None:
        """A channel by a command.

        Args:
            key: which one it is in the cluster file, for messages.
            argv: the command.
            timeout_s: how long it may take.
            document: what it is given of a message.
        """
        self._key = key
        self._argv = tuple(argv)
        self._timeout_s = timeout_s
        self._document = document
        self._host = LocalHost(key, output_limit_bytes=_OUTPUT_BYTES)

    @property
    def limit_s(self) -> float:
        """The command is ended first, with all that it started."""
        return self._timeout_s + _MARGIN_S

    async def send(self, message: M) -> bool:
        """Raises ExternalError: it failed, cannot be started, or took too long."""
        document = json.dumps(self._document(message), ensure_ascii=True) + "\n"
        done = await self._host.run(self._argv, stdin=document.encode(), timeout_s=self._timeout_s)
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()[:_SHOWN]
            raise ExternalError(f"{self._key} ended with {done.returncode}: {said or 'it said nothing'}")
        return True
