"""What a rule may choose, what moving costs, and which choice loses least."""

from dataclasses import replace

import pytest

from offloader.engine.select import Option, assess, choose, ways
from offloader.model import (
    Capacity,
    Obstacle,
    ProcessClass,
    Reason,
    Resource,
    RuleMove,
    RuleSelect,
    StrategyName,
)

CPU, MEMORY = Resource.CPU, Resource.MEMORY
RESTART = (StrategyName.RESTART,)
EVERY = (StrategyName.LIVE, StrategyName.CHECKPOINT, StrategyName.RESTART)


def judged(make, candidate, *, relief=0.25, available=RESTART, **rule):
    result = assess(candidate, make.rule(**rule), {CPU: relief}, available)
    return result.reason if isinstance(result, Obstacle) else result.waits.reason if result.waits else None


def one_of(make, pid=500, *, leader=None, **changes):
    process = make.process(pid, **({"age_s": 300.0} | (leader or {})))
    return make.candidate(pid, leader=process, age_s=process.age_s, **changes)


@pytest.mark.parametrize(
    ("leader", "select", "reason"),
    [
        ({}, {}, None),
        ({"process_class": ProcessClass.INTERACTIVE}, {}, Reason.INTERACTIVE),
        ({"process_class": ProcessClass.DAEMON}, {}, Reason.DAEMON),
        ({"process_class": ProcessClass.DAEMON}, {"classes": (ProcessClass.DAEMON,)}, None),
        ({"process_class": ProcessClass.BATCH}, {"classes": (ProcessClass.TRAINING,)}, Reason.EXCLUDED),
        ({}, {"users": ("bob",)}, Reason.EXCLUDED),
        ({}, {"users": ("bob", "alice")}, None),
        ({}, {"include": ("train*",)}, Reason.EXCLUDED),
        ({}, {"include": ("work.py",)}, None),
        ({}, {"exclude": ("work.*",)}, Reason.EXCLUDED),
        ({"age_s": 59.0}, {}, Reason.TOO_YOUNG),
        ({"age_s": 59.0}, {"min_age_s": 10.0}, None),
    ],
)
def test_what_a_rule_selects(make, leader, select, reason):
    assert judged(make, one_of(make, leader=leader), select=RuleSelect(**select)) is reason


def test_an_obstacle_comes_before_everything(make):
    candidate = one_of(make, obstacles=(Obstacle(Reason.TRACED, "x"),))
    assert judged(make, candidate, select=RuleSelect(users=("bob",))) is Reason.TRACED


def test_what_relieves_nothing_is_not_moved(make):
    assert judged(make, one_of(make), relief=0.019) is Reason.NOT_SIGNIFICANT


def test_a_restart_needs_a_declaration(make):
    undeclared = one_of(make, restart_safe=False)
    assert judged(make, undeclared) is Reason.NOT_RESTART_SAFE
    assert judged(make, undeclared, select=RuleSelect(restart_safe=("work.py",))) is None
    assert judged(make, undeclared, available=EVERY) is None, "a live move loses nothing"


def test_a_rules_pattern_does_not_throw_away_more_than_allowed_the_owners_word_does(make):
    old = {"age_s": 601.0}
    pattern = RuleSelect(restart_safe=("work.py",))
    assert judged(make, one_of(make, leader=old, restart_safe=False), select=pattern) is Reason.LOSES_TOO_MUCH
    assert judged(make, one_of(make, leader=old, restart_safe=True), select=pattern) is None
    wide = RuleMove(max_lost_work_s=3600.0)
    assert judged(make, one_of(make, leader=old, restart_safe=False), select=pattern, move=wide) is None


def test_a_move_must_pay_back(make):
    memory = 100 << 30  # a live move of 100 GiB stands still for nine minutes
    young = one_of(make, leader={"age_s": 300.0}, usage=Capacity(2.0, memory))
    assert judged(make, young, available=(StrategyName.LIVE,)) is Reason.DOES_NOT_PAY
    old = one_of(make, leader={"age_s": 6000.0}, usage=Capacity(2.0, memory))
    assert judged(make, old, available=(StrategyName.LIVE,)) is None


def test_what_the_owner_decides_waits_for_him(make):
    supervised = one_of(make, owner_only=(Obstacle(Reason.SUPERVISED, "x"),))
    assert judged(make, supervised) is Reason.SUPERVISED


def test_listeners_go_where_the_rule_allows_them(make):
    listener = one_of(make, owner_only=(Obstacle(Reason.LISTENER, "x"),))
    assert judged(make, listener) is Reason.LISTENER
    assert judged(make, listener, select=RuleSelect(listeners=True)) is None


def test_a_pipeline_cannot_be_restarted_by_one_command(make):
    first, second = make.process(500, 100, pgid=500), make.process(501, 100, pgid=500)
    pipeline = one_of(make, members=(first, second))
    assert judged(make, pipeline) is Reason.NO_STRATEGY
    assert judged(make, pipeline, available=EVERY) is None, "it can be moved live"


