"""From answers to readings: every doubt of the safety semantics is a problem, and never a number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offloader.adapters.gather import gather
from offloader.adapters.node_views import CAPACITIES
from offloader.adapters.readings import Answer, Health, health, pressures, reading, truth
from offloader.config import series
from offloader.model import Reason, Resource, Role, Rule, Truth
from offloader.ports import Sample, VectorResult

NOW = 1_700_000_000.0
FRESH = Health(age_s=2.0)


def vector(*pairs: tuple[dict[str, str], float], t: float = NOW, **more: object) -> VectorResult:
    return VectorResult(tuple(Sample(labels, value, t) for labels, value in pairs), **more)


def answer(*pairs: tuple[dict[str, str], float], **more: object) -> Answer:
    return Answer.of(vector(*pairs, **more))


def state(up: Answer, ages: Answer) -> Health:
    return health("head", up, ages, limit_s=15.0, now=NOW)


UP = answer(({"node": "head"}, 1.0))
YOUNG = answer(({"node": "head"}, 2.0))


def test_a_fresh_single_finite_sample_is_a_value_with_the_age_of_the_raw_sample():
    found = reading("head", answer(({"node": "head"}, 0.9), ({"node": "gpu1"}, 0.1)), FRESH, limit_s=15.0)
    assert (found.value, found.age_s, found.problem) == (0.9, 2.0, None)


@pytest.mark.parametrize(
    ("given_answer", "problem"),
    [
        (Answer.of(VectorResult(error="connection refused")), Reason.QUERY_FAILED),
        (answer(({"node": "head"}, 0.9), warnings=("partial",)), Reason.WARNINGS),
        (answer(), Reason.NO_DATA),
        (answer(({"node": "gpu1"}, 0.9)), Reason.NO_DATA),
        (answer(({}, 0.9)), Reason.NO_DATA),
        (answer(({"node": "head"}, math.nan)), Reason.NOT_A_NUMBER),
        (answer(({"node": "head"}, math.inf)), Reason.NOT_A_NUMBER),
        (answer(({"node": "head", "job": "a"}, 0.9), ({"node": "head", "job": "b"}, 0.9)), Reason.AMBIGUOUS),
    ],
)
def test_every_doubt_about_the_answer_is_a_problem(given_answer, problem):
    found = reading("head", given_answer, FRESH, limit_s=15.0)
    assert (found.value, found.problem) == (None, problem)
    assert found.detail


@pytest.mark.parametrize(
    ("up", "ages", "problem"),
    [
        (UP, answer(({"node": "head"}, 15.1)), Reason.STALE),
        (UP, answer(), Reason.STALE),
        (UP, answer(({"node": "head"}, math.nan)), Reason.STALE),
        (UP, answer(({"node": "head"}, 2.0), ({"node": "head"}, math.nan)), Reason.STALE),
        (UP, answer(({"node": "head", "job": "a"}, 2.0), ({"node": "head", "job": "b"}, 99.0)), Reason.STALE),
        (UP, answer(({"node": "head"}, 2.0), t=NOW - 60), Reason.STALE),
        (answer(({"node": "head"}, 0.0)), YOUNG, Reason.DOWN),
        (answer(({"node": "head"}, math.nan)), YOUNG, Reason.DOWN),
        (answer(({"node": "head", "job": "a"}, 1.0), ({"node": "head", "job": "b"}, 0.0)), YOUNG, Reason.DOWN),
        (answer(), YOUNG, Reason.NO_DATA),
        (Answer.of(VectorResult(error="no")), YOUNG, Reason.QUERY_FAILED),
        (UP, Answer.of(VectorResult(error="no")), Reason.QUERY_FAILED),
        (UP, answer(({"node": "head"}, 2.0), warnings=("partial",)), Reason.WARNINGS),
    ],
)
def test_every_doubt_about_the_node_is_a_problem_of_all_its_readings(up, ages, problem):
    """Stale also: an answer out of a cache, and the older one of two exporters."""
    node = state(up, ages)
    found = reading("head", answer(({"node": "head"}, 0.9)), node, limit_s=15.0)
    assert (found.value, found.problem) == (None, problem)
    assert truth("head", answer(({"node": "head"}, 1.0)), node) is Truth.UNKNOWN
    assert not node.up


def test_a_node_that_is_down_says_so_although_its_samples_are_gone_too():
    node = state(answer(({"node": "head"}, 0.0)), answer(({"node": "head"}, 400.0)))
    assert reading("head", answer(), node, limit_s=15.0).problem is Reason.DOWN


def test_a_value_recorded_too_long_ago_is_stale_although_the_raw_samples_are_fresh():
    fresh = answer(({"node": "head"}, 0.9))
    assert reading("head", fresh, FRESH, limit_s=15.0, recorded_s=16.0).problem is Reason.STALE
    unknown = reading("head", fresh, FRESH, limit_s=15.0, recorded_s=math.inf)
    assert (unknown.problem, unknown.age_s) == (Reason.STALE, 2.0)  # an infinite age could not be written as JSON
    assert reading("head", fresh, FRESH, limit_s=15.0, recorded_s=4.0).age_s == 4.0


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (answer(({"node": "head"}, 0.0)), Truth.TRUE),
        (answer(({}, 1.0)), Truth.TRUE),
        (answer(), Truth.FALSE),
        (answer(({"node": "gpu1"}, 1.0)), Truth.FALSE),
        (answer(({"node": "head"}, math.nan)), Truth.UNKNOWN),
        (Answer.of(VectorResult(error="timeout")), Truth.UNKNOWN),
        (answer(warnings=("partial",)), Truth.UNKNOWN),
    ],
)
def test_a_condition_is_true_where_it_gives_a_sample_and_unknown_when_it_cannot_be_trusted(result, expected):
    assert truth("head", result, FRESH) is expected


def test_pressure_is_read_per_resource_and_a_node_without_a_gpu_is_no_problem():
    both = answer(
        ({"node": "head", "resource": "cpu"}, 0.9),
        ({"node": "gpu1", "resource": "gpu"}, 0.2),
    )
    found = pressures("head", both, answer(), FRESH, limit_s=15.0)
    assert found[Resource.CPU].value == 0.9
    assert found[Resource.MEMORY].problem is Reason.NO_DATA
    assert Resource.GPU not in found


samples = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["node", "job"]), st.sampled_from(["head", "gpu1"])),
        st.floats(allow_nan=True, allow_infinity=True),
    ),
    max_size=4,
)
results = st.builds(
    lambda pairs, warnings, error: vector(*pairs, warnings=warnings, error=error),
    samples,
    st.sampled_from([(), ("w",)]),
    st.sampled_from([None, "failed"]),
)


@given(results, results, results, st.floats(min_value=0))
def test_whatever_prometheus_says_a_value_is_single_finite_fresh_and_up(value, up, ages, recorded_s):
    """The invariant: no reading has a value unless every condition of safety.md holds; exactly one of both is set."""
    found = reading(
        "head", Answer.of(value), state(Answer.of(up), Answer.of(ages)), limit_s=15.0, recorded_s=recorded_s
    )
    assert (found.value is None) != (found.problem is None)
    if found.value is None:
        return
    mine = [one for one in value.samples if one.labels.get("node") == "head"]
    assert [one.value for one in mine] == [found.value]
    assert math.isfinite(found.value)
    assert not any((one.error or one.warnings) for one in (value, up, ages))
    assert {one.value for one in up.samples if one.labels.get("node") == "head"} == {1.0}
    assert all(one.value <= 15.0 for one in ages.samples if one.labels.get("node") == "head")
    assert recorded_s <= 15.0


class Canned:
    """A MetricsSource whose answers are given by a piece of the query."""

    def __init__(self, answers: dict[str, VectorResult]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.at: float | None = None

    async def query(self, *exprs: str, at: float | None = None) -> tuple[VectorResult, ...]:
        self.asked += exprs
        self.at = at
        return tuple(self.answers.get(expr, VectorResult()) for expr in exprs)

    async def close(self) -> None: ...


NODES = {"head": Role.HEAD, "gpu1": Role.WORKER, "gpu2": Role.WORKER}
AGES = f"{series.AGE} + (time() - timestamp({series.AGE}))"
BASE = {
    series.UP: vector(*(({"node": node}, 1.0) for node in NODES)),
    AGES: vector(*(({"node": node}, 3.0) for node in NODES)),
}


def capacities(*rows: tuple[str, str, float]) -> dict[str, VectorResult]:
    names = "|".join(CAPACITIES)
    return {f'{{__name__=~"{names}"}}': vector(*(({"__name__": name, "node": node}, v) for node, name, v in rows))}


async def gathered(answers: dict[str, VectorResult], rules: list[Rule] | None = None, **more: object):
    return await gather(Canned(BASE | answers), rules or [], NODES, now=NOW, limit_s=15.0, **more)


async def test_offers_and_totals_become_capacities():
    found = await gathered(
        capacities(
            ("gpu1", series.CORES, 8.0),
            ("gpu1", series.MEMORY_BYTES, 64e9),
            ("gpu1", series.OFFER_CORES, 5.5),
            ("gpu1", series.OFFER_MEMORY_BYTES, 2e9),
            ("gpu1", series.OFFER_GPUS, 1.0),
            ("gpu1", series.OFFER_GPU_MEMORY_BYTES, 1e9),
            ("gpu2", series.OFFER_CORES, 4.0),
        ),
        draining=["gpu2"],
    )
    gpu1, gpu2 = found.nodes["gpu1"], found.nodes["gpu2"]
    assert (gpu1.total.cores, gpu1.total.memory_bytes) == (8.0, 64_000_000_000)
    assert gpu1.offer is not None
    assert (gpu1.offer.cores, gpu1.offer.memory_bytes, gpu1.offer.gpus) == (5.5, 2_000_000_000, 1)
    assert (gpu2.offer, gpu2.draining, bool(gpu2.offer_reason)) == (None, True, True)  # cores, but no memory


@pytest.mark.parametrize(
    "rows",
    [
        [("gpu1", series.OFFER_CORES, math.nan)],
        [("gpu1", series.OFFER_CORES, math.inf)],
        [("gpu1", series.OFFER_CORES, -1.0)],
        [("gpu1", series.OFFER_CORES, 5.0)],  # twice: contradictory
    ],
)
async def test_an_offer_that_makes_no_sense_is_no_offer(rows):
    good = [("gpu1", series.OFFER_CORES, 5.0), ("gpu1", series.OFFER_MEMORY_BYTES, 2e9)]
    found = (await gathered(capacities(*good, *rows))).nodes["gpu1"]
    assert found.offer is None
    assert series.OFFER_CORES in found.offer_reason


async def test_a_worker_that_is_down_offers_nothing_although_its_offer_is_still_found():
    good = [("gpu1", series.OFFER_CORES, 5.0), ("gpu1", series.OFFER_MEMORY_BYTES, 2e9)]
    down = {series.UP: vector(({"node": "gpu1"}, 0.0), ({"node": "head"}, 1.0))}
    found = (await gathered(capacities(*good) | down)).nodes
    assert (found["gpu1"].up, found["gpu1"].offer) == (False, None)
    assert found["head"].up


async def test_rules_are_read_for_the_head_only_and_conditions_belong_to_their_rule():
    """Only the head's pressure triggers; a rule without a condition has no entry among the conditions."""
    plain = Rule("g", "plain", "a", Resource.CPU, 0.8, 0.6, 60.0)
    conditional = Rule("g", "conditional", "b", Resource.CPU, 0.8, 0.6, 60.0, when="c")
    everywhere = vector(*(({"node": node}, 0.5) for node in NODES))
    found = await gathered({"a": everywhere, "b": everywhere}, [plain, conditional])
    assert set(found.values) == {("g/plain", "head"), ("g/conditional", "head")}
    assert found.values["g/plain", "head"].value == 0.5
    assert found.whens == {("g/conditional", "head"): Truth.FALSE}
    assert found.ages_s["gpu2"] == 3.0


