"""The journal: what was acknowledged is there again, whatever happened in between."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from offloader.adapters.journal import Journal, open_read_only
from offloader.adapters.journal.schema import STEPS
from offloader.errors import JournalError, NotFound, Refused
from offloader.jobs.events import Event, EventKind
from offloader.jobs.transitions import ORDER, IllegalTransition
from offloader.model import (
    Attempt,
    AttemptState,
    Capacity,
    Completion,
    Identity,
    Job,
    JobState,
    Move,
    MoveState,
    Reason,
    Reservation,
    ReservationKind,
    StrategyName,
)

WHO = Identity("boot", 42, 777, 1000, 2**63 + 5, 2**64 - 1)
JOB = Job("01J", "anna", 1000, "train.py", 1.5, restart_safe=True)
ATTEMPT = Attempt("01J", 0, "head", "local", None, 42, AttemptState.RUNNING, 1.5)
MOVE = Move(
    "offload_1_42",
    "01J",
    0,
    1,
    WHO,
    "head",
    "gpu1",
    StrategyName.RESTART,
    "ray",
    MoveState.PLANNED,
    1000,
    True,
    "g/cpu",
    2.0,
    2.0,
)
OFFER = Capacity(4.0, 1 << 33)


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "state") as journal:
        yield journal


def advance(journal: Journal, move: Move, to: MoveState) -> Move:
    """Take a move along the order, or back."""
    back = {MoveState.ROLLED_BACK: MoveState.PLANNED, MoveState.LOST: MoveState.OWNING}.get(to)
    last = back or to
    for number, state in enumerate(ORDER[1 : ORDER.index(last) + 1], start=3):
        move = journal.transition(move.id, state, t=float(number))
    if back:
        journal.transition(move.id, MoveState.ROLLING_BACK, t=20.0)
    return journal.transition(move.id, to, t=21.0) if back else move


def other(number: int, **changes) -> tuple[Job, list[Attempt], Move]:
    """A job with its move, of another process."""
    job = replace(JOB, id=f"02J{number}", created_t=10.0 + number)
    move = replace(
        MOVE,
        id=f"offload_{number}_{number}",
        job=job.id,
        identity=replace(WHO, pid=1000 + number),
        created_t=10.0 + number,
        updated_t=10.0 + number,
    )
    return job, [replace(ATTEMPT, job=job.id)], replace(move, **changes)


# What goes in comes out


def test_everything_is_as_it_was_after_closing_and_opening_again(tmp_path):
    job = replace(JOB, state=JobState.FAILED, completion=Completion(None, 9))
    with Journal(tmp_path) as journal:
        journal.create(JOB, [ATTEMPT], MOVE)
        second = replace(ATTEMPT, epoch=1, node="gpu1", backend="ray", submission_id="raysubmit_1", pid=None)
        journal.save_attempt(second)
        journal.save_job(job)
        moved = journal.transition(
            MOVE.id, MoveState.PREFLIGHTED, t=3.0, detail="ok", submission_id="s", downtime_s=0.5
        )
        journal.set_fact(MOVE.id, "directories", {"hold": "/a b", "n": [1, None]})
        journal.set_setting("toggles", {"ceiling": "auto"})
        journal.reserve(
            Reservation("r", "gpu1", Capacity(1.5, 7, 1, 9), MOVE.id, ReservationKind.MOVE, 2.5),
            OFFER + OFFER + Capacity(gpus=1, gpu_memory_bytes=9),
        )
        number = journal.add_event(Event(4.0, EventKind.MOVE, MOVE.id, "töst", Reason.CEILING, {"value": 0.93}))
    with Journal(tmp_path) as journal:
        assert journal.job("01J") == job
        assert journal.attempts("01J") == (ATTEMPT, second)
        assert (
            journal.move(MOVE.id)
            == moved
            == replace(MOVE, state=MoveState.PREFLIGHTED, updated_t=3.0, detail="ok", submission_id="s", downtime_s=0.5)
        )
        assert journal.fact(MOVE.id, "directories") == {"hold": "/a b", "n": [1, None]}
        assert journal.setting("toggles") == {"ceiling": "auto"}
        assert journal.reserved() == {"gpu1": Capacity(1.5, 7, 1, 9)}
        assert journal.events() == (
            Event(4.0, EventKind.MOVE, MOVE.id, "töst", Reason.CEILING, {"value": 0.93}, number),
        )


def test_names_that_nothing_bears_give_nothing(journal):
    assert journal.move("x") is journal.job("x") is journal.fact("x", "y") is journal.setting("x") is None
    assert journal.attempts("x") == journal.timeline("x") == journal.events(subject="x") == ()
    assert journal.move_of_process(WHO) is None
    journal.release("x")


def test_facts_and_settings_are_replaced_and_none_is_a_value_like_any(journal):
    for value in (1, None, "x", {"a": [True]}):
        journal.set_setting("key", value)
        journal.set_fact("m", "key", value)
        assert journal.setting("key") == journal.fact("m", "key") == value


def test_what_json_has_no_word_for_is_refused_when_it_is_written(journal):
    with pytest.raises(ValueError, match="JSON"):
        journal.set_setting("key", float("nan"))
    with pytest.raises(TypeError):
        journal.set_fact("m", "key", object())


# Moves


def test_the_timeline_tells_every_state_with_time_and_reason(journal):
    journal.create(JOB, [ATTEMPT], MOVE)
    journal.transition(MOVE.id, MoveState.PREFLIGHTED, t=3.0)
    journal.transition(MOVE.id, MoveState.ROLLING_BACK, t=4.0, reason=Reason.CANCELLED, detail="by anna")
    ended = journal.transition(MOVE.id, MoveState.ROLLED_BACK, t=5.0)
    assert journal.timeline(MOVE.id) == (
        (2.0, "planned", None, ""),
        (3.0, "preflighted", None, ""),
        (4.0, "rolling_back", Reason.CANCELLED, "by anna"),
        (5.0, "rolled_back", None, ""),
    )
    assert (ended.reason, ended.detail) == (Reason.CANCELLED, "by anna")  # the end still says why


def test_an_illegal_step_is_refused_and_leaves_no_trace(journal):
    journal.create(JOB, [ATTEMPT], MOVE)
    for state in (MoveState.GO, MoveState.PLANNED, MoveState.DONE, MoveState.LOST):
        with pytest.raises(IllegalTransition):
            journal.transition(MOVE.id, state, t=3.0, submission_id="x")
    assert journal.move(MOVE.id) == MOVE
    assert len(journal.timeline(MOVE.id)) == 1
    with pytest.raises(NotFound, match="offload_9_9"):
        journal.transition("offload_9_9", MoveState.GO, t=3.0)


def test_amending_changes_fields_and_not_the_state(journal):
    journal.create(JOB, [ATTEMPT], MOVE)
    assert journal.amend(MOVE.id, t=3.0, submission_id="s") == replace(MOVE, submission_id="s", updated_t=3.0)
    assert len(journal.timeline(MOVE.id)) == 1


def test_a_job_or_process_that_is_moving_is_not_moved_again_until_that_has_ended(journal):
    journal.create(JOB, [ATTEMPT], MOVE)
    same_process = replace(MOVE, id="offload_2_42", job="another")
    same_job = replace(MOVE, id="offload_3_42", identity=replace(WHO, start_ticks=778))
    for again in (same_process, same_job):
        with pytest.raises(Refused, match="offload_1_42 is moving it already") as refused:
            journal.create(replace(JOB, id=again.job), [], again)
        assert refused.value.reason is Reason.ALREADY_MOVING
    assert journal.job("another") is None
    advance(journal, MOVE, MoveState.ROLLED_BACK)
    journal.create(JOB, [ATTEMPT], same_job)
    with pytest.raises(ValueError, match="there is a move offload_1_42 already"):
        journal.create(JOB, [ATTEMPT], MOVE)


def test_moves_are_found_by_what_people_ask_newest_first(journal):
    for number in range(4):
        journal.create(*other(number))
    advance(journal, other(1)[2], MoveState.DONE)
    ids = [f"offload_{number}_{number}" for number in range(4)]
    assert [move.id for move in journal.moves()] == ids[::-1]
    assert [move.id for move in journal.moves(active=True)] == [ids[3], ids[2], ids[0]]
    assert [move.id for move in journal.moves(active=False)] == [ids[1]]
    assert [move.id for move in journal.moves(since=12.5)] == [ids[3], ids[1]]
    assert [move.id for move in journal.moves(limit=1)] == [ids[3]]
    assert journal.move_of_process(replace(WHO, pid=1002)).id == ids[2]
    assert journal.move_of_process(replace(WHO, pid=1002, start_ticks=1)) is None
    assert [job.id for job in journal.jobs(since=12.0)] == ["02J3", "02J2"]
    assert journal.jobs(state=JobState.FAILED) == ()


def test_saving_a_job_twice_neither_doubles_it_nor_touches_its_moves(journal):
    journal.create(JOB, [ATTEMPT], MOVE)
    journal.save_job(replace(JOB, name="x"))
    journal.save_attempt(ATTEMPT)
    assert len(journal.jobs()) == len(journal.attempts("01J")) == len(journal.moves()) == 1


# Capacity


def reservation(
    id_: str, cores: float, holder: str = MOVE.id, kind: ReservationKind = ReservationKind.MOVE
) -> Reservation:
    return Reservation(id_, "gpu1", Capacity(cores=cores), holder, kind, 1.0)


def test_capacity_is_reserved_once_and_given_back_however_the_move_ends(journal):
    for number, end in enumerate((MoveState.DONE, MoveState.ROLLED_BACK, MoveState.LOST)):
        job, attempts, move = other(number)
        journal.create(job, attempts, move)
        journal.reserve(reservation("a", 3.0, move.id), OFFER)
        with pytest.raises(Refused) as refused:
            journal.reserve(reservation("b", 2.0, "other"), OFFER)
        assert refused.value.reason is Reason.TARGET_FULL
        assert journal.reserved() == {"gpu1": Capacity(cores=3.0)}
        advance(journal, move, end)
        if end is MoveState.DONE:  # kept until the moved load shows at the target
            assert journal.reserved() == {"gpu1": Capacity(cores=3.0)}
            journal.release(move.id)
        assert journal.reserved() == {}


def test_an_allocation_outlives_the_move_of_the_same_name_and_is_released_by_its_holder(journal):
    journal.create(JOB, [ATTEMPT], MOVE)
    journal.reserve(reservation("a", 1.0, kind=ReservationKind.ALLOCATION), OFFER)
    advance(journal, MOVE, MoveState.DONE)
    assert len(journal.reservations(holder=MOVE.id)) == 1
    journal.release(MOVE.id)
    journal.release(MOVE.id)
    assert journal.reservations() == ()


def test_many_threads_never_get_more_than_there_is(journal):
    given: list[str] = []

    def ask(number: int) -> None:
        try:
            journal.reserve(reservation(f"r{number}", 1.0, f"h{number}"), OFFER)
            given.append(f"r{number}")
        except Refused:
            return

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 4
    assert journal.reserved() == {"gpu1": Capacity(cores=4.0)}


# Events


def say(journal: Journal, text: str, t: float = 1.0, subject: str = "s") -> int:
    return journal.add_event(Event(t, EventKind.RULE, subject, text))


def test_events_are_followed_by_number_and_a_first_look_gives_the_newest(journal):
    numbers = [say(journal, str(number), subject=f"s{number % 2}") for number in range(6)]
    assert [event.message for event in journal.events(limit=2)] == ["4", "5"]
    assert [event.message for event in journal.events(after=numbers[1], limit=2)] == ["2", "3"]
    assert [event.message for event in journal.events(subject="s0")] == ["0", "2", "4"]
    assert journal.events(after=numbers[-1]) == ()


def test_old_events_go_by_count_and_by_age_and_numbers_are_never_used_again(tmp_path):
    with Journal(tmp_path / "count", keep_events=100) as journal:
        last = [say(journal, "x") for _ in range(1000)][-1]
        assert 100 <= len(journal.events(limit=5000)) <= 100 + 256
        assert last == 1000
    with Journal(tmp_path / "age", keep_events_s=10.0) as journal:
        for number in range(512):
            say(journal, "x", t=float(number))
        assert journal.events(limit=5000)[0].t >= 511 - 10 - 256


# Files and other processes


def test_files_are_for_their_owner_alone(tmp_path):
    old = os.umask(0)
    try:
        with Journal(tmp_path / "a" / "state") as journal:
            journal.create(JOB, [ATTEMPT], MOVE)
            directory = tmp_path / "a" / "state"
            modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    finally:
        os.umask(old)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {"journal.db", "journal.db-wal", "lock", "spare"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_commits_wait_for_the_disk(journal):
    assert journal._connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert journal._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_two_controllers_never_share_a_state_directory(tmp_path):
    with Journal(tmp_path):
        with pytest.raises(JournalError, match=rf"another controller \(pid {os.getpid()}\) uses {tmp_path}"):
            Journal(tmp_path)
        code = "import pathlib, sys; from offloader.adapters.journal import Journal; Journal(pathlib.Path(sys.argv[1]))"
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
        assert f"another controller (pid {os.getpid()})" in done.stderr
    Journal(tmp_path).close()


def test_a_newer_journal_is_not_touched_and_both_versions_are_named(tmp_path):
    Journal(tmp_path).close()
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / "journal.db").read_bytes()
    for opening in (Journal, open_read_only):
        with pytest.raises(
            JournalError, match=rf"journal version 99; this program knows {len(STEPS)}\): start the newer"
        ):
            opening(tmp_path)
    assert (tmp_path / "journal.db").read_bytes() == before


def test_another_programs_database_is_not_touched(tmp_path):
    connection = sqlite3.connect(tmp_path / "journal.db")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = (tmp_path / "journal.db").read_bytes()
    with pytest.raises(JournalError, match="database of another program"):
        Journal(tmp_path)
    assert (tmp_path / "journal.db").read_bytes() == before


@pytest.mark.parametrize("damage", ["text", "holes"])
def test_a_damaged_journal_says_what_to_do_and_frees_the_lock(tmp_path, damage):
    with Journal(tmp_path) as journal:
        for number in range(200):
            say(journal, "x" * 500, subject=str(number))
    file = tmp_path / "journal.db"
    content = file.read_bytes()
    file.write_bytes(b"no database\n" * 1000 if damage == "text" else content[:4096] + b"\xff" * (len(content) - 4096))
    for _ in range(2):
        with pytest.raises(JournalError, match=r"is damaged \(.*recover"):
            Journal(tmp_path)


def test_a_step_that_fails_half_way_leaves_the_version_before(tmp_path, monkeypatch):
    Journal(tmp_path).close()
    broken = (*STEPS, ("CREATE TABLE added (x INTEGER) STRICT", "CREATE TABLE added (x INTEGER) STRICT"))
    monkeypatch.setattr("offloader.adapters.journal.schema.STEPS", broken)
    with pytest.raises(JournalError, match="already exists"):
        Journal(tmp_path)
    monkeypatch.setattr("offloader.adapters.journal.schema.STEPS", (*STEPS, (broken[-1][0],)))
    with Journal(tmp_path) as journal:
        assert journal._connection.execute("PRAGMA user_version").fetchone()[0] == len(STEPS) + 1


@pytest.mark.root
def test_somebody_elses_directory_is_refused(tmp_path):
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(JournalError, match="belongs to uid 65534"):
        Journal(tmp_path)


# Looking without a controller


def listing(directory: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in directory.iterdir()}


def test_looking_sees_what_the_running_controller_just_wrote_and_changes_no_file(tmp_path):
    with Journal(tmp_path) as journal:
        journal.create(JOB, [ATTEMPT], MOVE)
        before = listing(tmp_path)
        with open_read_only(tmp_path) as reader:
            assert reader.move(MOVE.id) == MOVE
            assert listing(tmp_path) == before
            journal.transition(MOVE.id, MoveState.PREFLIGHTED, t=3.0)
            assert reader.move(MOVE.id).state is MoveState.PREFLIGHTED
            assert reader.timeline(MOVE.id) == journal.timeline(MOVE.id)


def test_looking_after_a_clean_stop_and_after_a_kill_creates_no_file(tmp_path):
    with Journal(tmp_path) as journal:
        journal.create(JOB, [ATTEMPT], MOVE)
    before = listing(tmp_path)
    with open_read_only(tmp_path) as reader:
        assert reader.moves() == (MOVE,)
    assert listing(tmp_path) == before
    script = (
        "import os, sys; from pathlib import Path; from offloader.adapters.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); journal.set_setting('k', 'v'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    before = listing(tmp_path)
    assert "journal.db-wal" in before
    with open_read_only(tmp_path) as reader:
        assert reader.setting("k") == "v"
    assert listing(tmp_path) == before


def test_looking_where_no_controller_ever_ran_says_so_and_creates_nothing(tmp_path):
    with pytest.raises(JournalError, match="no controller ever ran"):
        open_read_only(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_looking_never_makes_the_writer_wait(journal, tmp_path):
    journal.create(JOB, [ATTEMPT], MOVE)
    with open_read_only(tmp_path / "state") as reader:
        reader._connection.execute("BEGIN")
        assert reader.moves() == (MOVE,)
        began = time.monotonic()
        journal.transition(MOVE.id, MoveState.PREFLIGHTED, t=3.0)
        assert time.monotonic() - began < 2
        assert reader.moves() == (MOVE,)  # its own moment, until it looks again


# Kill


WRITER = """
import itertools, sys
from dataclasses import replace
from pathlib import Path
from offloader.adapters.journal import Journal
from offloader.jobs.transitions import ORDER
from offloader.model import *
journal = Journal(Path(sys.argv[1]))
base = len(journal.moves(limit=100000))
for number in itertools.count(base):
    who = Identity("b", number, 1, 1000, 1, 1)
    move = Move(f"offload_{number}_1", f"J{number}", 0, 1, who, "h", "w", StrategyName.RESTART, "ray",
                MoveState.PLANNED, 0, True, None, 1.0, 1.0)
    journal.create(Job(move.job, "u", 1000, "x", 1.0), [], move)
    journal.reserve(Reservation(move.id, "w", Capacity(cores=0.0), move.id, ReservationKind.MOVE, 1.0), Capacity())
    print(move.id, "planned", flush=True)
    for state in ORDER[1:]:
        journal.transition(move.id, state, t=1.0)
        print(move.id, state, flush=True)
    journal.release(move.id)
