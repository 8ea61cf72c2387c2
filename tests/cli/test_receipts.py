"""`status MOVE` shows the receipt so that a person understands it at a glance, and as JSON whole."""

import json
import time

import pytest
import receipts

from offloader.daemon.receipt_documents import receipt_document
from offloader.model import Figure, Loss, MoveState, Reading, Reason

from .conftest import move_document

ID = "offload_1700000000_4242"


def told(controller, command, *, losses=(), due_t=None, **changes) -> str:
    document = receipt_document(receipts.receipt(**changes), losses=losses, due_t=due_t)
    controller.answers["show"] = move_document("planned", "done", receipt=document)
    ran = command("status", ID)
    assert (ran.code, ran.err) == (0, "")
    return ran.out.partition("RECEIPT\n")[2]


def test_what_it_was_worth_and_what_it_cost(controller, command) -> None:
    out = told(controller, command)
    for words in (
        "cpu           90 % -> 45 %, down 45 points, 40 points expected",
        "memory        50 % -> 41 %, down 9 points, 10 points expected",
        "rule          g/cpu (over 80 %): 90 % -> 45 %",
        "not alone     offload_1699999990_41 left head at about that time",
        "stood still   1.5 s, 2.5 s expected",
        "work lost     at most 10 min (it saves its work), 12 min expected",
        "carried over  0 B",
        "longest in    planned 1.0 s, held 2.5 s",
    ):
        assert words in out
    assert "more than estimated" not in out


def test_it_is_given_to_programs_as_it_is(controller, command) -> None:
    document = receipt_document(receipts.receipt())
    controller.answers["show"] = move_document("done", receipt=document)
    assert json.loads(command("status", ID, "--format", "json").out)["receipt"] == document


@pytest.mark.parametrize("receipt", [{}, {"receipt": None}])
def test_a_move_without_one_is_shown_without(controller, command, receipt) -> None:
    controller.answers["show"] = move_document("planned", "frozen", **receipt)
    ran = command("status", ID)
    assert ran.code == 0
    assert "RECEIPT" not in ran.out


def test_what_is_still_to_come_says_when(controller, command) -> None:
    to_come = receipts.pressures(
        readings={receipts.CPU: Reading("head", None, None, Reason.LOOK_BACK, "still to come")}, rule=None
    )
    out = told(controller, command, after=to_come, due_t=time.time() + 42)
    assert "90 % -> known in 4" in out
    assert "being read" in told(controller, command, after=to_come, due_t=time.time() - 1)


def test_unknown_stays_unknown_with_the_reason(controller, command) -> None:
    down = receipts.pressures(readings={receipts.CPU: Reading("head", None, None, Reason.DOWN, "no answer")}, rule=None)
    out = told(controller, command, after=down, downtime_s=Figure(None, "it did not go on"))
    assert "cpu           90 % -> unknown, DOWN (no answer), 40 points expected" in out
    assert "memory        50 % -> unknown" in out
    assert "stood still   unknown (it did not go on)" in out


def test_a_move_that_was_taken_back_was_worth_nothing(controller, command) -> None:
    out = told(controller, command, after=None, outcome=MoveState.ROLLED_BACK)
    assert "worth         nothing: the work did not leave head" in out
    assert "cpu" not in out


def test_pressure_that_rose_all_the_same_and_cost_beyond_the_estimate_strike_the_eye(controller, command) -> None:
    out = told(controller, command, after=receipts.pressures(cpu=0.97), downtime_s=Figure(20.0))
    assert "90 % -> 97 %, up 7 points, 40 points expected" in out
    assert "20 s, 2.5 s expected - more than estimated" in out


def test_what_the_job_lost_later_is_told(controller, command) -> None:
    losses = (
        Loss(1, "gpu1", receipts.T, Figure(4.0), "checkpoint", "gpu2"),
        Loss(2, "gpu2", receipts.T, Figure(None, "known once it runs again"), "", None),
    )
    out = told(controller, command, losses=losses)
    assert "attempt 1 on gpu1: 4.0 s since its last checkpoint, goes on on gpu2" in out
    assert "attempt 2 on gpu2: unknown (known once it runs again), and does not run again so far" in out


def test_no_byte_of_a_note_is_obeyed_by_the_terminal(controller, command) -> None:
    out = told(controller, command, work_lost_s=Figure(None, "\x1b]0;x\x07"))
    assert "\x1b" not in out