async def test_one_question_per_rule_and_six_for_the_rest_whatever_the_number_of_nodes():
    rules = [Rule("g", str(n), f"r{n}", Resource.CPU, 0.8, 0.6, 60.0) for n in range(7)]
    source = Canned(BASE)
    await gather(source, rules, NODES | {f"w{n}": Role.WORKER for n in range(500)}, now=NOW, limit_s=15.0)
    assert len(source.asked) == 13


@pytest.mark.parametrize(("value", "age_s", "expected"), [(0.4, 3.0, 0.4), (0.4, 60.0, None), (math.nan, 3.0, None)])
async def test_how_much_the_head_waits_for_memory_counts_only_while_it_is_known(value, age_s, expected):
    stall = f'{series.STALL}{{resource="memory",kind="some"}}'
    ages = {AGES: vector(*(({"node": node}, age_s) for node in NODES))}
    found = await gathered({stall: vector(({"node": "head"}, value))} | ages)
    assert found.memory_stalls == {"head": expected}


async def test_a_moment_in_the_past_is_asked_for_as_such_and_the_present_is_not():
    source = Canned(BASE)
    for past, at in ((False, None), (True, NOW)):
        await gather(source, [], NODES, now=NOW, limit_s=15.0, past=past)
        assert source.at == at
