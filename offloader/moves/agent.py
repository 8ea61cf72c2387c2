"""One node's launcher, as the controller uses it: placed once, asked by verbs, linked to for the long-lived roles."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import posixpath
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.launcher.pack import pack
from offloader.moves.link import Link
from offloader.moves.plan import MoveNode
from offloader.ports import Attached, ByteChannel, Completed, Host, LineChannel

__all__ = ["Agent", "VerbFailed"]

# Runs on the node, with our own constant text only: writes stdin to argv[1] atomically unless it is there already.
_PLACE_PROGRAM = """
import os, sys
path = sys.argv[1]
data = sys.stdin.buffer.read()
os.umask(0o077)
os.makedirs(os.path.dirname(path), exist_ok=True)
try:
    same = open(path, "rb").read() == data
except FileNotFoundError:
    same = False
if not same:
    scratch = f"{path}.{os.getpid()}"
    with open(scratch, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(scratch, path)
"""


class VerbFailed(Exception):
    """The launcher answered a verb with an error.

    Attributes:
        code: the launcher's error code, for example EXISTS or OLD_EPOCH.
        detail: its sentence for people.
    """

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}" if detail else code)


class Agent:
    """Verbs and links of the launcher on one node."""

    def __init__(self, host: Host, node: MoveNode, *, verb_s: float) -> None:
        self.node = node
        self._host = host
        self._verb_s = verb_s
        package, digest = pack()
        self._package = package
        self._path = posixpath.join(node.state_dir, "bin", f"launcher-{digest}.pyz")
        self._placing = asyncio.Lock()
        self._placed = False

    def attempt_dir(self, job: str, epoch: int) -> str:
        """The target's durable directory of one attempt."""
        return posixpath.join(self.node.state_dir, "attempts", f"{job}.{epoch}")

    def move_dir(self, move_id: str) -> str:
        """The source's durable directory of one move."""
        return posixpath.join(self.node.state_dir, "moves", move_id)

    def staging_dir(self, job: str) -> str:
        """What a node remembers of a job's working directory that was copied from here, or to here."""
        return posixpath.join(self.node.state_dir, "staged", job)

    def argv(self, verb: str, *arguments: str) -> tuple[str, ...]:
        """The launcher's command line on that node: constant words, pids and our own paths only."""
        return (self.node.python, "-I", self._path, verb, *arguments)

    async def verb(self, verb: str, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> Any:
        """Run one verb and return the JSON document that it prints.

        Raises:
            VerbFailed: the launcher says no.
            NodeUnreachable: no connection, no answer in time, or something that is no launcher answered.
        """
        await self._place()
        completed = await self._host.run(
            self.argv(verb, *arguments), stdin=stdin, timeout_s=timeout_s if timeout_s is not None else self._verb_s
        )
        return self._answer(verb, completed)

    async def link(self, directory: str) -> Link:
        """Connect to the long-lived role whose directory that is. Raises NodeUnreachable."""
        await self._place()
        return Link(await self._host.open(self.argv("link", directory), timeout_s=self._verb_s), self.node.name)

    async def stream(self, verb: str, *arguments: str) -> ByteChannel:
        """Start a verb that speaks raw bytes both ways. Raises NodeUnreachable."""
        await self._place()
        return await self._host.stream(self.argv(verb, *arguments), timeout_s=self._verb_s)

    async def attach(self, verb: str, *arguments: str, stdin: int, stdout: int) -> Attached:
        """Start a verb whose streams are descriptors of ours; what it says is on its stderr. Raises NodeUnreachable."""
        await self._place()
        return await self._host.attach(self.argv(verb, *arguments), stdin=stdin, stdout=stdout)

    @contextlib.asynccontextmanager
    async def answering(self, verb: str, *arguments: str, said: bytes | None = None) -> AsyncIterator[Any]:
        """The document of a verb that then waits, and cleans up after itself when the block is left.

        `said` is a line that it reads first. Raises VerbFailed, NodeUnreachable.
        """
        await self._place()
        channel = await self._host.open(self.argv(verb, *arguments), timeout_s=self._verb_s)
        try:
            if said is not None:
                await channel.send(said)
            yield self._answer(verb, Completed(0, await self._first_line(verb, channel), b""))
        finally:
            await channel.close()

    async def _first_line(self, verb: str, channel: LineChannel) -> bytes:
        try:
            async with asyncio.timeout(self._verb_s):
                return await anext(aiter(channel.lines()), b"")
        except TimeoutError as error:
            raise NodeUnreachable(f"{self.node.name}: launcher {verb} did not answer in time") from error

    async def telling(self, verb: str, *arguments: str, said: bytes, quiet_s: float) -> AsyncGenerator[Any]:
        """The documents of a verb that tells how it gets on, as they come. `said`: all of its input.

        Raises:
            VerbFailed: it says no.
            NodeUnreachable: no connection, or nothing was heard for `quiet_s`.
        """
        await self._place()
        channel = await self._host.open(self.argv(verb, *arguments), timeout_s=self._verb_s)
        try:
            await channel.send(said)
            lines = aiter(channel.lines())
            while True:
                async with asyncio.timeout(quiet_s):
                    line = await anext(lines, None)
                if line is None:
                    return
                yield self._answer(verb, Completed(0, line, b""))
        except TimeoutError as error:
            raise NodeUnreachable(f"{self.node.name}: launcher {verb} said nothing for {quiet_s:g} s") from error
        finally:
            await channel.close()

    async def log(self, directory: str, *, offset: int, follow: bool, stream: int = 1) -> AsyncIterator[bytes]:
        """An attempt's output from byte `offset` on, byte for byte, as it comes. `stream`: 1 output, 2 errors.

        Raises: VerbFailed (it has none), NodeUnreachable.
        """
        await self.verb("status", directory)
        options = ("--packed", "--offset", str(offset), "--stream", str(stream), *(("--follow",) if follow else ()))
        channel = await self._host.open(self.argv("log", directory, *options), timeout_s=self._verb_s)
        try:
            async for line in channel.lines():
                yield base64.b64decode(self._piece(line), validate=True)
        finally:
            await channel.close()

    def _piece(self, line: bytes) -> bytes:
        """A line of the log's; else its launcher has said why there is none. Raises VerbFailed."""
        if line.startswith(b"{"):
            self._answer("log", Completed(1, line, b""))
        return line

    async def _place(self) -> None:
        async with self._placing:
            if self._placed:
                return
            completed = await self._host.run(
                (self.node.python, "-I", "-c", _PLACE_PROGRAM, self._path), stdin=self._package, timeout_s=self._verb_s
            )
            if completed.returncode != 0:
                raise NodeUnreachable(
                    f"{self.node.name}: the launcher cannot be placed at {self._path}: {_last_line(completed.stderr)}"
                )
            self._placed = True

    def forget(self) -> None:
        """The node may have been replaced: place the launcher again before its next use."""
        self._placed = False

    def _answer(self, verb: str, completed: Completed) -> Any:
        try:
            answer = json.loads(completed.stdout)
        except ValueError:
            self.forget()
            raise NodeUnreachable(
                f"{self.node.name}: launcher {verb} ended with {completed.returncode} and no answer: "
                f"{_last_line(completed.stderr)}"
            ) from None
        if isinstance(answer, dict) and "error" in answer:
            raise VerbFailed(str(answer["error"]), str(answer.get("detail", "")))
        return answer


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"