def test_a_terminal_that_is_kept_goes_along_live_or_not_at_all(make):
    """Its owner's own wish changes nothing: on that terminal stands half a conversation."""
    candidate = make.candidate(kept_terminal=True)
    found = {way.strategy: way for way in ways(candidate, tuple(StrategyName))}
    assert found[StrategyName.LIVE].blocked is None
    for strategy in (StrategyName.RESTART, StrategyName.CHECKPOINT):
        assert found[strategy].blocked.reason is Reason.TERMINAL
        assert not found[strategy].owner_only


def test_a_strategy_that_is_not_there_is_not_taken(make):
    live_only = RuleMove(strategies=(StrategyName.LIVE,))
    assert judged(make, one_of(make), move=live_only) is Reason.NO_STRATEGY


def test_the_way_that_loses_least_is_taken(make):
    option = assess(one_of(make), make.rule(), {CPU: 0.25}, EVERY)
    assert option.way.strategy is StrategyName.LIVE


def test_the_owner_may_go_ways_that_a_rule_may_not(make):
    undeclared = one_of(make, restart_safe=False)
    assert [way.blocked for way in ways(undeclared, RESTART)] == [None]


def option(make, pid, relief, *, age=300.0, lost=None):
    candidate = one_of(make, pid, leader={"age_s": age})
    (way,) = ways(candidate, RESTART)
    relieves = relief if isinstance(relief, dict) else {CPU: relief}
    return Option(candidate, way if lost is None else replace(way, lost_s=lost), relieves)


def chosen(options, **needs):
    return choose(options, {Resource(name): need for name, need in needs.items()}).candidate.leader.pid


def test_of_those_that_suffice_the_one_that_loses_least(make):
    options = [option(make, 1, 0.6, age=500), option(make, 2, 0.3, age=100), option(make, 3, 0.9, age=50)]
    assert chosen(options, cpu=0.25) == 3
    assert chosen(options[:2], cpu=0.25) == 2


def test_not_simply_the_largest(make):
    options = [option(make, 1, 0.8, age=3600), option(make, 2, 0.3, age=90)]
    assert chosen(options, cpu=0.25) == 2


def test_two_cheap_ones_rather_than_one_dear_one(make):
    options = [option(make, 1, 0.5, lost=1000), option(make, 2, 0.2, lost=60), option(make, 3, 0.2, lost=70)]
    assert chosen(options, cpu=0.3) == 2


def test_one_that_suffices_rather_than_many_that_lose_more_together(make):
    options = [option(make, 1, 0.3, lost=100)] + [option(make, 10 + n, 0.1, lost=40) for n in range(3)]
    assert chosen(options, cpu=0.3) == 1


def test_what_relieves_every_firing_resource_wins(make):
    both = option(make, 1, {CPU: 0.1, MEMORY: 0.1}, lost=500)
    one = option(make, 2, {CPU: 0.4}, lost=10)
    assert chosen([one, both], cpu=0.3, memory=0.3) == 1
    assert chosen([one, both], cpu=0.3) == 2


def test_where_nothing_suffices_the_best_bargain_goes_first(make):
    options = [option(make, 1, 0.1, lost=100), option(make, 2, 0.2, lost=100)]
    assert chosen(options, cpu=0.9) == 2


def test_a_larger_job_is_no_better_than_one_that_suffices(make):
    options = [option(make, 1, 0.9, lost=101), option(make, 2, 0.3, lost=100)]
    assert chosen(options, cpu=0.25) == 2


def test_ties_go_to_the_lower_pid_in_any_order(make):
    options = [option(make, pid, 0.3) for pid in (7, 3, 5)]
    assert chosen(options, cpu=0.2) == chosen(options[::-1], cpu=0.2) == 3


def test_loss_is_per_relieved_pressure_and_remaining_life(make):
    assert option(make, 1, 0.5, age=100, lost=60).loss({CPU: 0.3}) == pytest.approx(60 / (0.3 * 100))
    assert option(make, 1, 0.5, age=9000, lost=60).loss({CPU: 0.3}) == pytest.approx(60 / (0.3 * 600))
    assert option(make, 1, 0.5).loss({MEMORY: 0.3}) == float("inf")


def test_a_lock_keeps_rules_from_restarting_or_dumping_but_not_from_letting_it_save(make):
    """Nobody's declaration lifts it: GRID_OFFLOAD=allow says that restarting is harmless, not that the lock is."""
    locking = one_of(make, leader={"locked": frozenset({"/home/alice/secret-name/run.lock"}), "wish": "allow"})
    assert judged(make, locking) is Reason.LOCKED
    assert judged(make, locking, available=(StrategyName.LIVE,)) is Reason.LOCKED
    assert judged(make, locking, available=EVERY) is None
    (way,) = ways(locking, RESTART, make.rule())
    assert "run.lock" in way.blocked.seen
    assert "secret-name" not in way.blocked.seen


def test_by_hand_a_lock_is_left_to_preflight(make):
    locking = one_of(make, leader={"locked": frozenset({"/home/alice/run.lock"})})
    assert [way.blocked for way in ways(locking, RESTART)] == [None]
