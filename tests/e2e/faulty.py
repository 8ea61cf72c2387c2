"""One move under one fault: begun, hit, judged by the witness, and told in a table."""

import time
from dataclasses import dataclass, field
from typing import Any

import outside
from _testbed import leftovers
from controlled import Controlled

from offloader.errors import Refused
from offloader.model import Reason

HEAD = "gpu-master"
AT_ONCE_S = 60  # safety.md: one copy again within 60 s of any fault
SHORT_GAP_S = 0.075
"""A cancelled hand-off freezes for little more than a period; a shorter gap only makes more intervals to compare."""
FULL = (Reason.TARGET_BUSY, Reason.TARGET_FULL, Reason.TARGET_UNKNOWN)
COLUMNS = ("fault", "hit in state", "outcome", "on", "one copy after")


@dataclass
class Table:
    """What the tests of this file measured."""

    rows: list[tuple[str, ...]] = field(default_factory=list)

    def lines(self) -> list[str]:
        rows = [COLUMNS, *self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


class Faulty:
    """One move under one fault."""

    def __init__(self, controlled: Controlled, table: Table) -> None:
        self.controlled = controlled
        self.bed = controlled.bed
        self.settings = controlled.settings
        self._table = table

    def begin(self, load: str, target: str = "gpu1", **options: object) -> str:
        """Start a load on the head and its move; returns the move's id at once."""
        started = self.bed.start_load(HEAD, load, **{"cpu": 0.05, **options})
        return self.move(started.pid, target)

    def move(self, pid: int, target: str) -> str:
        """Start a move; returns its id at once. A load that was just started looks larger than it is: waited out."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return str(outside.ask(self.settings, lambda client: client.move(pid, target=target))["id"])
            except Refused as refused:
                if refused.reason not in FULL or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def status(self) -> dict[str, Any]:
        """What the controller says about everything."""
        return outside.ask(self.settings, lambda client: client.status())

    def ready(self) -> None:
        """Wait for data and offers of every node: only then can anything be placed."""

        def placeable() -> bool:
            status = self.status()
            return status["head"]["up"] and all(worker["offer"] is not None for worker in status["workers"])

        self.bed.wait_for(placeable, 60, "data and offers of every node")

    def reach(self, move: str, state: str) -> float:
        """Wait until the move is in that state; returns when (Unix time)."""
        outside.wait_for_state(self.settings, move, state)
        return time.time()

    def successor_runs(self, load: str, node: str) -> None:
        """Wait until the witness has heard of the copy at the target: between launched and proven."""

        def heard() -> bool:
            return node in [entry["node"] for entry in self.bed.witness_report(load)["chain"]]

        self.bed.wait_for(heard, 30, f"the copy of {load} on {node}")

    def ends(self, fault: str, move: str, load: str, *, at: float, hit: str, on: str) -> dict[str, Any]:
        """Wait for the end and judge it; returns the move."""
        outside.wait_for_end(self.settings, move)
        final = dict(outside.ask(self.settings, lambda client: client.show(move)))
        self.controlled.one_copy(load, on=on, gap=SHORT_GAP_S)
        seconds = outside.copy_again_after(self.settings, load, at)
        self._table.rows.append((fault, hit, final["state"], on, f"{seconds:.1f} s"))
        assert seconds < AT_ONCE_S
        if final["state"] == "done":  # capacity stays reserved until the moved load shows in the data, or ends
            outside.ask(self.settings, lambda client: client.cancel(move))
        return final

    def nothing_left(self) -> None:
        """Nothing frozen or stopped, no guard, no reservation of a move that is over."""
        self.bed.wait_for(lambda: not leftovers.frozen(self.settings), 10, "everything to be thawed")
        self.bed.wait_for(lambda: not self.guards(), 10, "the guards to end")
        self.bed.wait_for(lambda: not self.reserved(), 20, "the reservations to be released")

    def guards(self) -> dict[int, str]:
        """The guards that run on the head."""
        return leftovers.launchers(self.settings, self.settings.head, "guard")

    def reserved(self) -> dict[str, float]:
        """Cores that the ledger holds, by worker."""
        workers = self.status()["workers"]
        return {one["name"]: one["reserved"]["cores"] for one in workers if one["reserved"]["cores"]}
