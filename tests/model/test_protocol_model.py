"""The protocol of the hand-off, every state of its model looked at: it holds, and needs each of its safeguards."""

import json
import subprocess
from pathlib import Path

import pytest
from _model.cases import WHOLE, WITHOUT, late_own
from _model.explore import broken, steps, tidy
from _model.world import OWN, Rules, first

from offloader.jobs.transitions import TRANSITIONS
from offloader.launcher.states import GUARD, HOLD

PROJECT = Path(__file__).resolve().parents[2]

NEVER_TAKEN = {
    ("guard", "frozen", "ended"): "only when a launcher says that it owns although nobody passed it ownership",
    ("guard", "changed", "thawed"): "by `force`, for people; the controller never sends it",
}
"""Transitions of the code's tables that the protocol never takes, with the reason why they are there."""


@pytest.fixture(scope="module")
def whole():
    """What was explored of the whole protocol, case by case, and which transitions were taken on the way."""
    rules = {case.name: case.rules() for case in WHOLE}
    return {case.name: (case.explored(rules[case.name]), rules[case.name].seen) for case in WHOLE}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_never_two_copies_and_no_state_without_a_way_out(whole, case):
    found, _ = whole[case.name]
    assert (found.violation, found.trace) == ("", [])
    assert found.stuck == [], found.stuck[:3]
    assert found.states > 50_000, "the whole of it"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_transition_of_the_codes_own_tables_is_taken_and_no_other(whole):
    """The model enters states through these tables alone, so what they do not hold would have failed above."""
    taken = set()
    for _, seen in whole.values():
        taken |= {("hold", *one) for one in seen.hold}
        taken |= {("guard", *one) for one in seen.guard}
        taken |= {("move", *one) for one in seen.journal}
    tables = {"hold": HOLD, "guard": GUARD, "move": TRANSITIONS}
    there = {(name, str(here), str(to)) for name, table in tables.items() for here in table for to in table[here]}
    assert there - taken == NEVER_TAKEN.keys()
    assert taken <= there


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", WITHOUT, ids=lambda case: case.without)
def test_without_any_one_safeguard_something_happens_that_must_not(case):
    found = case.explored()
    assert found.violation
    assert followed(case.rules(), found.trace, case), "the way to it can be gone again"
    assert not followed(type(case)("whole", "", attempts=case.attempts, lease=case.lease).rules(), found.trace, case)


def followed(rules, trace, case):
    """Whether some way of that story leads to what must not be."""
    worlds = {tidy(late_own() if case.again else first(), rules)}
    for what in trace:
        worlds = {tidy(after, rules) for world in worlds for told, after, _ in steps(world, rules) if told == what}
    return any(broken(world) for world in worlds)


def test_a_lease_without_its_margin_is_found_at_once():
    """The quick one of the above."""
    case = next(case for case in WITHOUT if case.without == "lease_margin")
    assert case.explored().violation == "two copies execute"


def test_an_own_that_outlives_its_try_can_happen():
    """The beginning of the case in which a job moves again while it is on its way."""
    rules = Rules()
    worlds = {first()}
    for what in [
        "place", "journal: preflighted", "journal: reserved", "journal: queued", "submit",
        "launcher 1 starts and claims its capsule", "launcher 1 holds", "connect: held", "journal: held", "arm",
        "freeze: frozen", "journal: frozen", "record: recorded", "journal: saved", "journal: go", "send go",
        "launcher 1 hears go", "launcher 1 asks for its lease", "grant",
        "launcher 1 hears a grant to its question of 0 s ago", "successor 1 executes", "heard: prove",
        "successor 1 has settled", "heard: proven", "journal: proven", "journal: owning", "hold: holding", "send own",
        "5 s pass", "5 s pass", "launcher 1's lease is over", "heard: it had given up", "unhold: frozen",
        "journal: rolling_back", "5 s pass", "its lease has run out", "thaw: thawed", "journal: rolled_back",
        "settle: it goes on here",
    ]:  # fmt: skip
        worlds = {after for world in worlds for told, after, _ in steps(world, rules) if told == what}
        assert worlds, what
    for world in worlds:
        assert (world.at, world.original) == ("idle", "run")
        assert (world.attempt.state, world.attempt.net) == ("aborted", OWN)
        assert late_own().attempts[0] == world.attempt._replace(lease=-1)


def run(*arguments):
    command = [PROJECT / "deploy/model", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)


def test_the_command_shows_what_a_safeguard_is_for():
    answer = run("--without", "lease_margin", "--format", "json")
    assert answer.returncode == 0, answer.stderr
    (row,) = json.loads(answer.stdout)
    assert (row["without"], row["violation"], row["ok"]) == ("lease_margin", "two copies execute", True)
    assert row["trace"][-1] == "the guard thaws: nobody was in contact"
    assert "exploring lease_margin" in answer.stderr


def test_the_command_names_the_safeguards_that_it_knows():
    answer = run("--without", "luck")
    assert answer.returncode == 2
    assert "kill_while_frozen" in answer.stderr
