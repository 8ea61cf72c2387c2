"""The chain's first broken link and what mends it."""

import json

import pytest

from offloader.engine.explain import LinkName, Status, explain
from offloader.engine.history import moved
from offloader.engine.plan import plan
from offloader.engine.schema import EngineState
from offloader.model import Mode, MoveState, Obstacle, Reading, Reason, Toggles

LINKS = [name for name in LinkName if name is not LinkName.CONTROLLER]


def chain(make, *rules, state=None, **known):
    snapshot = make.snapshot(**known)
    rules = rules or (make.rule(),)
    _, decisions = plan(rules, state or EngineState(), snapshot, make.policy())
    return explain(decisions, snapshot)


def test_nothing_is_broken_while_something_moves(make):
    found = chain(make)
    assert found.broken is None
    assert [link.status for link in found.links] == [Status.OK] * 6
    assert found.to_json()["moving"] is True


def cooling(make):
    return moved(EngineState(), make.move(MoveState.DONE, 1), 999.0)


@pytest.mark.parametrize(
    ("known", "name", "reason", "mends"),
    [
        ({"values": {"cpu": Reading("head", problem=Reason.QUERY_FAILED)}}, "data", Reason.QUERY_FAILED, "Prometheus"),
        ({"values": {"cpu": Reading("head", 0.9, 99.0)}}, "data", Reason.STALE, "grid-exporter"),
        ({"values": {"cpu": 0.2}}, "rule", Reason.RULE_FALSE, "no pressure"),
        ({"rule": {"for_s": 60.0}}, "rule", Reason.RULE_PENDING, "wait"),
        ({"toggles": Toggles()}, "ceiling", Reason.CEILING, "auto --enable --mode auto"),
        ({"toggles": Toggles(Mode.AUTO, {}, True)}, "ceiling", Reason.KILL_SWITCH, "auto --enable"),
        ({"cooling": True}, "budget", Reason.COOLDOWN, "wait"),
        ({"flying": 2}, "budget", Reason.BUDGET_NODE, "budgets"),
        ({"candidates": ()}, "candidates", Reason.NO_CANDIDATE, "scan --all"),
        ({"undeclared": True}, "candidates", Reason.NOT_RESTART_SAFE, "grid-offloader move 500"),
        ({"alone": True}, "targets", Reason.NO_TARGET, "worker"),
        ({"alone": True, "toggles": Toggles()}, "ceiling", Reason.CEILING, "auto --enable"),
    ],
)
def test_the_first_broken_link_and_what_mends_it(make, known, name, reason, mends):
    known = dict(known)
    rule = make.rule(**known.pop("rule", {}))
    state = cooling(make) if known.pop("cooling", False) else None
    if flying := known.pop("flying", 0):
        known["moves"] = tuple(make.move(MoveState.FROZEN, n) for n in range(flying))
    if known.pop("undeclared", False):
        known["candidates"] = (make.candidate(restart_safe=False),)
    if known.pop("alone", False):
        known["nodes"] = (make.head(),)
    found = chain(make, rule, state=state, **known)
    assert found.broken is not None
    assert (found.broken.name, found.broken.reason) == (name, reason)
    assert mends in found.broken.remedy
    assert found.broken.seen
    index = LINKS.index(found.broken.name)
    assert [link.status for link in found.links] == [Status.OK] * index + [Status.BROKEN] + [Status.NOT_REACHED] * (
        5 - index
    )
    if found.broken.command:
        assert f"`{found.broken.command}`" in found.broken.remedy


def test_the_rule_that_came_furthest_is_told(make):
    found = chain(make, make.rule("calm"), make.rule(), values={"calm": 0.1, "cpu": 0.9}, nodes=(make.head(),))
    assert (found.rule, found.broken.name) == ("head/cpu", "targets")


def test_without_rules(make):
    found = explain((), make.snapshot())
    assert (found.rule, found.broken.name) == (None, "rule")
    assert "rules" in found.broken.seen


def test_the_chain_turns_into_json(make):
    document = json.loads(json.dumps(chain(make, toggles=Toggles()).to_json()))
    assert document["broken"]["name"] == "ceiling"
    assert [link["name"] for link in document["links"]] == [name.value for name in LINKS]


def test_a_rule_that_is_held_back_by_its_own_mode_is_not_mended_by_the_ceiling(make):
    """`auto --enable` would change nothing: the rule file says so."""
    broken = chain(make, make.rule(mode=Mode.ADVISE)).broken
    assert (broken.name, broken.reason, broken.command) == ("ceiling", Reason.CEILING, None)
    assert "own mode is advise" in broken.seen
    assert "rule" in broken.remedy


def test_what_only_records_does_not_say_that_it_moves(make):
    snapshot = make.snapshot()
    _, decisions = plan((make.rule(),), EngineState(), snapshot, make.policy())
    held = Obstacle(Reason.DISABLED, "started with --record-only", "start it without")
    broken = explain(decisions, snapshot, held_back=held).broken
    assert (broken.name, broken.reason, broken.seen) == ("ceiling", Reason.DISABLED, held.seen)


def test_a_ceiling_that_would_break_next_is_told_before_there_is_pressure(make):
    found = chain(make, values={"cpu": 0.2}, toggles=Toggles())
    ceiling = next(link for link in found.links if link.name == "ceiling")
    assert (found.broken.name, ceiling.status, ceiling.reason) == ("rule", Status.NOT_REACHED, Reason.CEILING)
    assert ceiling.seen.startswith("would not pass: ")
