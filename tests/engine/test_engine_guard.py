"""Modes, budgets, intervals, quarantine; and what a person's own move passes over."""

from dataclasses import replace

import pytest

from offloader.engine.guard import budget_left, effective_mode, permit_manual, process_limits
from offloader.engine.history import moved, started, still_counted
from offloader.engine.schema import EngineState, RuleState
from offloader.model import Budgets, Mode, MoveState, Obstacle, Reason, Toggles

DONE, BACK, HELD = MoveState.DONE, MoveState.ROLLED_BACK, MoveState.HELD
NOW = 1000.0


@pytest.mark.parametrize("ceiling", list(Mode))
@pytest.mark.parametrize("rule", [None, *Mode])
def test_the_effective_mode_is_the_lower_one(make, rule, ceiling):
    effective = effective_mode(make.rule(mode=rule), Toggles(ceiling=ceiling))
    assert effective.rank == min(ceiling.rank, (rule or ceiling).rank)


def left(make, *moves, **budgets):
    found = budget_left("head", make.snapshot(moves=moves), make.policy(budgets=Budgets(**budgets)))
    return found.reason if found else None


def test_budgets_of_node_cluster_and_hour(make):
    away = [make.move(HELD, 600 + n, source="other") for n in range(5)]
    assert left(make) is None
    assert left(make, make.move(HELD, 1)) is None
    assert left(make, make.move(HELD, 1), make.move(HELD, 2)) is Reason.BUDGET_NODE
    assert left(make, make.move(DONE, 1), make.move(BACK, 2)) is None
    assert left(make, *away) is Reason.BUDGET_CLUSTER
    assert left(make, *(make.move(DONE, n) for n in range(12))) is Reason.BUDGET_HOUR
    assert left(make, *(make.move(DONE, n, created_t=NOW - 3600) for n in range(12))) is None
    assert left(make, starts_per_tick_and_node=0) is Reason.BUDGET_NODE


def limited(make, *moves, state=None, pid=500, **snapshot):
    picture = make.snapshot(moves=moves, **snapshot)
    found = process_limits(make.candidate(pid), state or EngineState(), picture, make.policy())
    return found.reason if found else None


def test_a_process_is_moved_once_in_ten_minutes(make):
    assert limited(make, make.move(BACK, updated_t=NOW - 599)) is Reason.BUDGET_PROCESS
    assert limited(make, make.move(BACK, updated_t=NOW - 600)) is None
    assert limited(make, make.move(BACK, 501, updated_t=NOW - 1)) is None


def test_a_reused_pid_is_another_process(make):
    other = make.move(BACK, updated_t=NOW - 1)
    assert limited(make, replace(other, identity=replace(other.identity, start_ticks=7))) is None


def test_one_that_moves_is_not_moved_again(make):
    assert limited(make, make.move(HELD)) is Reason.ALREADY_MOVING


def test_moves_in_flight_per_user(make):
    moves = [make.move(HELD, 600 + n, source="other") for n in range(3)]
    assert limited(make, *moves) is Reason.BUDGET_USER
    assert limited(make, *moves[:2], make.move(HELD, 700, uid=1001, source="other")) is None


def test_two_failures_quarantine_a_process_for_an_hour(make):
    state = EngineState()
    for second in (1, 2):
        state = moved(state, make.move(BACK, id=f"m{second}", reason=Reason.NOT_PROVEN), NOW - 700)
    assert limited(make, state=state) is Reason.QUARANTINED
    assert limited(make, state=state, pid=501) is None
    assert limited(make, state=state, now=NOW - 700 + 3600) is None
    assert still_counted(state, NOW - 700 + 3600, make.policy()) == ()


def test_the_daemons_own_quarantine_is_heeded(make):
    assert limited(make, quarantined=frozenset({"alice:python3"})) is Reason.QUARANTINED


@pytest.mark.parametrize(
    "reason", [Reason.CANCELLED, Reason.DISABLED, Reason.CONTROLLER_RESTARTED, Reason.ORIGINAL_GONE]
)
def test_what_says_nothing_against_the_process_is_no_failure(make, reason):
    state = moved(EngineState(), make.move(BACK, reason=reason), NOW)
    assert state.failures == ()
    assert state.moved_t == {"head": NOW}


