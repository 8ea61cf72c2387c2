"""A training that saves its state now and then: moved by asking it, and taken up again when its worker dies."""

from pathlib import Path

import pytest

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.timeout(400)]

HEAD = "gpu-master"
PROGRAM = Path(__file__).resolve().parent / "live_programs/steps.py"
STEP_S, EVERY = 0.2, 10
DECLARED = {"GRID_OFFLOAD_CHECKPOINT_SIGNAL": "USR1", "GRID_OFFLOAD_CHECKPOINT_FILE": "steps.state"}


def steps(bed):
    """(number, when it was done, where), in the order in which they were done."""
    words = [line.split() for line in (bed.shared / "steps.log").read_text(encoding="ascii").splitlines()]
    return [(int(number), float(t), node) for number, t, node in words]


def test_less_than_a_step_is_lost_by_a_move_and_what_was_not_saved_by_a_dead_worker(controlled):
    bed = controlled.bed
    for kind in ("log", "state", "end"):
        (bed.shared / f"steps.{kind}").unlink(missing_ok=True)
    controlled.start(mode="observe")
    controlled.ready()
    argv = ("/usr/bin/python3", str(PROGRAM), "steps", str(bed.root))
    load = bed.start_program(HEAD, "steps", argv, environment=DECLARED)
    bed.wait_for(lambda: len(steps(bed)) > EVERY, 60, "some steps")

    (move,) = controlled.json("move", str(load.pid), "--strategy", "checkpoint", "-t", "gpu1")
    assert (move["state"], move["strategy"]) == ("done", "checkpoint")
    controlled.one_copy("steps", on="gpu1")
    seen = steps(bed)
    assert [number for number, _, _ in seen] == list(range(1, len(seen) + 1)), "a step was lost, or done twice"

    bed.wait_for(lambda: len(steps(bed)) > len(seen) + EVERY + EVERY // 2, 60, "more steps at gpu1")
    bed.kill("gpu1")
    before = steps(bed)
    last, saved = before[-1][0], int((bed.shared / "steps.state").read_text(encoding="ascii"))
    assert before[-1][2] == "gpu1"
    assert 0 <= last - saved <= EVERY
    bed.start("gpu1")  # its boot proves that nothing runs there any more
    bed.wait_for(lambda: steps(bed)[-1][2] != "gpu1", 120, "the training to go on elsewhere")
    controlled.one_copy("steps")
    after = steps(bed)[len(before) :]
    assert after[0][0] == saved + 1, "it did not go on from its last checkpoint"

    def told():
        losses = controlled.move(move["id"])["receipt"]["later_losses"]
        return losses if losses and losses[-1]["again_on"] else None

    (loss,) = bed.wait_for(told, 60, "the receipt to tell of the loss")
    assert (loss["node"], loss["since"], loss["again_on"]) == ("gpu1", "checkpoint", after[0][2])
    lost_s = (last - saved) * STEP_S
    assert lost_s - 1 <= loss["work_lost_s"]["value"] <= lost_s + 5, (loss, lost_s)
    (bed.shared / "steps.end").touch()
    bed.wait_for(lambda: controlled.move(move["id"])["job_state"] not in ("running", "unknown"), 60, "its end")
    assert controlled.move(move["id"])["exit_code"] == 11
