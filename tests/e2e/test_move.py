"""`grid-offloader move` on the test bed: what arrives at the target, and what is left at the source."""

import pytest

pytestmark = [pytest.mark.testbed, pytest.mark.ray]


@pytest.mark.timeout(300)
def test_a_move_by_hand_ends_with_the_work_at_the_target(controlled):
    controlled.start()
    controlled.ready()
    load = controlled.bed.start_load("gpu-master", "byhand", cpu=0.2)
    controlled.ok("move", str(load.pid), "--target-node", "gpu1")
    controlled.one_copy("byhand", on="gpu1")
    move = controlled.status()["moves_recent"][0]
    assert (move["state"], move["target"], move["job_state"]) == ("done", "gpu1", "running")
