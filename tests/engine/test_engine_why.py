"""One process's story: its verdict, and a sentence and commands that fit it."""

import re
from pathlib import Path

import pytest

from offloader.engine.meanings import MEANINGS
from offloader.engine.plan import plan
from offloader.engine.schema import EngineState
from offloader.engine.why import why
from offloader.model import Mode, MoveState, Obstacle, Reading, Reason, Resource, RuleSelect, StrategyName, Toggles


def story(make, candidate, *rules, state=None, fresh=None, available=(StrategyName.RESTART,), **known):
    """`fresh`: the job as it is now, where it is not as the tick saw it."""
    known.setdefault("candidates", (candidate,))
    snapshot, rules = make.snapshot(**known), rules or (make.rule(),)
    after, decisions = plan(rules, state or EngineState(), snapshot, make.policy(), available=available)
    known = {"state": after, "snapshot": snapshot, "policy": make.policy(), "available": available}
    return why(fresh or candidate, rules, decisions, **known)


CALM = {"values": {"cpu": 0.2}}
CRON = Obstacle(Reason.CRON, "started by cron (5)", "move PID")


def test_a_process_that_is_moved(make):
    told = story(make, make.candidate())
    assert (told.verdict, told.reason) == ("moves", None)
    assert told.sentence == "It is moved to gpu1 by restart, for rule head/cpu."


def test_targets_are_told_with_what_they_would_be_and_must_stay_below(make):
    [target] = story(make, make.candidate()).targets
    cpu = target.expected[Resource.CPU]
    assert (target.node, target.obstacles) == ("gpu1", ())
    assert (cpu.now, cpu.predicted) == (pytest.approx(0.05), pytest.approx(0.3))
    assert (cpu.limit, cpu.threshold) == (pytest.approx(0.72), pytest.approx(0.8))


def test_a_process_that_would_be_moved(make):
    told = story(make, make.candidate(), toggles=Toggles())
    assert (told.verdict, told.reason) == ("would_move", Reason.CEILING)
    assert "to gpu1 by restart" in told.sentence
    assert "auto --enable" in told.remedy


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [(Reason.INTERACTIVE, "never"), (Reason.TRACED, "blocked"), (Reason.ALREADY_MOVING, "moving")],
)
def test_what_nobody_moves_is_told_apart_by_whether_that_may_change(make, reason, verdict):
    told = story(make, make.candidate(obstacles=(Obstacle(reason, "seen of it", "mend PID"),)))
    assert (told.verdict, told.reason, told.remedy) == (verdict, reason, "mend 500")
    assert "seen of it" in told.sentence
    assert told.sentence.endswith(MEANINGS[reason])
    assert set(told.commands) == {"forbid"}


def test_what_is_its_owners_to_decide_is_told_with_the_command(make):
    owned = make.candidate(owner_only=(CRON,))
    told = story(make, owned, candidates=(owned, make.candidate(501)))
    assert (told.verdict, told.reason) == ("owner_only", Reason.CRON)
    assert told.commands["move"] == "grid-offloader move 500"


@pytest.mark.parametrize("known", [CALM, {}])
def test_that_only_its_owner_may_move_it_is_told_also_while_it_is_young_or_nothing_is_pressed(make, known):
    young = make.candidate(leader=make.process(500, age_s=3.0), owner_only=(CRON,))
    assert story(make, young, **known).reason == Reason.CRON


def test_a_listener_is_its_owners_unless_a_rule_takes_listeners(make):
    listening = make.candidate(owner_only=(Obstacle(Reason.LISTENER, "listens for connections"),))
    assert story(make, listening, **CALM).verdict == "owner_only"
    rule = make.rule(select=RuleSelect(listeners=True))
    assert story(make, listening, rule, **CALM).verdict == "not_now"


def test_work_that_nobody_declared_harmless_to_restart_is_its_owners(make):
    told = story(make, make.candidate(restart_safe=False), **CALM)
    assert (told.verdict, told.reason) == ("owner_only", Reason.NOT_RESTART_SAFE)


def test_a_young_process_is_told_to_be_that_also_without_pressure(make):
    """People ask before there is trouble; the gpu rule's opinion of it does not matter."""
    young = make.candidate(leader=make.process(500, age_s=3.0))
    other = make.rule("gpu", Resource.GPU, select=RuleSelect(include=("gpu_*",)))
    told = story(make, young, other, make.rule(), values={"cpu": 0.2, "gpu": 0.1})
    assert (told.verdict, told.reason) == ("not_now", Reason.TOO_YOUNG)


def test_a_process_that_nothing_asks_for_is_told_where_it_could_go(make):
    told = story(make, make.candidate(), **CALM)
    assert (told.verdict, told.reason, told.target) == ("not_now", Reason.RULE_FALSE, "gpu1")
    assert "below threshold" in told.sentence
    assert "it could go to gpu1" in told.sentence


