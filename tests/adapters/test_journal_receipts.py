"""Receipts in the journal: written once, found again whole, refused when newer, forgotten with moves; old journals."""

import json
import sqlite3
from dataclasses import replace

import pytest
import receipts

from offloader.adapters.journal import Journal, open_read_only, reading
from offloader.adapters.journal.schema import APPLICATION_ID, STEPS
from offloader.errors import JournalError
from offloader.jobs.events import Event, EventKind
from offloader.jobs.receipt_json import decided_document
from offloader.jobs.store import DECIDED
from offloader.jobs.transitions import ORDER
from offloader.model import Figure, Job, JobState, MoveState, Reading, Reason, Resource

T = receipts.T
JOB = Job("01J", "anna", 1000, "train.py", T - 600, restart_safe=True)
EVENT = Event(T + 60, EventKind.MOVE, "offload_1700000000_42", "what it cost", data={"n": 1})


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "state", spare_bytes=1 << 16) as journal:
        yield journal


def over(journal: Journal, number: int = 42, state: MoveState = MoveState.DONE, *, kept: bool = True):
    """A move that is over, of a process of that number; `kept`: what was known at its decision is."""
    who = replace(receipts.move().identity, pid=number)
    move = receipts.move(
        MoveState.PLANNED, id=f"offload_1700000000_{number}", job=f"J{number}", identity=who, created_t=T + number
    )
    journal.create(replace(JOB, id=move.job), [receipts.attempt(0, job=move.job)], move)
    if kept:
        journal.set_fact(move.id, DECIDED, decided_document(receipts.decided()))
    way = ORDER[1:] if state is MoveState.DONE else (MoveState.ROLLING_BACK, state)
    for step in way:
        move = journal.transition(move.id, step, t=T + 100)
    return move


def test_a_receipt_is_there_again_whole_and_its_event_with_it(journal, tmp_path):
    unknown = receipts.pressures(readings={Resource.GPU: Reading("head", None, None, Reason.DOWN, "no answer")})
    changed = ({}, {"after": None, "rule": None, "bytes_moved": Figure(None, "?")}, {"after": unknown})
    for number, changes in enumerate(changed):
        made = receipts.receipt(move=f"m{number}", t=T + number, **changes)
        assert journal.add_receipt(made, EVENT)
        assert journal.receipt(f"m{number}") == made
    assert [one.move for one in journal.receipts()] == ["m2", "m1", "m0"]
    assert [one.move for one in journal.receipts(limit=1)] == ["m2"]
    assert [event.message for event in journal.events()] == ["what it cost"] * 3
    assert journal.receipt("m9") is None
    with open_read_only(tmp_path / "state") as reader:
        assert len(reader.receipts()) == 3


def test_it_is_written_once_and_a_second_one_changes_nothing_and_tells_nobody(journal):
    first = receipts.receipt()
    assert journal.add_receipt(first, EVENT)
    assert not journal.add_receipt(receipts.receipt(downtime_s=Figure(99.0)), EVENT)
    assert journal.receipt(first.move) == first
    assert len(journal.events()) == 1


def test_moves_that_wait_for_their_receipt_are_over_and_were_decided_by_a_version_that_writes_them(journal):
    waiting = [over(journal, 1), over(journal, 2, MoveState.ROLLED_BACK)]
    over(journal, 3, kept=False)
    written = over(journal, 4)
    journal.add_receipt(receipts.receipt(move=written.id), EVENT)
    under_way = receipts.move(MoveState.PLANNED, id="offload_1700000000_5", job="J5")
    journal.create(replace(JOB, id="J5"), [], under_way)
    journal.set_fact(under_way.id, DECIDED, decided_document(receipts.decided()))
    assert [one.id for one in journal.without_receipt()] == [one.id for one in waiting]
    assert journal.fact(written.id, DECIDED) is None, "it is a part of the receipt now"


def test_what_waits_is_found_without_looking_through_all_that_is_kept(journal):
    plan = journal._connection.execute(f"EXPLAIN QUERY PLAN {reading._WITHOUT_RECEIPT}").fetchall()
    assert any("facts_decided" in row["detail"] for row in plan), [row["detail"] for row in plan]


def test_a_receipt_of_a_newer_version_is_refused_and_named(journal, tmp_path):
    move = over(journal)
    journal.add_receipt(receipts.receipt(move=move.id), EVENT)
    with sqlite3.connect(tmp_path / "state/journal.db") as connection:
        connection.execute("UPDATE receipts SET version = 9")
    connection.close()
    for asked in (lambda: journal.receipt(move.id), journal.receipts):
        with pytest.raises(JournalError, match=rf"{move.id} was written by a newer grid-offloader \(receipt version 9"):
            asked()
    assert journal.without_receipt() == ()  # it is there: nothing is written over it


