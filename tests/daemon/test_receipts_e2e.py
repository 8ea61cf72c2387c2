"""The controller as a real process writes the receipt of a move that its predecessor did not live to see."""

import json
import time
import urllib.request

import receipts

from offloader.adapters.journal import Journal, open_read_only
from offloader.jobs.receipt_json import decided_document
from offloader.jobs.store import DECIDED
from offloader.jobs.transitions import ORDER
from offloader.model import Job, MoveState


def committed(state_dir, seconds_ago: float):
    """A journal with one move that was done then."""
    t = time.time() - seconds_ago
    move = receipts.move(MoveState.PLANNED, source="head1", rule="test/cpu", created_t=t, updated_t=t)
    with Journal(state_dir, spare_bytes=1 << 16) as journal:
        job = Job(move.job, "anna", 1000, "train.py", t, restart_safe=True)
        journal.create(job, [receipts.attempt(0, started_t=t - 600)], move)
        journal.set_fact(move.id, DECIDED, decided_document(receipts.decided(before=receipts.pressures(t))))
        for state in ORDER[1:]:
            move = journal.transition(move.id, state, t=t, downtime_s=0.5)
    return move


def test_a_receipt_is_completed_after_a_restart(daemon, state_dir, prometheus):
    """Shown at once as far as it is known, then written, told, counted and given to people and programs."""
    prometheus.pressure["head1"]["cpu"] = 0.35
    move = committed(state_dir, 60)
    daemon.start()
    daemon.until(lambda: daemon.json("status", move.id)["receipt"]["final"])
    receipt = daemon.json("status", move.id)["receipt"]
    cpu = receipt["pressure"]["resources"]["cpu"]
    assert (cpu["before"]["value"], cpu["after"]["value"], cpu["relieved"]) == (0.9, 0.35, 0.55)
    assert receipt["rule"]["after"]["value"] == 0.35
    assert receipt["downtime_s"]["value"] == 0.5
    assert abs(receipt["pressure"]["after_t"] - (move.created_t + 30 + 1)) < 0.001
    said = daemon.run("status", move.id)
    assert said.returncode == 0
    assert "cpu           90 % -> 35 %, down 55 points" in said.stdout
    listen = daemon.json("config", "show")["controller"]["listen"]
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert 'grid_offloader_move_work_lost_seconds_count{strategy="restart"} 1.0' in metrics
    daemon.kill()
    with open_read_only(state_dir) as reader:
        told = [event for event in reader.events() if "receipt" in event.data]
        assert [event.subject for event in told] == [move.id]
        assert told[0].data["receipt"]["final"]
        assert reader.without_receipt() == ()


def test_one_of_a_newer_version_is_refused_and_the_controller_goes_on(daemon, state_dir):
    move = committed(state_dir, 60)
    with Journal(state_dir, spare_bytes=1 << 16) as journal:
        journal._connection.execute(
            "INSERT INTO receipts VALUES (?, ?, 99, ?)", (move.id, move.created_t, json.dumps({"move": move.id}))
        )
    daemon.start()
    done = daemon.run("status", move.id)
    assert done.returncode == 8
    assert "was written by a newer grid-offloader (receipt version 99" in done.stderr
    assert daemon.status()["running"]
    with open_read_only(state_dir) as reader:
        assert reader.move(move.id) == move
