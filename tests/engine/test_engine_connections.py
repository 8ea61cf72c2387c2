"""Established connections: in everybody's way, unless a live move may close them."""

import pytest

from offloader.engine.candidates import candidate_for
from offloader.engine.connections import letting_go
from offloader.engine.select import Option, assess
from offloader.model import Reason, Resource, RuleMove, StrategyName

EVERY = (StrategyName.LIVE, StrategyName.CHECKPOINT, StrategyName.RESTART)
RELIEVES = {Resource.CPU: 0.5}


@pytest.fixture
def connected(make):
    leader = make.process(200, cpu_cores=1.0, remote_tcp=True, wish="allow", age_s=900.0)
    return candidate_for(make.table(leader), 200, node="head", policy=make.policy())


def rule(make, **move):
    return make.rule(move=RuleMove(strategies=EVERY, **move))


def test_no_rule_takes_it_and_the_remedy_says_what_would(make, connected):
    found = assess(connected, rule(make), RELIEVES, EVERY)
    assert found.reason is Reason.REMOTE_CONNECTION
    assert "close_connections" in found.remedy


def test_a_rule_that_may_close_them_takes_it_live_and_by_nothing_else(make, connected):
    found = assess(connected, rule(make, close_connections=True), RELIEVES, EVERY)
    assert isinstance(found, Option)
    assert (found.way.strategy, found.fallbacks) == (StrategyName.LIVE, ())
    without = assess(connected, rule(make, close_connections=True), RELIEVES, EVERY[1:])
    assert without.reason is Reason.REMOTE_CONNECTION, "a start again would not know that it had any"


def test_whoever_lets_them_go_lifts_nothing_else(make):
    leader = make.process(200, remote_tcp=True, wish="never")
    found = letting_go(candidate_for(make.table(leader), 200, node="head", policy=make.policy()))
    assert [one.reason for one in found.obstacles] == [Reason.OPTED_OUT]
    assert letting_go(make.candidate()) == make.candidate()
