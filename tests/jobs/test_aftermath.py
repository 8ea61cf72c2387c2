"""What follows an ending: the whole table, and that nothing is started again for ever."""

from __future__ import annotations

import itertools

import pytest

from offloader.jobs.aftermath import EARLY_S, Circumstances, Ending, Step, ending_of, following, launches, tries
from offloader.model import Attempt, AttemptState, Completion


def seen(**changes):
    fields = {"at_source": False, "lived_s": 60.0, "restart_safe": True, "launches": 1, "tries": 0, "capsule": True}
    return Circumstances(**{**fields, **changes})


@pytest.mark.parametrize(
    ("ending", "changes", "step"),
    [
        pytest.param(Ending.SUCCEEDED, {}, Step.SUCCEED, id="exit code 0"),
        pytest.param(Ending.CANCELLED, {}, Step.CANCEL, id="ended for its owner"),
        pytest.param(
            Ending.TERMINATED, {}, Step.FAIL, id="somebody at the node sent TERM: not started against his wish"
        ),
        pytest.param(Ending.FAILED, {}, Step.AGAIN_AT_SOURCE, id="failed soon after its restart"),
        pytest.param(
            Ending.FAILED, {"restart_safe": False}, Step.AGAIN_AT_SOURCE, id="its restart was declared harmless"
        ),
        pytest.param(Ending.FAILED, {"lived_s": EARLY_S}, Step.FAIL, id="failed late"),
        pytest.param(Ending.FAILED, {"at_source": True}, Step.FAIL, id="failed at its source: its own result"),
        pytest.param(Ending.FAILED, {"capsule": False}, Step.FAIL, id="failed, nothing to start it from"),
        pytest.param(Ending.VANISHED, {}, Step.AGAIN_ELSEWHERE, id="its worker died"),
        pytest.param(Ending.VANISHED, {"at_source": True}, Step.AGAIN_AT_SOURCE, id="the head rebooted under it"),
        pytest.param(Ending.VANISHED, {"restart_safe": False}, Step.LOSE, id="not declared harmless"),
        pytest.param(Ending.VANISHED, {"launches": 3}, Step.LOSE, id="started again twice already"),
        pytest.param(Ending.VANISHED, {"capsule": False}, Step.LOSE, id="vanished, nothing to start it from"),
        pytest.param(Ending.NOT_STARTED, {"tries": 1}, Step.AGAIN_ELSEWHERE, id="could not be started there"),
        pytest.param(Ending.FAILED, {"original": False}, Step.FAIL, id="failed, started by `run`: its own result"),
        pytest.param(
            Ending.NOT_STARTED, {"original": False, "launches": 0, "tries": 3}, Step.FAIL, id="`run` of it never ran"
        ),
        pytest.param(
            Ending.NOT_STARTED,
            {"original": False, "launches": 1, "tries": 3},
            Step.AGAIN_ELSEWHERE,
            id="ran once: tried for longer",
        ),
        pytest.param(Ending.NOT_STARTED, {"tries": 10}, Step.LOSE, id="could not be started ten times"),
    ],
)
def test_what_follows(ending, changes, step):
    assert following(ending, seen(**changes)) is step


def test_every_chain_of_endings_comes_to_an_end():
    """Whatever happens to it again and again, a job is over after some thirty attempts.

    That it saved ends the original alone, once.
    """
    for endings in itertools.product(set(Ending) - {Ending.SAVED}, repeat=2):
        launched, tried, at_source = 1, 0, False
        for count, ending in enumerate(itertools.cycle(endings)):
            step = following(ending, seen(launches=launched, tries=tried, at_source=at_source))
            if step not in (Step.AGAIN_ELSEWHERE, Step.AGAIN_AT_SOURCE):
                break
            assert count < 40, endings
            at_source = step is Step.AGAIN_AT_SOURCE
            tried = tried + 1 if ending is Ending.NOT_STARTED else 0
            launched += ending is not Ending.NOT_STARTED


@pytest.mark.parametrize(
    ("completion", "ending"),
    [
        (Completion(0), Ending.SUCCEEDED),
        (Completion(1), Ending.FAILED),
        (Completion(None, 9), Ending.FAILED),
        (Completion(None, 15), Ending.TERMINATED),
        (Completion(), Ending.VANISHED),
    ],
)
def test_what_a_completion_says(completion, ending):
    assert ending_of(completion) is ending


def attempt(epoch, pid):
    return Attempt("J", epoch, "n", "ray", None, pid, AttemptState.ENDED, 0.0)


def test_only_attempts_that_came_to_life_count_as_launches_and_the_others_as_tries():
    attempts = (attempt(0, 5), attempt(1, 6), attempt(2, None), attempt(3, 7), attempt(4, None), attempt(5, None))
    assert launches(attempts) == 2
    assert tries(attempts) == 2
    assert tries(attempts[:4]) == 0
