"""The successor, through its launcher on the target: placed, held, let go, proven, made owner, or confirmed dead."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Awaitable, Callable
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.model import Reason
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.failures import Stopped
from offloader.moves.link import Link, LinkLost
from offloader.moves.plan import Timings
from offloader.ports import Clock

__all__ = ["Successor"]


class Successor:
    """One attempt at its target. It may be asked again after any lost connection or restart of the controller."""

    def __init__(self, agent: Agent, job: str, epoch: int, timings: Timings, clock: Clock) -> None:
        self._agent = agent
        self._epoch = epoch
        self._timings = timings
        self._clock = clock
        self._link: Link | None = None
        self.directory = agent.attempt_dir(job, epoch)
        self.contact_until = 0.0
        """CLOCK_BOOTTIME until which a successor that we lost sight of may still run; 0: none was let go."""
        self.presumed_dead = False
        """Whether only its lease says that it is dead: its node has not answered."""

    async def place(self, capsule: bytes) -> None:
        """Make the attempt's directory. Raises VerbFailed(EXISTS | OLD_EPOCH), NodeUnreachable."""
        await self._agent.verb("place", self.directory, stdin=capsule)

    def entrypoint(self) -> tuple[str, ...]:
        """What the backend has to run."""
        opener = self._agent.node.opener
        if opener:
            # Which attempt is no argument: a rule for sudo that allows arguments would need patterns.
            task = posixpath.basename(self.directory)
            return ("/bin/sh", "-c", 'echo "$1" | exec /usr/bin/sudo --non-interactive "$2"', "sh", task, opener)
        return self._agent.argv("hold", self.directory)

    async def held(self, still_coming: Callable[[], Awaitable[str | None]]) -> None:
        """Wait until the launcher holds the capsule.

        Args:
            still_coming: asked now and then; a sentence means that the submission has ended without getting here.
        """
        deadline = self._clock.boottime() + self._timings.hold_s
        while self._clock.boottime() < deadline:
            with contextlib.suppress(LinkLost):
                state = await self._connect()
                if state == "held":
                    return
                raise Stopped(Reason.HOLD_TIMEOUT, f"the launcher is {state} instead of held")
            over = await still_coming()
            if over is not None:
                raise Stopped(Reason.SUBMIT_FAILED, over)
            await self._clock.sleep(self._timings.retry_s)
        raise Stopped(
            Reason.HOLD_TIMEOUT, f"no launcher came up on {self._agent.node.name} in {self._timings.hold_s:g} s"
        )

    async def go(
        self, settle_s: float, before_grant: Callable[[], Awaitable[None]], image: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Let it start, and answer its lease questions from now on; `before_grant` tells the guard first.

        `image`: of one that is restored, what the guard said of its dump; it takes as long as it may say.
        """

        async def grant(question: dict[str, Any]) -> None:
            await before_grant()
            # Before it is sent: a grant that is never confirmed may have arrived.
            self._still_running_for(self._timings.contact_s)
            await link.send({"do": "grant", "seq": question["seq"]})

        link = self._linked()
        link.on("lease?", grant)
        said = {"do": "go", "epoch": self._epoch, "settle_s": settle_s}
        limit_s = self._timings.launch_s
        if image is not None:
            said["image"] = image
            limit_s += float(image["limit_s"])
        await link.send(said)
        return self._unless_failed(await link.expect("launched", *_FAILED, timeout_s=limit_s))

    async def proven(self, settle_s: float) -> dict[str, Any]:
        """Wait for its proof of life.

        Raises: Stopped(NOT_PROVEN | what the launcher says), LinkLost: its questions ceased, so by now it has ended
            itself. However long it has to settle, the original does not stay frozen for a target out of reach.
        """
        limit = settle_s + self._timings.prove_extra_s
        deadline = self._clock.boottime() + limit
        while (now := self._clock.boottime()) < min(deadline, self.contact_until):
            with contextlib.suppress(TimeoutError):
                wait_s = min(deadline, self.contact_until) - now
                return self._unless_failed(await self._linked().expect("proven", *_FAILED, timeout_s=wait_s))
        if now < deadline:
            raise LinkLost(f"{self._agent.node.name}: nothing was heard of the successor for as long as its lease")
        raise Stopped(Reason.NOT_PROVEN, f"the successor was not proven alive within {limit:g} s")

    async def own(self) -> bool:
        """Pass ownership; asks until there is an answer, over new connections if need be.

        Returns: whether it owns. False: it had given up before, and is confirmed dead.
        Raises: LinkLost, NodeUnreachable, TimeoutError when this try brought no answer (ask again).
        """
        if self._link is None:
            answer = await self._reconnect_for_answer()
            if answer is not None:
                return answer
        link = self._linked()
        try:
            await link.send({"do": "own", "epoch": self._epoch})
            event = await link.expect("owned", "exited", "aborted", "failed", timeout_s=self._timings.own_s)
        except (LinkLost, TimeoutError):
            await self.leave()
            raise
        return event["event"] in ("owned", "exited")

    async def go_on(self) -> None:
        """The original has ended: let what was restored continue. Returns when it does, or has ended since.

        Raises: LinkLost, NodeUnreachable, TimeoutError when this try brought no answer (ask again).
        """
        if self._link is None:
            try:
                state = await self._connect()
            except LinkLost:
                await self._fence()  # raises while its launcher lives; one that has ended is custody's to find
                return
            if state == "exited":
                return
        link = self._linked()
        try:
            await link.send({"do": "cont", "epoch": self._epoch})
            await link.expect("continued", "exited", timeout_s=self._timings.own_s)
        except (LinkLost, TimeoutError):
            await self.leave()
            raise

    async def confirm_dead(self) -> bool:
        """Make sure that nothing runs, and never will, for this attempt.

        Returns: True when dead. False: it owns the work, so there is nothing to roll back to.
        """
        self.presumed_dead = False
        while True:
            try:
                return await self._try_to_end()
            except (LinkLost, NodeUnreachable, VerbFailed, TimeoutError):
                await self.leave()
                if self._clock.boottime() >= self.contact_until:
                    self.presumed_dead = True  # its lease has run out: it has killed itself (Hand-off 6)
                    return True
                await self._clock.sleep(self._timings.retry_s)

    async def leave(self) -> None:
        """Drop the connection and nothing else."""
        if self._link is not None:
            await self._link.close()
            self._link = None

    def may_have_been_let_go(self) -> None:
        """After a restart of the controller: the last grant was given at the latest now."""
        self._still_running_for(self._timings.contact_s)

    def _still_running_for(self, seconds: float) -> None:
        self.contact_until = max(self.contact_until, self._clock.boottime() + seconds)

    async def _try_to_end(self) -> bool:
        try:
            if (await self._agent.verb("revoke", self.directory)).get("revoked"):
                return True
        except VerbFailed as error:
            raise NodeUnreachable(str(error)) from error
        if self._link is not None:
            with contextlib.suppress(LinkLost):
                return await self._abort(self._link)
        try:
            await self._connect()
        except LinkLost:
            return await self._fence()
        return await self._abort(self._linked())

    async def _abort(self, link: Link) -> bool:
        await link.send({"do": "abort", "epoch": self._epoch})
        event = await link.expect("aborted", "failed", "owned", "exited", timeout_s=self._timings.own_s)
        return event["event"] in ("aborted", "failed")

    async def _fence(self) -> bool:
        """Nothing listens: the launcher has ended. What it wrote last says whether it owned."""
        status = await self._agent.verb("status", self.directory)
        if status.get("launcher_alive"):
            raise LinkLost(f"{self._agent.node.name}: the launcher lives but does not answer")
        if status.get("state") in ("owned", "exited"):
            return False
        if not (await self._agent.verb("fence", self.directory)).get("dead"):
            self._still_running_for(self._timings.contact_s)  # without its launcher no lease ends it
            raise LinkLost(f"{self._agent.node.name}: something of the successor survives being killed")
        return True

    async def _reconnect_for_answer(self) -> bool | None:
        try:
            state = await self._connect()
        except LinkLost:
            return not await self._fence()
        match state:
            case "owned" | "exited":
                return True
            case "aborted" | "failed":
                return False
            case _:
                return None

    async def _connect(self) -> str:
        await self.leave()
        link = await self._agent.link(self.directory)
        try:
            hello = await link.expect("hello", timeout_s=self._timings.verb_s)
        except (LinkLost, TimeoutError):
            await link.close()
            raise
        self._link = link
        return str(hello.get("state"))

    def _linked(self) -> Link:
        if self._link is None:
            raise LinkLost(f"{self._agent.node.name}: not connected to the launcher")
        return self._link

    def _unless_failed(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["event"] not in _FAILED:
            return event
        code = str(event.get("reason", ""))
        reason = Reason(code) if code in Reason.__members__ else Reason.LAUNCH_FAILED
        raise Stopped(reason, str(event.get("detail") or f"the launcher says {event['event']}"))


_FAILED = ("failed", "aborted")
