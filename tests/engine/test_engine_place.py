"""Where a candidate may go: never the head, never where it would become a problem."""

from dataclasses import replace

import pytest

from offloader.engine.place import place, place_on
from offloader.engine.schema import Target
from offloader.model import Capacity, Obstacle, Reading, Reason, Resource, Role

NONE = {}


def nodes(make, *workers):
    return {node.name: node for node in (make.head(), *workers)}


def refusals(make, node, candidate=None, *, reserved=None, name=None, **known):
    found = place_on(
        candidate or make.candidate(), name or node.name, nodes(make, node), reserved or NONE, make.policy(), **known
    )
    return [one.reason for one in found]


def test_an_idle_worker_takes_it(make):
    assert refusals(make, make.node()) == []


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"role": Role.HEAD}, [Reason.TARGET_IS_HEAD]),
        ({"up": False}, [Reason.TARGET_DOWN]),
        ({"draining": True}, [Reason.TARGET_DRAINING]),
        ({"offer": None, "offer_reason": "busy"}, [Reason.TARGET_FULL]),
        ({"cpu": 0.8}, [Reason.TARGET_BUSY]),
        ({"memory": 0.71}, [Reason.TARGET_BUSY]),
        ({"pressure": {}}, [Reason.TARGET_UNKNOWN, Reason.TARGET_UNKNOWN]),
        ({"total": Capacity(), "offer": Capacity(8.0, 1 << 40)}, [Reason.TARGET_UNKNOWN, Reason.TARGET_UNKNOWN]),
    ],
)
def test_what_keeps_work_from_a_node(make, changes, reasons):
    assert refusals(make, make.node(**changes)) == reasons


def test_the_head_of_the_policy_is_never_a_target_even_if_it_were_called_a_worker(make):
    disguised = make.node("head")
    found = place_on(make.candidate(), "head", {"head": disguised}, NONE, make.policy())
    assert Reason.TARGET_IS_HEAD in [one.reason for one in found]


def test_a_node_that_is_not_there(make):
    assert refusals(make, make.node(), name="gpu9") == [Reason.TARGET_UNKNOWN]


def test_only_the_nodes_that_the_rule_allows(make):
    assert refusals(make, make.node(), allowed=("gpu2",)) == [Reason.TARGET_NOT_ALLOWED]
    assert refusals(make, make.node(), allowed=("gpu1",)) == []


def test_where_it_runs_already(make):
    candidate = replace(make.candidate(), node="gpu1")
    assert refusals(make, make.node(), candidate) == [Reason.TARGET_NOT_ALLOWED]


@pytest.mark.parametrize("age_s", [16.0, None, -16.0])
def test_an_old_pressure_is_no_pressure(make, age_s):
    node = make.node()
    stale = {**node.pressure, Resource.CPU: Reading("gpu1", 0.0, age_s)}
    assert refusals(make, replace(node, pressure=stale), stale_after_s=15.0) == [Reason.TARGET_UNKNOWN]


def test_the_prediction_keeps_a_tenth_below_the_threshold(make):
    """Threshold 80 %, margin 10 %: 72 % is the limit, and reaching it is too much."""
    small = make.candidate(cores=0.5)
    worker = make.node(cpu=0.22, total=Capacity(1.0, 32 << 30))
    assert refusals(make, worker, small) == [Reason.TARGET_BUSY]
    worker = make.node(cpu=0.21, total=Capacity(1.0, 32 << 30))
    assert refusals(make, worker, small) == []


def test_a_worker_of_less_than_a_core_takes_half_a_core(make):
    small = make.candidate(cores=0.45)
    worker = make.node(cpu=0.02, total=Capacity(0.66, 6 << 30))
    assert refusals(make, worker, small) == []


def test_capacity_is_the_offer_less_the_ledger(make):
    assert refusals(make, make.node(), reserved={"gpu1": Capacity(7.0)}) == [Reason.TARGET_FULL]


def test_what_is_reserved_counts_before_it_shows(make):
    """A move in flight does not show in the pressure yet: 3 reserved and 3 new cores of 8 are 75 %."""
    large, idle = make.candidate(cores=3.0), make.node(cpu=0.0)
    assert refusals(make, idle, large, reserved={"gpu1": Capacity(3.0)}) == [Reason.TARGET_BUSY]
    assert refusals(make, idle, large, reserved={"gpu1": Capacity(2.5)}) == []


def test_what_is_reserved_comes_on_top_of_what_runs_there_already(make):
    """25 % in use, 25 % on its way, 25 % to come: the worker would be over 72 %, though no two of them are."""
    job = make.candidate(cores=2.0)
    assert refusals(make, make.node(cpu=0.25), job, reserved={"gpu1": Capacity(2.0)}) == [Reason.TARGET_BUSY]
    assert refusals(make, make.node(cpu=0.20), job, reserved={"gpu1": Capacity(2.0)}) == []


def test_a_busy_gpu_keeps_only_gpu_work_away(make):
    total = Capacity(8.0, 32 << 30, 1, 16 << 30)
    worker = make.node(gpu=0.95, total=total)
    assert refusals(make, worker) == []
    gpu_work = make.candidate(usage=Capacity(1.0, 1 << 30, 1, 4 << 30))
    assert refusals(make, worker, gpu_work) == [Reason.TARGET_BUSY]
    assert refusals(make, make.node(gpu=0.1, total=total), gpu_work) == []
    assert Reason.TARGET_FULL in refusals(make, make.node(), gpu_work), "no GPU there"


def placed(make, *workers, candidate=None, **known):
    return place(
        candidate or make.candidate(), nodes(make, *workers), known.pop("reserved", NONE), make.policy(), **known
    )


def test_the_worker_that_stays_least_loaded(make):
    target = placed(make, make.node("gpu1", cpu=0.3), make.node("gpu2", cpu=0.1))
    assert isinstance(target, Target)
    assert (target.node, target.predicted[Resource.CPU]) == ("gpu2", pytest.approx(0.35))


def test_ties_go_by_name(make):
    assert placed(make, make.node("b"), make.node("a")).node == "a"


def test_no_target_tells_why_each_kind_is_out(make):
    found = placed(make, make.node("a", up=False), make.node("b", up=False), make.node("c", cpu=0.9))
    assert isinstance(found, Obstacle)
    assert found.reason is Reason.NO_TARGET
    assert "2 x TARGET_DOWN (a does not answer)" in found.seen
    assert "1 x TARGET_BUSY" in found.seen


def test_a_cluster_without_workers_says_so(make):
    assert placed(make).seen == "there is no worker"