def test_a_process_without_a_place_is_told_so(make):
    told = story(make, make.candidate(), nodes=(make.head(), make.node(cpu=0.95)))
    assert (told.verdict, told.reason, told.target) == ("not_now", Reason.NO_TARGET, None)
    assert "gpu1" in told.sentence
    assert told.targets[0].obstacles[0].reason == Reason.TARGET_BUSY


def test_a_process_that_is_outdone_by_another_is_told_so(make):
    small, large = make.candidate(500, cores=2.0), make.candidate(501, cores=2.0)
    told = story(make, large, candidates=(small, large))
    assert (told.verdict, told.reason) == ("not_now", Reason.BUDGET_NODE)
    assert "loses less" in told.sentence


def test_a_job_that_the_tick_did_not_see_yet_is_not_told_that_nothing_can_be_moved(make):
    told = story(make, make.candidate(), candidates=())
    assert (told.verdict, told.reason) == ("not_now", None)
    assert "not looked at it yet" in told.sentence


def test_what_another_job_waits_for_is_not_told(make):
    other = make.candidate(501, owner_only=(Obstacle(Reason.CRON, "started by hush (5)"),))
    told = story(make, make.candidate(), candidates=(other,))
    assert (told.verdict, told.reason) == ("not_now", Reason.BUDGET_NODE)
    assert "hush" not in told.sentence


def test_a_controller_that_only_records_does_not_say_that_it_moves_the_job(make):
    snapshot, rules, candidate = make.snapshot(), (make.rule(),), make.candidate()
    state, decisions = plan(rules, EngineState(), snapshot, make.policy(notice_s=0.0))
    held = Obstacle(Reason.DISABLED, "it only records", "")
    known = {"state": state, "snapshot": snapshot, "policy": make.policy(), "held_back": held}
    told = why(candidate, rules, decisions, **known)
    assert (told.verdict, told.reason) == ("would_move", Reason.DISABLED)
    assert "to gpu1 by restart, for rule head/cpu: it only records." in told.sentence


def test_without_data_every_process_is_told_that_nothing_is_decided(make):
    told = story(make, make.candidate(), values={"cpu": Reading("head", problem=Reason.QUERY_FAILED, detail="refused")})
    assert (told.verdict, told.reason) == ("not_now", Reason.QUERY_FAILED)


def test_one_that_was_moved_just_now_rests(make):
    told = story(make, make.candidate(), moves=(make.move(MoveState.ROLLED_BACK, created_t=990.0),))
    assert (told.verdict, told.reason) == ("not_now", Reason.BUDGET_PROCESS)


def test_a_pipeline_has_no_way_and_nobody_is_told_to_move_it(make):
    """A restart starts one command; the owner's own move would be refused too."""
    one, two = make.process(500, b"producer"), make.process(501, b"gzip", pgid=500)
    told = story(make, make.candidate(leader=one, members=(one, two)), **CALM)
    assert (told.verdict, told.reason) == ("blocked", Reason.NO_STRATEGY)
    assert "move" not in told.commands


def test_a_version_without_any_strategy_says_so(make):
    told = story(make, make.candidate(), available=(), **CALM)
    assert (told.verdict, told.reason) == ("blocked", Reason.NO_STRATEGY)


def test_the_job_is_judged_as_it_is_now_not_as_the_tick_saw_it(make):
    stopped = make.candidate(obstacles=(Obstacle(Reason.STOPPED, "is stopped", ""),))
    assert story(make, make.candidate(), fresh=stopped).reason == Reason.STOPPED


def test_without_rules(make):
    told = why(make.candidate(), (), (), state=EngineState(), snapshot=make.snapshot(), policy=make.policy())
    assert told.verdict == "not_now"
    assert "no offload rules are loaded" in told.sentence


def test_every_reason_has_a_meaning():
    """A code that is added without one would be shown without a word of explanation."""
    assert set(Reason) == set(MEANINGS)
    assert all(text.endswith(".") for text in MEANINGS.values())


def test_every_reason_is_given_by_somebody():
    """A code that nothing gives would be a promise in docs/reasons.md that nobody keeps."""
    sources = (Path(__file__).resolve().parents[2] / "offloader").rglob("*.py")
    code = "".join(one.read_text() for one in sources if one.name not in {"reasons.py", "meanings.py", "remedies.py"})
    given = set(re.findall(r'Reason\.([A-Z_]+)|"([A-Z_]+)"', code))
    assert set(Reason) <= {one or other for one, other in given}


def test_what_a_rule_proposes_to_its_owner_is_not_told_as_if_a_switch_were_missing(make):
    told = story(make, make.candidate(owner_only=(CRON,)), make.rule(mode=Mode.ADVISE))
    assert (told.verdict, told.reason) == ("owner_only", Reason.CRON)