@pytest.mark.parametrize("damage", ["{}", '{"move": 1}', "[]"])
def test_what_is_no_receipt_is_said(journal, tmp_path, damage):
    journal.add_receipt(receipts.receipt(), EVENT)
    with sqlite3.connect(tmp_path / "state/journal.db") as connection:
        connection.execute("UPDATE receipts SET document = ?", (damage,))
    connection.close()
    with pytest.raises(JournalError, match="a receipt in the journal cannot be read"):
        journal.receipt(receipts.receipt().move)


def test_receipts_go_with_the_moves_that_they_are_of(journal):
    old, kept = over(journal, 1), over(journal, 2)
    for move in (old, kept):
        journal.add_receipt(receipts.receipt(move=move.id), EVENT)
    job = journal.job(old.job)
    journal.save_job(replace(job, state=JobState.SUCCEEDED))
    assert journal.prune(T + 1000) == (old.job,)
    assert [one.move for one in journal.receipts()] == [kept.id]


def test_what_strategies_report_of_a_move_and_from_where_an_attempt_went_on_is_kept(journal):
    journal.create(JOB, [receipts.attempt(1, resumed_t=T + 3)], receipts.move(MoveState.PLANNED))
    move = journal.transition(receipts.move().id, MoveState.PREFLIGHTED, t=T + 1, bytes_moved=1 << 40, work_lost_s=2.5)
    assert journal.move(move.id) == move
    assert (move.bytes_moved, move.work_lost_s) == (1 << 40, 2.5)
    assert journal.attempts("01J")[0].resumed_t == T + 3


def test_moves_of_a_job_come_in_the_order_in_which_they_were_made(journal):
    first = over(journal, 1)
    second = replace(first, id="offload_1700000200_1", from_epoch=1, to_epoch=2, state=MoveState.PLANNED)
    journal.create(journal.job(first.job), [], second)
    over(journal, 2)
    assert [one.id for one in journal.moves_of_job(first.job)] == [first.id, second.id]


# Journals of versions before this

OLD_MOVE = {
    "id": "offload_1_42", "job": "01J", "from_epoch": 0, "to_epoch": 1, "boot_id": "boot", "pid": 42,
    "start_ticks": 777, "uid": 1000, "exe_dev": 5, "exe_inode": 6, "source": "head", "target": "gpu1",
    "strategy": "restart", "backend": "ray", "state": "planned", "requested_by": 1000, "automatic": 1, "rule": "g/cpu",
    "created_t": 2.0, "updated_t": 2.0, "submission_id": None, "reason": None, "detail": "", "downtime_s": None,
    "final": 0,
}  # fmt: skip
OLD_ATTEMPT = {
    "job": "01J", "epoch": 0, "node": "head", "backend": "local", "submission_id": None, "pid": 42, "state": "running",
    "started_t": 1.5, "ended_t": None, "exit_code": None, "signal": None,
}  # fmt: skip
OLD_JOB = {
    "id": "01J", "user": "anna", "uid": 1000, "name": "train.py", "created_t": 1.5, "state": "running",
    "exit_code": None, "signal": None, "restart_safe": 1,
}  # fmt: skip


def old_journal(file, version: int) -> None:
    """As that version would have left it, with a move under way."""
    connection = sqlite3.connect(file)
    for statement in (one for step in STEPS[:version] for one in step):
        connection.execute(statement)
    for table, row in (("jobs", OLD_JOB), ("attempts", OLD_ATTEMPT), ("moves", OLD_MOVE)):
        marks = ", ".join(f":{name}" for name in row)
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", row)
    connection.execute("INSERT INTO facts VALUES ('offload_1_42', 'origin', ?)", (json.dumps({"name": "x"}),))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("version", range(1, len(STEPS)))
def test_a_journal_of_any_version_before_opens_and_its_move_goes_on(tmp_path, version):
    old_journal(tmp_path / "journal.db", version)
    with pytest.raises(JournalError, match="of an older version: start the controller once"):
        open_read_only(tmp_path)
    with Journal(tmp_path) as journal:
        [move] = journal.moves(active=True)
        assert (move.id, move.rule, move.bytes_moved, move.work_lost_s) == ("offload_1_42", "g/cpu", None, None)
        assert journal.attempts("01J")[0].resumed_t is None
        assert [job.id for job in journal.followed_jobs()] == ["01J"]
        assert journal.fact(move.id, "origin") == {"name": "x"}
        for state in ORDER[1:]:
            move = journal.transition(move.id, state, t=3.0, bytes_moved=7)
        assert journal.move(move.id).bytes_moved == 7
        assert journal.without_receipt() == ()  # nothing was kept when it was decided: a receipt would be guessed
    with open_read_only(tmp_path) as reader:
        assert reader.move(move.id) == move
