"""`notify.owner`: a command of the site's choice (mail, chat) that gets the message as one JSON document on stdin."""

from __future__ import annotations

import json
from collections.abc import Sequence

from offloader.adapters.commands import LocalHost
from offloader.errors import ExternalError
from offloader.notify.message import Message
from offloader.notify.words import lines

__all__ = ["CommandChannel"]

_OUTPUT_BYTES = 64 << 10
_SHOWN = 200
_MARGIN_S = 5.0


class CommandChannel:
    """notify.post.Channel. Runs as the controller's account, without a shell, with PATH, HOME and LANG only."""

    name = "command"

    def __init__(self, argv: Sequence[str], timeout_s: float) -> None:
        self._argv = tuple(argv)
        self._timeout_s = timeout_s
        self._host = LocalHost("notify.owner", output_limit_bytes=_OUTPUT_BYTES)

    @property
    def limit_s(self) -> float:
        """The command is ended first, with all that it started."""
        return self._timeout_s + _MARGIN_S

    async def send(self, message: Message) -> bool:
        """Raises ExternalError: it failed, cannot be started, or took too long."""
        document = json.dumps(message.to_json(lines(message)), ensure_ascii=True) + "\n"
        done = await self._host.run(self._argv, stdin=document.encode(), timeout_s=self._timeout_s)
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()[:_SHOWN]
            raise ExternalError(f"notify.owner ended with {done.returncode}: {said or 'it said nothing'}")
        return True
