"""Programs of one size, moved in every way in turn."""

import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from benchmarks.live_move.by_hand import Hands
from benchmarks.live_move.cluster import CRIU, SOURCE, TARGET, Cluster
from benchmarks.live_move.report import Plan
from benchmarks.live_move.summary import Measured, Stop
from benchmarks.live_move.ways import Way
from benchmarks.live_move.witnessed import stood_still_s
from benchmarks.output import Say

_IMAGES = "/dev/shm/by-hand"  # noqa: S108 - each node has its own, which goes with it


def measure(cluster: Cluster, mebibytes: int, plan: Plan, say: Say) -> Measured:
    """Raises CannotRunError, and what else Cluster raises."""
    began = time.monotonic()
    stops: dict[Way, list[Stop]] = {way: [] for way in Way}
    ways = list(Way)
    for number in range(plan.rounds):
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            stop = _one(cluster, way, f"m{mebibytes}-{number}-{way}", mebibytes, plan)
            say(f"{mebibytes} MiB, round {number + 1} of {plan.rounds}, {way}: {stop.stood_still_s:.3f} s")
            stops[way].append(stop)
    return Measured(mebibytes, time.monotonic() - began, stops)


def _one(cluster: Cluster, way: Way, name: str, mebibytes: int, plan: Plan) -> Stop:
    """One program, from its start to its end."""
    go = _ours if way is Way.OURS else _by_hand(Hands(str(CRIU), _IMAGES, TARGET, cluster.address), way)
    try:
        steps = go(cluster, cluster.start(name, mebibytes), plan.rest_s)
        cluster.arrived(name)
        return Stop(stood_still_s(cluster.records(name), SOURCE, TARGET), steps)
    finally:
        cluster.end(name)


_Go = Callable[[Cluster, int, float], dict[str, float]]


def _ours(cluster: Cluster, pid: int, rest_s: float) -> dict[str, float]:
    time.sleep(rest_s)
    return steps_s(cluster.move(pid))


def _by_hand(hands: Hands, way: Way) -> _Go:
    def go(cluster: Cluster, pid: int, rest_s: float) -> dict[str, float]:
        cluster.run(hands.prepare(way))
        try:
            time.sleep(rest_s)
            cluster.run(hands.steps(way, pid))
        finally:
            cluster.run(hands.tidy())
        return {}

    return go


def steps_s(move: Mapping[str, Any]) -> dict[str, float]:
    """Of a move that stopped something: seconds spent in each of its states, from *frozen* on."""
    steps = [(str(step["event"]), float(step["t"])) for step in move["timeline"]]
    names = [name for name, _ in steps]
    return {name: after - t for (name, t), (_, after) in pairwise(steps[names.index("frozen") :])}
