"""The original, through its guard: the only process that may freeze, thaw or end it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.model import Checkpointing, Completion, Identity, Move, Reason
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.failures import Stopped
from offloader.moves.link import Link, LinkLost
from offloader.moves.plan import Timings

__all__ = ["Guard"]

_BEAT_S = 3.0
_CONFIRM_S = 5.0
_NOT_HELD_BACK = frozenset({"armed", "saving", "thawed"})


class Guard:
    """One move's guard. Every method may be called again after a lost connection: the guard answers by its state."""

    def __init__(self, agent: Agent, move: Move, timings: Timings) -> None:
        self._agent = agent
        self._move = move
        self._timings = timings
        self._directory = agent.move_dir(move.id)
        self._link: Link | None = None
        self._beat: asyncio.Task[None] | None = None
        self._asked = 0
        self._heard: dict[int, asyncio.Future[str]] = {}
        self.state = "absent"
        self.completion = Completion()
        """How an original ended that was asked to save, as far as that is known."""

    async def arm(self, identities: Sequence[Identity]) -> None:
        """Start the guard for these processes. Raises Stopped(ORIGINAL_GONE | …), NodeUnreachable, VerbFailed."""
        config = {
            "move": self._move.id,
            "job": self._move.job,
            "epoch": self._move.to_epoch,
            "boot_id": self._move.identity.boot_id,
            "identities": [asdict(identity) for identity in identities],
        }
        await self._agent.verb("guard", self._directory, stdin=json.dumps(config).encode())
        await self._connect()

    async def adopt(self) -> bool:
        """Reach the guard again, starting it anew when it died. False: there never was one, so nothing is frozen."""
        try:
            await self._connect()
        except LinkLost:
            try:
                await self._agent.verb("guard", self._directory)
            except VerbFailed as error:
                if error.code == "NO_STATE":
                    return False
                if error.code != "LOCKED":
                    raise
            await self._connect()
        return True

    async def freeze(self) -> dict[str, Any]:
        """Stop the whole job; from here on the beat tells the guard that somebody is in charge."""
        event = await self._ask("freeze", "frozen", "failed", "gone", timeout_s=self._timings.freeze_s)
        if event["event"] == "gone":
            raise Stopped(Reason.ORIGINAL_GONE, "the process ended before it could be moved")
        if event["event"] == "failed":
            raise Stopped(_reason(event, Reason.FREEZE_FAILED), str(event.get("detail", "it could not be frozen")))
        self._beat = asyncio.create_task(self._beating(), name=f"guard of {self._move.id}")
        return event

    async def checkpoint(self, how: Checkpointing) -> str:
        """Ask the job to save its state and end; returns by what it showed that it did.

        Raises: Stopped(NO_CHECKPOINT): it was not asked. Stopped(NOT_SAVED): it has not saved, or not yet; from the
            moment it was asked somebody has to follow it (`ended`). Stopped(ORIGINAL_GONE): it ended by itself.
        """
        file = base64.b64encode(how.file).decode() if how.file is not None else None
        await self._linked().send({"do": "checkpoint", "signal": how.signal, "grace_s": how.grace_s, "file": file})
        limit_s = how.grace_s + self._timings.end_s
        event = await self._linked().expect("saved", "gone", "failed", timeout_s=limit_s)
        if event["event"] == "failed":
            raise Stopped(_reason(event, Reason.NOT_SAVED), str(event.get("detail", "it did not save its state")))
        self._over(event)
        if self.state == "gone":
            raise Stopped(Reason.ORIGINAL_GONE, f"it {_words(self.completion)} before it had saved its state")
        if event.get("how") == "failed":
            raise Stopped(Reason.NOT_SAVED, f"it {_words(self.completion)} instead of saving its state")
        return str(event.get("how", ""))

    async def ended(self, within_s: float) -> bool:
        """Whether an original that was asked to save has ended by then, in whatever way: see `state`, `completion`.

        Raises LinkLost.
        """
        if self.state not in ("saved", "gone"):
            try:
                self._over(await self._linked().expect("saved", "gone", timeout_s=within_s))
            except TimeoutError:
                return False
        return True

    async def record_files(self) -> int:
        """Remember the writable files of the frozen job, for the comparison of a roll-back."""
        event = await self._ask("record", "recorded", "failed", timeout_s=self._timings.save_s)
        if event["event"] == "failed":
            raise Stopped(Reason.FREEZE_FAILED, str(event.get("detail", "its files could not be recorded")))
        return int(event.get("files", 0))

    async def make_way(self) -> None:
        """Let whoever takes the memory of a dump connect. Raises Stopped(DUMP_FAILED), LinkLost."""
        event = await self._ask("pages", "listening", "failed", timeout_s=self._timings.verb_s)
        if event["event"] == "failed":
            raise Stopped(_reason(event, Reason.DUMP_FAILED), str(event.get("detail", "there is no way for an image")))

    async def dump(self, criu: str, *, tcp_close: bool) -> dict[str, Any]:
        """Copy the frozen job: its `tasks`, and the `options` by which its image is restored.

        Raises Stopped(DUMP_FAILED | …): it is frozen as before. LinkLost.
        """
        asked = {"criu": criu, "tcp_close": tcp_close, "limit_s": self._timings.copy_s}
        limit_s = self._timings.copy_s + self._timings.end_s
        event = await self._ask("dump", "dumped", "failed", timeout_s=limit_s, **asked)
        if event["event"] == "failed":
            raise Stopped(_reason(event, Reason.DUMP_FAILED), str(event.get("detail", "it could not be copied")))
        return event

    async def alive(self) -> None:
        """Contact: the original stays frozen for `contact_s` from now. Raises LinkLost."""
        await self._linked().send({"do": "alive", "for_s": self._timings.contact_s})

    async def still_frozen(self) -> None:
        """Contact that the guard has confirmed: before a lease is granted (a word on its way may be late or lost).

        Raises: LinkLost: no answer, or the original runs by now (a controller that slept, a line that hung).
        """
        self._asked += 1
        seq = self._asked
        heard = self._heard[seq] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_CONFIRM_S):
                await self._linked().send({"do": "alive", "for_s": self._timings.contact_s, "seq": seq})
                state = await heard
        except TimeoutError:
            raise LinkLost(f"{self._agent.node.name}: the guard does not answer") from None
        finally:
            del self._heard[seq]
        if state in _NOT_HELD_BACK:
            raise LinkLost(f"{self._agent.node.name}: the original is {state}: its guard had no contact for too long")

    async def hold(self) -> None:
        """Durably: stay frozen whatever happens to the controller, until told otherwise."""
        event = await self._ask("hold", "holding", "thawed", "gone", "failed", timeout_s=self._timings.own_s)
        if event["event"] != "holding":
            raise Stopped(Reason.WATCHDOG_LOST, f"the original was not frozen any more ({event['event']})")

    async def unhold(self) -> None:
        """The successor was proven not to own and dead: the ordinary watchdog rule holds again.

        Asked once more after a lost answer, the watchdog may have acted by that rule meanwhile: all its ends will do.
        """
        await self._ask("unhold", "frozen", "changed", "thawed", "gone", "saved", timeout_s=self._timings.own_s)

    async def thaw(self) -> tuple[str, ...]:
        """Let the original run again. Returns the files that changed meanwhile: not empty means it is still frozen.

        One that was asked to save is not held back: afterwards `state` is *saving* (it runs), *saved* or *gone*.
        """
        answers = ("thawed", "changed", "gone", "saving", "saved", "failed")
        event = await self._ask("thaw", *answers, timeout_s=self._timings.end_s)
        if event["event"] == "failed":
            raise Stopped(_reason(event, Reason.WATCHDOG_LOST), str(event.get("detail", "it could not be thawed")))
        await self._stop_beat()
        match event["event"]:
            case "changed":
                return tuple(str(name) for name in event.get("files", ())) or ("(unnamed)",)
            case "gone" | "saving" | "saved":
                self._over(event)
        return ()

    async def end(self) -> None:
        """Kill the frozen original, and wait until every pidfd says that it is gone."""
        event = await self._ask("end", "ended", "failed", timeout_s=self._timings.end_s)
        if event["event"] == "failed":
            raise Stopped(_reason(event, Reason.WATCHDOG_LOST), str(event.get("detail", "it could not be ended")))
        await self._stop_beat()

    async def quit(self) -> None:
        """Done with it. Never raises: a guard without work ends by itself."""
        await self._stop_beat()
        if self._link is not None:
            with contextlib.suppress(LinkLost):
                await self._link.send({"do": "quit"})
            await self._link.close()
            self._link = None

    async def leave(self) -> None:
        """Drop the connection and nothing else: the guard goes by its own rule."""
        await self._stop_beat()
        if self._link is not None:
            await self._link.close()
            self._link = None

    async def _connect(self) -> None:
        if self._link is not None:
            await self._link.close()
        self._link = await self._agent.link(self._directory)
        self._link.on("alive", self._hear)
        hello = await self._link.expect("hello", timeout_s=self._timings.verb_s)
        self._over({**hello, "event": hello.get("state", "armed")})

    def _over(self, event: dict[str, Any]) -> None:
        self.state = str(event["event"])
        self.completion = Completion(event.get("exit_code"), event.get("signal"))

    async def _hear(self, answer: dict[str, Any]) -> None:
        heard = self._heard.get(answer["seq"])
        if heard is not None and not heard.done():
            heard.set_result(str(answer["state"]))

    async def _ask(self, do: str, *answers: str, timeout_s: float, **fields: object) -> dict[str, Any]:
        await self._linked().send({"do": do, **fields})
        return await self._linked().expect(*answers, timeout_s=timeout_s)

    def _linked(self) -> Link:
        if self._link is None:
            raise LinkLost(f"{self._agent.node.name}: not connected to the guard")
        return self._link

    async def _beating(self) -> None:
        with contextlib.suppress(LinkLost, NodeUnreachable):
            while True:
                await self.alive()
                await asyncio.sleep(_BEAT_S)

    async def _stop_beat(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beat
            self._beat = None


def _reason(event: dict[str, Any], default: Reason) -> Reason:
    code = str(event.get("reason", ""))
    return Reason(code) if code in Reason.__members__ else default


def _words(completion: Completion) -> str:
    if completion.exit_code is not None:
        return f"ended with exit code {completion.exit_code}"
    return f"was ended by signal {completion.signal}" if completion.signal is not None else "ended"
