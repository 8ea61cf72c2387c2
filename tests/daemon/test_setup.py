"""What of the configuration reaches decisions: what nodes lend, how processes are classified."""

import json
from dataclasses import replace
from types import SimpleNamespace

from offloader.adapters.gather import gather
from offloader.config.models import ClassPattern, Cluster
from offloader.daemon.setup import Setup
from offloader.daemon.snapshot import classified
from offloader.model import Capacity, Identity, Policy, Process, ProcessClass, Role
from offloader.ports import Sample, VectorResult

NODES = [
    {"name": "head", "role": "head", "address": "h"},
    {"name": "w1", "role": "worker", "address": "w", "share": {"cores": 2}},
    {"name": "w2", "role": "worker", "address": "x", "share": False},
]


def setup() -> Setup:
    cluster = Cluster.model_validate_json(json.dumps({"cluster": "test", "nodes": NODES}))
    return Setup(SimpleNamespace(), cluster, (), Policy("head", 1000))


class Prometheus:
    """Both workers are up, fresh, and have eight cores to lend."""

    async def query(self, *exprs, **_):
        answers = []
        for expr in exprs:
            value = 1.0 if expr == "grid:up" else 0.5
            samples = [Sample({"node": name}, value, 0.0) for name in ("w1", "w2")]
            if "grid:offer_cores" in expr:
                samples = [
                    Sample({"node": name, "__name__": series}, value, 0.0)
                    for name in ("w1", "w2")
                    for series, value in (("grid:offer_cores", 8.0), ("grid:offer_memory_bytes", 8e9))
                ]
            answers.append(VectorResult(tuple(samples)))
        return tuple(answers)

    async def close(self):
        return None


async def test_a_node_lends_no_more_than_its_configuration_allows():
    made = setup()
    roles = {"w1": Role.WORKER, "w2": Role.WORKER}
    seen = await gather(Prometheus(), (), roles, now=0.0, limit_s=10.0, lend=made.lend)
    assert seen.nodes["w1"].offer == Capacity(cores=2.0, memory_bytes=8_000_000_000)
    assert seen.nodes["w2"].offer is None
    assert "share: false" in seen.nodes["w2"].offer_reason


def test_the_clusters_own_class_patterns_come_before_the_built_in_ones():
    process = Process(Identity("b", 7, 1, 1000, 0, 0), 1, 7, 7, 0, "S", "fold", "ann", argv=(b"/opt/fold", b"x"))
    own = ClassPattern.model_validate({"class": "training", "names": ("fold",)})
    plain = setup()
    patterned = replace(plain, cluster=plain.cluster.model_copy(update={"classes": (own,)}))
    assert classified(plain, {7: process})[7].process_class is ProcessClass.UNKNOWN
    assert classified(patterned, {7: process})[7].process_class is ProcessClass.TRAINING
