"""What happens, as Prometheus, the controller and the witness tell it, in one timeline of their own times."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _demo import prometheus
from offloader.client import Client

__all__ = ["ORDER", "Seen", "Watch", "in_order"]

ORDER = (
    "above_threshold",
    "pending",
    "firing",
    "decided",
    "held",
    "frozen",
    "launched",
    "proven",
    "committed",
    "below_relief",
)
"""A hand-off that went well, from pressure to relief."""

PRESSURE = 'grid:node_pressure:ratio{role="head",resource="cpu"}'
POLL_S = 0.25
_STEPS = {"held": "held", "frozen": "frozen", "go": "launched", "proven": "proven", "ended": "committed"}

Document = dict[str, Any]


@dataclass
class Seen:
    """What was seen until now. `timeline`: event → Unix time; the pressures are Prometheus' own samples."""

    timeline: dict[str, float] = field(default_factory=dict)
    move: Document | None = None
    before: prometheus.Point | None = None
    after: prometheus.Point | None = None
    highest: float = 0.0


class Watch:
    """Follows one rule from pressure to relief."""

    def __init__(self, socket: Path, url: str, tell: Callable[[float, str, str], None]) -> None:
        self.seen = Seen()
        self._client = Client(socket)
        self._url = url
        self._tell = tell
        self._last_event = 0

    async def enable(self, threshold: float) -> None:
        """Allow rules to act, as `grid-offloader auto --enable --threshold cpu=…` does."""
        await self._client.auto(enabled=True, mode="auto", thresholds={"cpu": threshold})

    async def calm(self, seconds: float) -> bool:
        """Wait until the rule is evaluated, false, and out of its initial cooldown."""
        return await self._until(self._is_calm, seconds)

    async def skip_past(self) -> None:
        """What was logged before does not belong to the story."""
        events = await self._client.events(limit=1000)
        self._last_event = max((event["id"] for event in events), default=0)

    async def to_relief(self, seconds: float) -> bool:
        """Follow until the pressure is below relief after a move. False: not within `seconds`."""
        return await self._until(self._looked, seconds)

    async def _until(self, condition: Callable[[], Any], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if await condition():
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def _is_calm(self) -> bool:
        status = await self._client.status()
        rules = status["rules"]
        return bool(rules) and all(rule["state"] == "inactive" and rule["truth"] == "false" for rule in rules)

    async def _looked(self) -> bool:
        """One look at everything; true once the story has come to its end."""
        status = await self._client.status()
        rule = status["rules"][0]
        point = await asyncio.to_thread(prometheus.newest, self._url, PRESSURE)
        if point is not None:
            self._pressure(point, rule["threshold"], rule["relief"])
        await self._events()
        await self._move(status)
        return "below_relief" in self.seen.timeline

    def _pressure(self, point: prometheus.Point, threshold: float, relief: float) -> None:
        self.seen.highest = max(self.seen.highest, point.value)
        if point.value > threshold and "above_threshold" not in self.seen.timeline:
            self._note("above_threshold", point.t, f"head CPU {point.value:.0%}, threshold {threshold:.0%}")
        if "frozen" not in self.seen.timeline and point.value > threshold:
            self.seen.before = point
        committed = self.seen.timeline.get("committed", math.inf)  # while it is frozen the head looks relieved, too
        if point.t >= committed and point.value < relief and "below_relief" not in self.seen.timeline:
            self.seen.after = point
            self._note("below_relief", point.t, f"head CPU {point.value:.0%}, relief {relief:.0%}")

    async def _events(self) -> None:
        for event in await self._client.events(after=self._last_event):
            self._last_event = event["id"]
            data = event["data"]
            if event["kind"] == "rule" and data.get("to") in ("pending", "firing"):
                self._note(data["to"], event["t"], f"rule {event['subject']}, value {data['value']:.0%}")
            if event["kind"] == "decision" and data.get("kind") == "move":
                self._note("decided", event["t"], event["message"])

    async def _move(self, status: Document) -> None:
        moves = [move for move in (*status["moves_in_flight"], *status["moves_recent"]) if move["automatic"]]
        if not moves:
            return
        move = await self._client.show(moves[0]["id"])
        self.seen.move = move
        for step in move["timeline"]:
            name = _STEPS.get(step["event"])
            if name is not None:
                self._note(name, step["t"], step["detail"])
            if step["event"] in ("rolled_back", "lost"):
                self._note(step["event"], step["t"], move["detail"])

    def _note(self, name: str, t: float, text: str) -> None:
        if name not in self.seen.timeline:
            self.seen.timeline[name] = t
            self._tell(t, name, text)


def in_order(timeline: dict[str, float]) -> bool:
    """Whether every event of a good hand-off happened, one after the other."""
    times = [timeline[name] for name in ORDER if name in timeline]
    return len(times) == len(ORDER) and times == sorted(times)
