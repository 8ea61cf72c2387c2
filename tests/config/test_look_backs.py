"""How far back the pressure of a node looks is read off the recording rules, or not known."""

from pathlib import Path

import pytest

from offloader.config.complete import complete
from offloader.config.models import Cluster
from offloader.config.ruleset import pressure_look_backs
from offloader.config.shipped import shipped
from offloader.model import Resource

NODES = ({"name": "head", "role": "head", "address": "127.0.0.1"},)


def look_backs(*files: Path):
    cluster = complete(Cluster.model_validate({"cluster": "test", "nodes": NODES}))
    if files:
        prometheus = cluster.prometheus.model_copy(update={"rule_files": tuple(map(str, files))})
        cluster = cluster.model_copy(update={"prometheus": prometheus})
    return pressure_look_backs(cluster, Path("/"))


def test_the_shipped_rules_say_it_of_every_resource():
    assert look_backs() == {Resource.CPU: 30.0, Resource.MEMORY: 0.0, Resource.GPU: 30.0}


@pytest.mark.parametrize(
    "file", sorted(shipped("rules", "prometheus", "sources").glob("*.yml")), ids=lambda file: file.stem
)
def test_those_for_other_exporters_look_back_no_longer_than_a_few_minutes(file):
    assert all(0 <= seconds <= 300 for seconds in look_backs(file).values())


def test_without_a_recording_rule_it_is_not_known(tmp_path):
    (tmp_path / "none.yml").write_text("groups: []\n")
    assert look_backs(tmp_path / "none.yml") == {}
