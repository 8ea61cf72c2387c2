"""The test bed with everything that a move needs, and a controller whose moves can be stopped."""

import asyncio
import json
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from _testbed import bed, controller, leftovers, monitoring, ray_cluster, witness_report, work
from _testbed.errors import TestbedError
from _testbed.settings import Node, Settings
from _testbed.shell import wait_until

from _faults.stages import Stages
from _faults.ways import Way
from offloader.client import Client
from offloader.errors import OffloaderError, Refused
from offloader.model import Reason

__all__ = ["TARGET", "Rig"]

TARGET = "gpu1"
"""Where every move goes; the other worker stays whole."""

CORES = 0.02
NODE_CORES = 4.0
"""More than a node of the test bed usually has: several moves at once need room."""

READY_S = 90
ACCEPT_S = 60
TRANSIENT = (Reason.TARGET_BUSY, Reason.TARGET_FULL, Reason.TARGET_UNKNOWN, Reason.TARGET_DOWN)
# What people may configure, too: many moves at once, of loads that use next to nothing.
CHANGES = {
    "budgets": {
        **dict.fromkeys(("in_flight_per_node", "in_flight_per_user", "in_flight"), 40),
        "per_hour": 100000,
        "failures_to_quarantine": 1000,
    },
    "sharing": {
        "thresholds": {"cpu": {"max_used": 0.95, "min_free": 0.01}, "memory": {"max_used": 0.95, "min_free": "1MB"}}
    },
}
TERMINAL = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})

Answer = TypeVar("Answer")
Document = dict[str, Any]


class Rig:
    """Everything a cell acts on."""

    def __init__(self, settings: Settings, way: Way) -> None:
        """Args: settings: of the test bed; its nodes get more room. way: how the moves go."""
        self.settings = replace(settings, cpu=NODE_CORES)
        self.way = way
        self.stages = Stages(settings)
        self._seen_before = 0

    @property
    def head(self) -> Node:
        """The head node."""
        return self.settings.head

    @property
    def target(self) -> Node:
        """The node that every move goes to."""
        return self.settings.node(TARGET)

    def whole(self) -> None:
        """Bring up whatever is not up, the controller over its own journal; wait until something can be placed."""
        bed.up(self.settings)
        ray_cluster.up(self.settings, self.way.user)
        monitoring.up(self.settings)
        if not controller.running(self.settings):
            self.start_controller()
        wait_until(self._placeable, READY_S, "fresh data and offers of every worker")

    def take_over(self) -> None:
        """From a run whose Ray and controller were another account's."""
        access = ray_cluster.access(self.settings)
        if access is not None and access.user != self.way.user:
            controller.stop(self.settings)
            ray_cluster.down(self.settings)

    def start_controller(self) -> None:
        """Start it, with gates; nothing is held at first."""
        controller.configure(self.settings, mode="observe", changes=CHANGES)
        self.stages.create()
        program = (sys.executable, "-P", str(Path(__file__).with_name("serve.py")), str(self.stages.inside))
        controller.start(self.settings, program)

    def forget(self) -> None:
        """Start the controller again without its journal."""
        controller.stop(self.settings)
        shutil.rmtree(self.state_dir(), ignore_errors=True)
        self.start_controller()

    def state_dir(self) -> Path:
        """The controller's state directory, as the machine sees it."""
        return controller.outside(self.settings, self.settings.head) / "state"

    def ask(self, question: Callable[[Client], Coroutine[Any, Any, Answer]]) -> Answer | None:
        """Ask the controller; None while it does not answer."""
        try:
            return asyncio.run(question(Client(controller.socket(self.settings), timeout_s=10)))
        except Refused:
            raise
        except (OffloaderError, TimeoutError, OSError):
            return None

    def start_load(self, load: str, *, declared: bool) -> int:
        """Start an original. Its process id, as the head numbers it."""
        options = self.way.options(work.state_file(self.settings, load))
        environment = self.way.declares(declared=declared)
        return work.start_load(self.settings, load, cores=CORES, options=options, environment=environment)

    def begin(self, load: str, pid: int) -> Document:
        """Start a move to the target. A load that was just started looks larger than it is: waited out."""
        deadline = time.monotonic() + ACCEPT_S
        while time.monotonic() < deadline:
            try:
                move = self.ask(lambda client: client.move(pid, target=TARGET, strategy=self.way.name))
                if move is not None:
                    return move
                refused = "the controller does not answer"
            except Refused as error:
                if error.reason not in TRANSIENT:
                    raise TestbedError(f"{load} is not moved: {error}") from error
                refused = str(error)
            time.sleep(0.2)
        raise TestbedError(f"{load} is not moved: {refused}")

    def show(self, move_id: str) -> Document | None:
        """The move as the controller tells it; None while it does not."""
        return self.ask(lambda client: client.show(move_id))

    def status(self) -> Document | None:
        """The one status document; None while the controller does not answer."""
        return self.ask(lambda client: client.status())

    def reserved(self) -> dict[str, float]:
        """Cores that the ledger holds, by worker; a controller that does not answer holds them all."""
        status = self.status()
        if status is None:
            return {"?": 0.0}
        return {one["name"]: one["reserved"]["cores"] for one in status["workers"] if one["reserved"]["cores"]}

    def look_from_here(self) -> None:
        """What the witness saw before does not concern the moves to come."""
        self._seen_before = self._witness_log.stat().st_size if self._witness_log.exists() else 0

    def records(self, load: str) -> list[Document]:
        """What the witness has seen of a load."""
        return witness_report.read(self._witness_log, offset=self._seen_before, load=load)

    @property
    def _witness_log(self) -> Path:
        return self.settings.root / "witness/log.jsonl"

    def end_loads(self, loads: list[str]) -> None:
        """Every copy of these ends by itself."""
        for load in loads:
            work.end_file(self.settings, load).touch()

    def submissions(self) -> list[str]:
        """Ray jobs that are not over."""
        reach = ray_cluster.access(self.settings)
        assert reach is not None
        token = Path(reach.token_file).read_text(encoding="ascii").strip()
        request = urllib.request.Request(  # noqa: S310 - our own http address
            f"{reach.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {token}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                listed = json.load(answer)
        except (OSError, ValueError, urllib.error.URLError) as error:
            return [f"Ray does not answer: {error}"]
        return [f"{job['submission_id']} is {job['status']}" for job in listed if job["status"] not in TERMINAL]

    def outer_pid(self, pid: int) -> int | None:
        """A process of the head by the id that the head gives it, as the machine numbers it."""
        return leftovers.outer_pid(self.settings, self.head, pid)

    def _placeable(self) -> bool:
        status = self.status()
        if status is None or not status["head"]["up"]:
            return False
        return all(worker["offer"] is not None for worker in status["workers"])