def test_a_failure_is_counted_once_however_often_it_is_told(make):
    state = EngineState(rules={("head/cpu", "head"): RuleState()})
    for _ in range(3):
        state = moved(state, make.move(BACK, reason=Reason.NOT_PROVEN), NOW)
    assert len(state.failures) == 1
    assert state.rules["head/cpu", "head"].failed == 1
    assert moved(state, make.move(MoveState.OWNED), NOW).rules["head/cpu", "head"].failed == 0


def test_a_move_makes_every_rule_of_its_source_wait_and_no_other_node(make):
    state = EngineState(
        rules={("head/cpu", "head"): RuleState(), ("x/y", "head"): RuleState(), ("x/y", "b"): RuleState()}
    )
    state = moved(state, make.move(DONE, rule=None), NOW)
    assert [rule.moved_t for rule in state.rules.values()] == [NOW, NOW, None]


def test_a_start_keeps_what_was_known_and_begins_a_cooldown(make):
    before = EngineState(rules={("head/cpu", "head"): RuleState(held_s=20.0)}, moved_t={"head": 5.0})
    after = started(NOW, make.policy(), before)
    assert after.rules["head/cpu", "head"] == RuleState(held_s=20.0, started_t=NOW)
    assert (after.moved_t, after.started_t) == ({"head": 5.0}, NOW)
    assert started(NOW, make.policy(), None) == EngineState(started_t=NOW)


def by_hand(make, candidate=None, *moves, uid=1000, **snapshot):
    picture = make.snapshot(moves=moves, **snapshot)
    found = permit_manual(candidate or make.candidate(), moves, picture, make.policy(), requester_uid=uid, now=NOW)
    return [one.reason for one in found]


def test_a_person_may_move_what_is_his_whatever_its_age_and_loss(make):
    leader = make.process(500, age_s=1.0)
    waiting = (Obstacle(Reason.SHELL_WAITING, "x"), Obstacle(Reason.LISTENER, "x"))
    candidate = make.candidate(leader=leader, age_s=1.0, restart_safe=False, owner_only=waiting)
    assert by_hand(make, candidate) == []
    assert by_hand(make, candidate, uid=0) == []


def test_not_what_is_somebody_elses(make):
    assert by_hand(make, uid=1001) == [Reason.NOT_YOURS]
    mixed = make.candidate(members=(make.process(500), make.process(501, 500, uid=1001)))
    assert by_hand(make, mixed) == [Reason.NOT_YOURS]


@pytest.mark.parametrize("reason", [Reason.PROTECTED, Reason.OPEN_EDGE, Reason.OPTED_OUT, Reason.TRACED])
@pytest.mark.parametrize("uid", [0, 1000])
def test_never_over_a_protection_not_even_root(make, reason, uid):
    assert by_hand(make, make.candidate(obstacles=(Obstacle(reason, "x"),)), uid=uid) == [reason]


def test_what_is_kept_only_its_owner_moves(make):
    """He said keep, and may think better of it; root releases it first."""
    kept = make.candidate(obstacles=(Obstacle(Reason.KEPT, "x"),))
    assert by_hand(make, kept, uid=1000) == []
    assert by_hand(make, kept, uid=0) == [Reason.KEPT]


def test_never_over_the_kill_switch(make):
    toggles = Toggles(ceiling=Mode.AUTO, kill_switch=True)
    assert by_hand(make, toggles=toggles, uid=0) == [Reason.KILL_SWITCH]


def test_below_any_ceiling(make):
    assert by_hand(make, toggles=Toggles(ceiling=Mode.OBSERVE)) == []


def test_never_one_that_moves_and_said_once(make):
    assert by_hand(make, None, make.move(HELD)) == [Reason.ALREADY_MOVING]
    known = make.candidate(obstacles=(Obstacle(Reason.ALREADY_MOVING, "x"),))
    assert by_hand(make, known, make.move(HELD)) == [Reason.ALREADY_MOVING]


def test_over_the_interval_the_hour_and_quarantine_but_not_over_how_many_fly_at_once(make):
    past = [make.move(BACK, n, updated_t=NOW - 1) for n in range(499, 515)]
    assert by_hand(make, None, *past, quarantined=frozenset({"alice:python3"})) == []
    assert by_hand(make, None, make.move(HELD, 1), make.move(HELD, 2)) == [Reason.BUDGET_NODE]


def test_a_pipeline_has_no_way_by_restart(make):
    parts = (make.process(500, 100), make.process(501, 100))
    assert by_hand(make, make.candidate(members=parts)) == [Reason.NO_STRATEGY]
