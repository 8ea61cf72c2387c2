"""A really full disk: moves in flight end, new ones are refused, and it heals by itself."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import receipts

from offloader.adapters.journal import Journal, open_read_only
from offloader.errors import JournalError
from offloader.jobs.events import Event, EventKind
from offloader.jobs.transitions import ORDER
from offloader.model import Capacity, Identity, Job, Move, MoveState, Reason, Reservation, ReservationKind, StrategyName

pytestmark = pytest.mark.root
SPARE = 8 << 20
WHO = Identity("boot", 42, 777, 1000, 1, 2)
MOVE = Move(
    "offload_1_42", "01J", 0, 1, WHO, "h", "w", StrategyName.RESTART, "ray", MoveState.PLANNED, 0, True, None, 1.0, 1.0
)


@pytest.fixture
def disk(tmp_path):
    """A disk of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path) -> None:
    """Take every free block."""
    with (disk / "fill").open("ab", buffering=0) as file:
        for size in (1 << 16, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def start(journal: Journal, number: int) -> Move:
    move = replace(MOVE, id=f"offload_{number}_1", job=f"J{number}", identity=replace(WHO, pid=number))
    journal.create(Job(move.job, "u", 1000, "x", 1.0), [], move)
    return move


def finish(journal: Journal, move: Move) -> None:
    for state in ORDER[1:]:
        journal.transition(move.id, state, t=2.0, detail="d" * 200)
        journal.set_fact(move.id, "last", state)


def write_for_ever(journal: Journal) -> None:
    while True:
        journal.set_setting("engine", {"filler": "x" * 4000})


def test_moves_in_flight_end_and_new_ones_are_refused_until_there_is_room(disk):
    with Journal(disk / "state", spare_bytes=SPARE) as journal:
        moves = [start(journal, number) for number in range(5)]
        fill(disk)
        for move in moves:
            finish(journal, move)
        assert journal.degraded
        with pytest.raises(JournalError, match=r"no space left for .*: no new move until"):
            start(journal, 9)
        with pytest.raises(JournalError, match="no space left"):
            journal.reserve(Reservation("r", "w", Capacity(cores=1), "x", ReservationKind.MOVE, 1.0), Capacity(cores=2))
        assert journal.add_event(Event(1.0, EventKind.MOVE, "m", "text")) == 0
        assert journal.dropped_events == 1
        journal.set_setting("toggles", {"ceiling": "observe"})  # switching off must always work
        (disk / "fill").unlink()
        assert not journal.degraded
        start(journal, 9)
        assert journal.add_event(Event(1.0, EventKind.MOVE, "m", "text")) > 0
    with Journal(disk / "state", spare_bytes=SPARE) as journal:
        assert {journal.move(move.id).state for move in moves} == {MoveState.DONE}
        assert journal.setting("toggles") == {"ceiling": "observe"}


def test_moves_end_although_somebody_takes_every_block_that_gets_free(disk):
    stop = threading.Event()

    def greedy() -> None:
        with (disk / "fill").open("ab", buffering=0) as file:
            while not stop.is_set():
                try:
                    file.write(b"x" * 4096)
                except OSError:
                    stop.wait(0.0001)

    with Journal(disk / "state", spare_bytes=SPARE) as journal:
        moves = [start(journal, number) for number in range(5)]
        fill(disk)
        thread = threading.Thread(target=greedy)
        thread.start()
        try:
            for move in moves:
                finish(journal, move)
        finally:
            stop.set()
            thread.join()
        assert journal.degraded
        assert {journal.move(move.id).state for move in moves} == {MoveState.DONE}


def test_an_event_that_finds_the_disk_full_leaves_the_spare_space_to_the_moves(disk):
    with Journal(disk / "state", spare_bytes=SPARE) as journal:
        move = start(journal, 1)
        fill(disk)
        assert journal.add_event(Event(1.0, EventKind.MOVE, "m", "x" * 4000)) == 0
        assert journal.degraded
        assert (disk / "state/spare").stat().st_blocks * 512 == SPARE
        finish(journal, move)


def test_a_receipt_waits_for_room_and_leaves_the_spare_space_to_the_moves(disk):
    event = Event(1.0, EventKind.MOVE, "m", "what it cost")
    with Journal(disk / "state", spare_bytes=SPARE) as journal:
        move = start(journal, 1)
        fill(disk)
        for _ in range(2):
            with pytest.raises(JournalError, match=r"no space left for .*: no receipt until"):
                journal.add_receipt(receipts.receipt(move=move.id), event)
        assert (disk / "state/spare").stat().st_blocks * 512 == SPARE
        finish(journal, move)
        (disk / "fill").unlink()
        assert journal.add_receipt(receipts.receipt(move=move.id), event)
        assert journal.receipt(move.id).move == move.id


def test_a_log_that_is_used_up_is_extended_from_the_file_kept_back(disk):
    with Journal(disk / "state", spare_bytes=SPARE) as journal:
        moves = [start(journal, number) for number in range(5)]
        with open_read_only(disk / "state") as reader:
            reader._connection.execute("BEGIN")
            assert len(reader.moves()) == 5  # as long as it looks, the log can not begin again
            fill(disk)
            log = disk / "state/journal.db-wal"
            while (disk / "state/spare").exists():
                journal.set_setting("engine", {"filler": "x" * 4000})
            assert log.stat().st_size > SPARE
            for move in moves:
                journal.transition(move.id, MoveState.ROLLING_BACK, t=3.0, reason=Reason.JOURNAL_FAILED)
                journal.transition(move.id, MoveState.ROLLED_BACK, t=4.0)
            with pytest.raises(JournalError, match="no space left"):
                write_for_ever(journal)
        assert {journal.move(move.id).state for move in moves} == {MoveState.ROLLED_BACK}
        assert journal.setting("engine") == {"filler": "x" * 4000}


def test_a_controller_that_starts_on_a_full_disk_still_ends_what_was_in_flight(disk):
    with Journal(disk / "state", spare_bytes=SPARE) as journal:
        move = start(journal, 1)
    fill(disk)
    with Journal(disk / "state", spare_bytes=SPARE) as journal:
        journal.transition(move.id, MoveState.ROLLING_BACK, t=3.0, reason=Reason.CONTROLLER_RESTARTED)
        journal.transition(move.id, MoveState.ROLLED_BACK, t=4.0)
        assert journal.degraded
    with open_read_only(disk / "state") as reader:
        assert reader.move(move.id).state is MoveState.ROLLED_BACK


def test_a_disk_too_small_for_the_spare_space_accepts_no_move(disk):
    with Journal(disk / "state", spare_bytes=32 << 20) as journal:
        assert journal.degraded
        with pytest.raises(JournalError, match="no space left"):
            start(journal, 1)
        assert not (disk / "state/spare").exists()


def test_nothing_can_be_created_on_a_full_disk_and_that_is_said(disk):
    fill(disk)
    with pytest.raises(JournalError, match=r"no space left|cannot be used|cannot be opened"):
        Journal(disk / "state", spare_bytes=SPARE)
