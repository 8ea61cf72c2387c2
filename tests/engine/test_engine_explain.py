"""The chain's first broken link and what mends it; and one process's story."""

import json

import pytest

from offloader.engine.explain import LinkName, Status, explain
from offloader.engine.history import moved
from offloader.engine.plan import plan
from offloader.engine.schema import EngineState
from offloader.engine.why import why
from offloader.model import Mode, MoveState, Obstacle, Reading, Reason, Toggles


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
    index = list(LinkName).index(found.broken.name)
    assert [link.status for link in found.links] == [Status.OK] * index + [Status.BROKEN] + [Status.NOT_REACHED] * (
        5 - index
    )


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
    assert [link["name"] for link in document["links"]] == [name.value for name in LinkName]


def story(make, candidate, **known):
    known.setdefault("candidates", (candidate,))
    snapshot = make.snapshot(**known)
    _, decisions = plan((make.rule(),), EngineState(), snapshot, make.policy())
    return why(candidate, decisions, snapshot, make.policy())


def test_a_process_that_is_moved(make):
    told = story(make, make.candidate())
    assert told.verdict == "moves"
    assert "gpu1" in told.sentence
    assert told.targets[0]["predicted"]["cpu"] == pytest.approx(0.3)


def test_a_process_that_would_be_moved(make):
    told = story(make, make.candidate(), toggles=Toggles())
    assert (told.verdict, told.rules[0]["reason"]) == ("would_move", "CEILING")


def test_a_process_that_never_is(make):
    told = story(make, make.candidate(obstacles=(Obstacle(Reason.TRACED, "traced by process 7", "detach"),)))
    assert (told.verdict, told.sentence) == ("never", "It is never moved: traced by process 7.")
    assert "move" not in told.commands
    assert told.rules[0]["reason"] == "TRACED"


def test_a_process_that_is_its_owners(make):
    owned = make.candidate(owner_only=(Obstacle(Reason.CRON, "started by cron (5)"),))
    told = story(make, owned, candidates=(owned, make.candidate(501)))
    assert told.verdict == "owner_only"
    assert told.commands["move"] == "grid-offloader move 500"


def test_a_process_that_is_not_moved_for_a_rules_reason(make):
    young = make.process(500, age_s=3.0)
    told = story(make, make.candidate(leader=young, age_s=3.0))
    assert (told.verdict, told.rules[0]["reason"]) == ("not_now", "TOO_YOUNG")


def test_a_process_that_nothing_asks_for(make):
    told = story(make, make.candidate(), values={"cpu": 0.2})
    assert told.verdict == "not_now"
    assert "below threshold" in told.sentence


def test_the_story_turns_into_json(make):
    document = json.loads(json.dumps(story(make, make.candidate()).to_json()))
    assert {"pid", "verdict", "sentence", "rules", "ways", "targets", "commands"} <= set(document)