"""


def test_every_acknowledged_state_survives_kill_after_kill(tmp_path):
    acknowledged: list[list[str]] = []
    for number in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        said = [writer.stdout.readline() for _ in range(7 + 13 * number)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        assert said[0], "the writer did not start"
        acknowledged += [line.split() for line in said if line.endswith("\n")]
        with Journal(tmp_path) as journal:
            for id_, state in acknowledged:
                found = [step.state.value for step in journal.timeline(id_)]
                assert state in found
                assert found == [each.value for each in ORDER[: len(found)]]
                assert journal.move(id_).state == found[-1]
            holders = [held.holder for held in journal.reservations()]
            assert len(holders) <= 1, "only the move that was being written holds anything"
            for holder in holders:
                journal.release(holder)
    assert len(acknowledged) > 400


def over(journal, number, *, state, ended_t, attempt=AttemptState.ENDED):
    """A job whose move is done."""
    name = f"J{number}"
    job = replace(JOB, id=name, created_t=1.0)
    move = replace(MOVE, id=f"m{number}", job=name, identity=replace(WHO, pid=number))
    there = replace(ATTEMPT, job=name, epoch=1, state=attempt, ended_t=ended_t)
    journal.create(job, (replace(ATTEMPT, job=name), there), move)
    for following in ORDER[1:]:
        journal.transition(move.id, following, t=5.0)
    journal.set_fact(move.id, "key", 1)
    journal.settle(replace(job, state=state), (there,))
    return name


def test_what_is_long_over_is_forgotten_with_everything_that_belongs_to_it(tmp_path):
    """What is not over stays however old it is, and so does what ended a short while ago."""
    with Journal(tmp_path) as journal:
        old = over(journal, 1, state=JobState.FAILED, ended_t=50.0)
        gone_on = over(journal, 2, state=JobState.UNKNOWN, ended_t=50.0)
        running = over(journal, 3, state=JobState.RUNNING, ended_t=None, attempt=AttemptState.RUNNING)
        unseen = over(journal, 4, state=JobState.UNKNOWN, ended_t=None, attempt=AttemptState.RUNNING)
        recent = over(journal, 5, state=JobState.LOST, ended_t=150.0)
        assert set(journal.prune(100.0)) == {old, gone_on}
        assert journal.prune(100.0) == ()
        assert [job.id for job in journal.jobs()] == [recent, unseen, running]
        for number in (1, 2):
            assert journal.move(f"m{number}") is None
            assert (journal.timeline(f"m{number}"), journal.fact(f"m{number}", "key")) == ((), None)
            assert journal.attempts(f"J{number}") == ()
        assert journal.move_of_job(running).id == "m3"


def test_jobs_to_follow_are_found_however_many_came_after_them(tmp_path):
    with Journal(tmp_path) as journal:
        running = over(journal, 1, state=JobState.RUNNING, ended_t=None, attempt=AttemptState.RUNNING)
        unseen = over(journal, 2, state=JobState.UNKNOWN, ended_t=None, attempt=AttemptState.UNKNOWN)
        over(journal, 3, state=JobState.UNKNOWN, ended_t=9.0)
        for number in range(1200):
            journal.save_job(replace(JOB, id=f"X{number}", state=JobState.SUCCEEDED, created_t=9.0))
        assert [job.id for job in journal.followed_jobs()] == [running, unseen]


def test_an_ending_and_what_follows_from_it_are_kept_together_or_not_at_all(tmp_path, monkeypatch):
    with Journal(tmp_path) as journal:
        name = over(journal, 1, state=JobState.RUNNING, ended_t=None, attempt=AttemptState.RUNNING)
        broken = replace(ATTEMPT, job=name, epoch=2, node=None)
        with pytest.raises(JournalError):
            journal.settle(replace(JOB, id=name, state=JobState.LOST), (broken,))
        assert journal.job(name).state is JobState.RUNNING
