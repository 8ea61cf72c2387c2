"""From the witness's records to what happened: which copies of a load executed, where, when, and did two at once.

Pure functions over records; `read` is the only one that touches a file.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

PERIOD_S = 0.05
GAP_S = 4 * PERIOD_S
RUNNING_S = 1
FREEZE_AND_THAW = 3  # first copy, second copy, first copy again: a hand-off that was rolled back

Record = dict[str, Any]
Interval = tuple[float, float]


def read(log: Path, *, offset: int = 0, load: str = "") -> list[Record]:
    """The records in a log, in order of arrival; a line that is being written is left out.

    Args:
        log: the witness's.
        offset: where to begin, in bytes: an end of the file at an earlier time.
        load: only those of this one.
    """
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().split(b"\n")[:-1]
    mine = json.dumps(load).encode()
    records = (json.loads(line) for line in lines if not load or mine in line)
    return [record for record in records if not load or record["load"] == load]


def intervals(times: Sequence[float], gap: float = GAP_S) -> list[Interval]:
    """When a copy was executing: its signs of life, cut where none came for longer than `gap` (it was frozen)."""
    found: list[list[float]] = []
    for time in sorted(times):
        if found and time - found[-1][1] <= gap:
            found[-1][1] = time
        else:
            found.append([time, time])
    return [(first, last) for first, last in found]


def overlapped(one: Sequence[Interval], other: Sequence[Interval]) -> bool:
    """Whether two copies executed at once.

    They did if their intervals intersect. They also did if they took turns more often than a roll-back explains (one,
    other, one): on a starved machine signs of life come too rarely to form intervals, yet a copy that shows up again
    after the first one was thawed had not ended.
    """
    if any(a[0] <= b[1] and b[0] <= a[1] for a in one for b in other):
        return True
    order = sorted([(start, 0) for start, _ in one] + [(start, 1) for start, _ in other])
    turns = [who for who, _ in groupby(who for _, who in order)]
    return len(turns) > FREEZE_AND_THAW


def report(records: Iterable[Record], now: float, gap: float = GAP_S) -> dict[str, Any]:
    """What happened to one load.

    A copy is one start on one node: processes that were moved live keep their start id. `chain`: one entry per copy in
    order of its first sign of life; `overlaps`: pairs of copies that executed at once; `running`: the start id of each
    copy heard of within the last second before `now`.
    """
    copies: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        copies[record["start_id"], record["node"]].append(record)
    executed = {copy: intervals([record["t"] for record in seen], gap) for copy, seen in copies.items()}
    chain = sorted((_entry(seen, now) for seen in copies.values()), key=lambda entry: float(entry["first_t"]))
    return {
        "chain": chain,
        "overlaps": sum(overlapped(executed[one], executed[other]) for one, other in combinations(executed, 2)),
        "running": [entry["start_id"] for entry in chain if entry["running"]],
    }


def _entry(seen: Sequence[Record], now: float) -> dict[str, Any]:
    leader = [record["seq"] for record in seen if record["leader"]] or [0]
    last_t = max(record["t"] for record in seen)
    return {
        "node": seen[0]["node"],
        "start_id": seen[0]["start_id"],
        "first_t": min(record["t"] for record in seen),
        "last_t": last_t,
        "running": now - last_t <= RUNNING_S,
        "first_seq": min(leader),
        "last_seq": max(leader),
        "pids": sorted({record["pid"] for record in seen}),
    }


def reports(records: Iterable[Record], now: float, gap: float = GAP_S) -> dict[str, dict[str, Any]]:
    """`report` for every load by name."""
    loads: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        loads[record["load"]].append(record)
    return {name: report(seen, now, gap) for name, seen in loads.items()}
