"""Two commands on two nodes whose streams are tied together: what they say to each other passes us by.

What they have to say to us comes on stderr, in lines of JSON.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.moves.agent import Agent, VerbFailed
from offloader.ports import Attached

__all__ = ["End", "pipe"]

_PIPE_BYTES = 1 << 20  # what an ordinary account may have (fs.pipe-max-size)
_LAST_WORDS = 300

Document = dict[str, Any]


class End:
    """One node's end, as far as it has something to say."""

    def __init__(self, node: str, attached: Attached) -> None:
        self._node = node
        self._lines = aiter(attached.lines())
        self._words = ""

    @classmethod
    async def attached(
        cls, ends: contextlib.AsyncExitStack, agent: Agent, verb: str, *arguments: str, stdin: int, stdout: int
    ) -> End:
        """Start the verb; it ends with `ends`. Raises NodeUnreachable."""
        attached = await agent.attach(verb, *arguments, stdin=stdin, stdout=stdout)
        ends.push_async_callback(attached.close)
        return cls(agent.node.name, attached)

    async def document(self) -> Document:
        """What it says next. Raises VerbFailed, NodeUnreachable with the last other words on its stderr."""
        async for line in self._lines:
            try:
                document: Document = json.loads(line)
            except ValueError:  # a shell's greeting, a complaint of ssh or sshd
                self._words = line.decode("utf-8", "replace").strip()[-_LAST_WORDS:] or self._words
                continue
            if "error" in document:
                raise VerbFailed(str(document["error"]), f"{self._node}: {document.get('detail', '')}")
            return document
        raise NodeUnreachable(f"{self._node}: the way is cut: {self._words or 'nothing was said'}")

    async def over(self) -> None:
        """Until it has ended."""
        async for _ in self._lines:
            pass


def pipe(ours: contextlib.ExitStack) -> tuple[int, int]:
    """A large one; our own copies of its ends live as long as `ours`."""
    reading, writing = os.pipe()
    ours.callback(os.close, reading)
    ours.callback(os.close, writing)
    with contextlib.suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return reading, writing
