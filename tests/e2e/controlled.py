"""The test bed with Ray, monitoring and a controller: what the end-to-end tests of moves work with."""

import json
import subprocess
import time
from typing import Any

from _testbed import controller, services
from _testbed.settings import Settings, load

FINAL = {"done", "rolled_back", "lost"}
REFUSED, TRANSIENT = 4, ("TARGET_BUSY", "TARGET_FULL", "TARGET_UNKNOWN")


class Controlled:
    """A running controller on the head. `bed` is the test bed's own object (loads, faults, witness)."""

    def __init__(self, bed: Any) -> None:
        self.bed = bed

    @property
    def settings(self) -> Settings:
        return load()

    def start(self, *, fresh: bool = True, **configuration: Any) -> None:
        """Start the controller, configured as `controller.configure` is asked; `fresh` forgets its journal."""
        if fresh:
            self.bed.exec("gpu-master", ["rm", "-rf", str(controller.inside(self.settings) / "state")])
        controller.configure(self.settings, **configuration)
        controller.start(self.settings)

    def restart(self) -> None:
        """Start it again over its own journal."""
        controller.start(self.settings)

    def kill(self) -> None:
        """kill -9."""
        controller.kill(self.settings)

    def stop(self) -> None:
        """TERM, and wait."""
        controller.stop(self.settings)

    def log(self) -> str:
        return services.log(self.settings, self.settings.head, controller.NAME).read_text(encoding="utf-8")

    def cli(self, *arguments: str, user: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """`grid-offloader ARGUMENTS` on the head."""
        return controller.run_cli(self.settings, list(arguments), user=user, timeout=timeout)

    def ok(self, *arguments: str, user: str = "", timeout: float = 120) -> str:
        """The same, and it must succeed; returns its standard output."""
        done = self.cli(*arguments, user=user, timeout=timeout)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    def json(self, *arguments: str, user: str = "") -> Any:
        return json.loads(self.ok(*arguments, "--format", "json", user=user))

    def status(self) -> dict[str, Any]:
        return dict(self.json("status"))

    def move(self, move_id: str) -> dict[str, Any]:
        return dict(self.json("status", move_id))

    def ready(self, seconds: float = 60) -> None:
        """Wait until every node's data is there: only then can anything be placed."""

        def fresh() -> bool:
            state = self.status()
            workers = [worker for worker in state["workers"] if worker["offer"] is not None]
            return state["head"]["up"] and len(workers) == len(state["workers"])

        self.bed.wait_for(fresh, seconds, "fresh data and offers of every worker")

    def start_move(self, pid: int, target: str | None = None) -> str:
        """Start a move by hand and return its id at once."""
        where = ("--target-node", target) if target else ()
        moves = self.json("move", str(pid), *where, "--detach")
        return str((moves[0] if isinstance(moves, list) else moves)["id"])

    def go_live(self, *command: str) -> dict[str, Any]:
        """One live move, which must succeed. Returns it. What was just started looks larger than it is: waited out."""

        def begun() -> str | None:
            done = self.cli(*command, "--format", "json", timeout=150)
            assert done.returncode in {0, REFUSED}, done.stderr
            assert done.returncode == 0 or any(reason in done.stderr for reason in TRANSIENT), done.stderr
            return done.stdout if done.returncode == 0 else None

        told = json.loads(self.bed.wait_for(begun, 60, f"room for {command}"))
        (move,) = told if isinstance(told, list) else (told,)  # `move` takes several processes
        assert (move["state"], move["strategy"]) == ("done", "live"), move
        return dict(move)

    def reached(self, move_id: str, state: str, seconds: float = 90) -> dict[str, Any]:
        """Wait until the move has been in that state; fails at once when it ended without."""
        deadline = time.monotonic() + seconds
        while True:
            move = self.move(move_id)
            if state in [step["event"] for step in move["timeline"]]:
                return move
            assert move["state"] not in FINAL, f"it ended {move['state']} before {state}: {move['detail']}"
            assert time.monotonic() < deadline, f"{state} not within {seconds} s: {move['state']}"
            time.sleep(0.05)

    def final(self, move_id: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until the move is over; a controller that is just down is waited for."""
        deadline = time.monotonic() + seconds
        while True:
            done = self.cli("status", move_id, "--format", "json")
            if done.returncode == 0 and (move := json.loads(done.stdout))["state"] in FINAL:
                return dict(move)
            assert time.monotonic() < deadline, f"not over within {seconds} s: {done.stdout[-1500:]}{done.stderr}"
            time.sleep(0.2)

    def one_copy(
        self, load: str, *, on: str | None = None, seconds: float = 60, gap: float | None = None
    ) -> dict[str, Any]:
        """The witness sees exactly one copy running, there, and never saw two at once. Returns its report.

        A sign of life that is late for a second shows nothing running: waited out.
        """

        def one() -> dict[str, Any] | None:
            report = dict(self.bed.witness_report(load, gap=gap))
            running = [entry["node"] for entry in report["chain"] if entry["running"]]
            return report if len(running) == 1 and running[0] == (on or running[0]) else None

        time.sleep(1.2)  # the witness calls a copy running for a second after its last sign of life
        report: dict[str, Any] = self.bed.wait_for(one, seconds, f"just one copy of {load}, on {on or 'any'}")
        assert report["overlaps"] == 0, report
        return report

    def nothing_left(self) -> None:
        """No reservation is held, and no process of the test bed is stopped or frozen."""
        for worker in self.status()["workers"]:
            assert worker["reserved"]["cores"] == 0, worker
