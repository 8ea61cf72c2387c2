"""After a move is done: its worker dies, is cut off, is booted again. One copy at most, judged by the witness."""

import time
from typing import Any

import pytest
from faulty import HEAD, Faulty, Table

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.timeout(400)]

SAFE = {"GRID_OFFLOAD": "allow"}
SILENT_S = 20


@pytest.fixture
def cared(controlled):
    """A controller that is up, with nodes that are."""
    controlled.start()
    made = Faulty(controlled, Table())
    made.ready()
    return made


def moved(cared, load: str, target: str, **options: Any) -> str:
    """A load that was moved and runs at its target."""
    move = cared.begin(load, target, **options)
    final = cared.controlled.final(move)
    assert final["state"] == "done", final
    cared.controlled.one_copy(load, on=target)
    return move


def attempts(cared, move: str) -> list[tuple[str, str]]:
    return [(one["node"], one["state"]) for one in cared.controlled.move(move)["attempts"]]


def test_a_job_whose_worker_loses_ray_runs_again_on_the_other_one(cared):
    """The launcher dies with its raylet; what is left there is killed first, then the job starts elsewhere."""
    bed, controlled = cared.bed, cared.controlled
    move = moved(cared, "orphaned", "gpu1", environment=SAFE)
    bed.run("ray", "kill-raylet", "gpu1")
    bed.wait_for(lambda: bed.running("orphaned") == ["gpu2"], 60, "the job to run on gpu2")
    controlled.one_copy("orphaned", on="gpu2")
    nodes = [entry["node"] for entry in bed.witness_report("orphaned")["chain"]]
    assert nodes == [HEAD, "gpu1", "gpu2"]
    bed.wait_for(lambda: attempts(cared, move)[-1] == ("gpu2", "running"), 20, "the journal to know")
    controlled.ok("cancel", move)
    bed.wait_for(lambda: controlled.move(move)["job_state"] == "cancelled", 30, "its owner's cancel")
    bed.wait_for(lambda: not cared.reserved(), 20, "the reservation to be released")


def test_a_worker_that_is_silent_keeps_its_job_until_a_boot_proves_it_dead(cared):
    """Cut off, it runs on, and nothing is started for it; dead and booted again, it runs on the other worker."""
    bed, controlled = cared.bed, cared.controlled
    move = moved(cared, "silent", "gpu2", environment=SAFE)
    bed.partition("gpu2")
    deadline = time.monotonic() + SILENT_S
    while time.monotonic() < deadline:
        assert bed.running("silent") == ["gpu2"]
        time.sleep(1)
    bed.heal("gpu2")
    controlled.one_copy("silent", on="gpu2")
    assert len(bed.witness_report("silent")["chain"]) == 2
    bed.kill("gpu2")
    deadline = time.monotonic() + SILENT_S
    while time.monotonic() < deadline:
        assert len(bed.witness_report("silent")["chain"]) == 2
        time.sleep(1)
    bed.start("gpu2")
    bed.wait_for(lambda: bed.running("silent") != [], 90, "the job to run again")
    controlled.one_copy("silent", on="gpu1")
    bed.wait_for(lambda: attempts(cared, move)[-1] == ("gpu1", "running"), 20, "the new attempt to own the work")
    assert attempts(cared, move)[1] == ("gpu2", "ended")
