"""Without a controller: the journal is read, the kill-switch is written."""

import json
import os
from pathlib import Path

import pytest

from offloader.adapters.journal.journal import Journal
from offloader.daemon.toggles import KILL_SWITCH_MARK
from offloader.model import Attempt, AttemptState, Identity, Job, Mode, Move, MoveState, StrategyName


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that a controller left behind with one move in flight."""
    folder = tmp_path / "state_dir"
    journal = Journal(folder, spare_bytes=1 << 16)
    journal.set_setting("toggles", {"ceiling": "approve", "thresholds": {"cpu": 0.75}})
    journal.set_setting("last_decision", {"kind": "refused", "rule": "g/r"})
    journal.set_setting("engine", {"rules": {"g/r": {"head1": {"phase": "firing", "phase_t": 5.0}}}})
    journal.set_setting("in_force", {"thresholds": {"cpu": 0.75, "memory": 0.7}, "rules": {"g/r": {"threshold": 0.75}}})
    job = Job("j", "alice", 1000, "train.py", 1.0)
    here = Attempt("j", 0, "head1", "local", None, 42, AttemptState.RUNNING, 1.0)
    move = Move(
        id="offload_1_42",
        job="j",
        from_epoch=0,
        to_epoch=1,
        identity=Identity("b", 42, 3, 1000, 0, 0),
        source="head1",
        target="gpu1",
        strategy=StrategyName.RESTART,
        backend="ray",
        state=MoveState.PLANNED,
        requested_by=0,
        automatic=True,
        rule="g/r",
        created_t=1.0,
        updated_t=1.0,
    )
    journal.create(job, (here,), move)
    journal.close()
    return folder


def test_status_is_read_from_the_journal(state, command) -> None:
    ran = command("auto", "--status", "--format", "json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert document["running"] is False
    assert (document["ceiling"], document["enabled"]) == (Mode.APPROVE, True)
    assert document["thresholds"] == {"cpu": 0.75, "memory": 0.7}
    assert [(rule["key"], rule["state"], rule["threshold"]) for rule in document["rules"]] == [("g/r", "firing", 0.75)]
    assert [move["id"] for move in document["moves_in_flight"]] == ["offload_1_42"]
    assert document["last_decision"] == {"kind": "refused", "rule": "g/r"}
    assert "no controller is running" in ran.err


def test_disable_writes_the_kill_switch_and_says_so(state, command) -> None:
    ran = command("auto", "--disable", "--format", "json")
    assert ran.code == 0
    assert json.loads(ran.out)["kill_switch"] is True
    text = (state / "disabled").read_text()
    assert text.startswith(KILL_SWITCH_MARK)
    assert f"uid {os.geteuid()}" in text
    assert str(state / "disabled") in ran.err


def test_disable_leaves_a_kill_switch_of_somebody_else_as_it_is(state, command) -> None:
    (state / "disabled").write_text("maintenance\n")
    assert command("auto", "--disable").code == 0
    assert (state / "disabled").read_text() == "maintenance\n"


def test_disable_works_where_no_controller_ever_ran(tmp_path, command) -> None:
    assert command("auto", "--disable").code == 0
    assert (tmp_path / "state_dir" / "disabled").exists()


def test_disable_that_cannot_be_written_is_an_error(tmp_path, command) -> None:
    (tmp_path / "state_dir").write_text("a file")
    ran = command("auto", "--disable")
    assert ran.code == 8
    assert "disabled" in ran.err


def test_status_where_no_controller_ever_ran_says_how_to_start_one(command) -> None:
    ran = command("auto", "--status")
    assert ran.code == 3
    assert "grid-offloader serve" in ran.err
