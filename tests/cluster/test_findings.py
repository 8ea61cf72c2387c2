"""Facts of nodes → findings: what differs, what is missing, and what mends it."""

import copy

import pytest

from offloader.cluster.findings import Level, findings
from offloader.config.load import load_cluster

FACTS = {
    "hostname": "gpu1",
    "user": "grid",
    "uid": 1000,
    "kernel": "6.1",
    "machine": "x86_64",
    "python": {"version": "3.11.2", "program": "/usr/bin/python3", "venv": True},
    "installed": {"ray": {"versions": {"ray": "2.60.0"}}, "app": {"versions": {"grid-offloader": "0.9"}}},
    "systemd": None,
    "disk": {
        "environments": {"path": "/opt/env", "free": 50e9, "writable": True, "type": "nfs4"},
        "state_dir": {"path": "/var/lib/grid-offloader", "free": 50e9, "writable": True, "type": "ext4"},
    },
    "programs": {},
    "ports": [],
    "shared": {},
    "criu": {"program": "/usr/sbin/criu", "version": "4.2"},
    "rsync": "/usr/bin/rsync",
    "nvidia": {"gpus": 0, "driver": None},
    "skew_s": 0.1,
    "skew_within_s": 0.2,
}


@pytest.fixture
def look(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "cluster: lab\nnodes:\n- {name: h, role: head, address: 10.0.0.1}\n"
        "- {name: a, role: worker, address: 10.0.0.2}\n- {name: b, role: worker, address: 10.0.0.3}\n"
    )
    cluster = load_cluster(file)

    def run(states=None, **changes):
        """`changes`: paths into the facts of node b, as python__version."""
        odd = copy.deepcopy(FACTS)
        for path, value in changes.items():
            *parents, last = path.split("__")
            inner = odd
            for key in parents:
                inner = inner[key]
            inner[last] = value
        found = findings(cluster, {"h": FACTS, "a": FACTS, "b": odd}, {"b": states or {}})
        assert all(one.level is not Level.PROBLEM for one in (*found["h"], *found["a"]))
        return [(one.check, one.found, one.remedy) for one in found["b"] if one.level is Level.PROBLEM]

    return run


def test_a_node_like_the_others_has_no_problem(look):
    assert look() == []


@pytest.mark.parametrize(
    ("changes", "check", "words", "remedy"),
    [
        ({"python__version": "3.10.1"}, "python", "too old", "nodes[].python"),
        ({"python__version": "3.12.1"}, "python", "others have 3.11", "nodes[].python"),
        ({"machine": "aarch64"}, "python", "aarch64", "nodes[].python"),
        ({"python__venv": False}, "python", "no environments", "python3-venv"),
        ({"installed__ray": {"versions": {"ray": "2.59.0"}}}, "ray", "others have 2.60.0", "cluster install"),
        ({"skew_s": -40.0}, "clock", "-40.00 s", "NTP"),
        ({"ports": [["10.0.0.3", 9777, "taken"]]}, "ports", "10.0.0.3:9777 (exporter) is taken", "ss -tlnp"),
        ({"ports": [["10.0.0.3", 6380, "no address of this node"]]}, "ports", "no address", "address"),
        ({"disk__state_dir__type": "nfs4"}, "disk", "no local disk", "state_dir"),
        ({"disk__state_dir__free": 1e6}, "disk", "only 0.0 GB", "2 GB"),
        ({"disk__environments__writable": False}, "disk", "cannot be made", "give grid"),
        ({"shared": {"/home/.token": False}}, "shared", "/home is not the head's", "mount"),
        ({"nvidia": {"gpus": 2, "driver": None}}, "nvidia", "2 GPUs", "driver"),
    ],
)
def test_each_problem_is_told_with_its_remedy(look, changes, check, words, remedy):
    ((seen, found, mends),) = look(**changes)
    assert seen == check
    assert words in found
    assert remedy in mends


def test_a_program_that_the_head_lacks_is_told_with_its_package_and_the_key_that_names_another(tmp_path):
    file = tmp_path / "cluster.yaml"
    nodes = "[{name: h, role: head, address: 10.0.0.1}, {name: a, role: worker, address: 10.0.0.2}]"
    file.write_text(f"cluster: lab\nnodes: {nodes}\nmanage: {{alertmanager_config: /etc/a.yml}}\n")
    facts = {**FACTS, "programs": {"/usr/bin/prometheus": True, "/usr/bin/prometheus-alertmanager": False}}
    found = findings(load_cluster(file), {"h": facts, "a": FACTS}, {})["h"]
    ((words, remedy),) = [(one.found, one.remedy) for one in found if one.check == "programs"]
    assert words == "no /usr/bin/prometheus-alertmanager"
    assert remedy == "apt-get install prometheus-alertmanager, or name it: manage.alertmanager_program"


@pytest.mark.parametrize(
    ("changes", "words", "remedy"),
    [
        ({}, None, None),
        ({"uid": 1000}, "we are grid there", "ssh.user"),
        ({"accounts": {"grid-ray": None}}, "grid-ray is no ordinary account", "useradd --system"),
        ({"accounts": {"grid-ray": {"uid": 0, "groups": []}}}, "grid-ray is no ordinary account", "useradd"),
        ({"accounts": {"grid-ray": {"uid": 998, "groups": ["docker", "x"]}}}, "in group docker", "out of that group"),
        ({"sudo": None}, "no sudo", "apt-get install sudo"),
    ],
)
def test_what_several_users_cluster_needs_is_told(tmp_path, changes, words, remedy):
    file = tmp_path / "cluster.yaml"
    nodes = "[{name: h, role: head, address: 10.0.0.1}, {name: a, role: worker, address: 10.0.0.2}]"
    file.write_text(f"cluster: lab\nnodes: {nodes}\nmulti_user: true\nmanage: {{ray_user: grid-ray}}\n")
    good = {**FACTS, "uid": 0, "sudo": "/usr/bin/sudo", "accounts": {"grid-ray": {"uid": 998, "groups": ["grid-ray"]}}}
    found = findings(load_cluster(file), {"h": good, "a": {**good, **changes}}, {})
    (one,) = [one for one in found["a"] if one.check == "account"]
    if words is None:
        assert (one.level, "everybody's work moves" in one.found) == (Level.FINE, True)
    else:
        assert (one.level, words in one.found, remedy in one.remedy) == (Level.PROBLEM, True, True), one


def test_a_slow_answer_is_no_wrong_clock(look):
    assert look(skew_s=3.0, skew_within_s=2.5) == []


def test_a_port_taken_by_the_service_itself_is_fine(look):
    assert look(states={"exporter": {"state": "running"}}, ports=[["10.0.0.3", 9777, "taken"]]) == []


def test_what_is_only_worth_knowing_is_no_problem(look):
    assert look(criu=None, rsync=None, installed={}) == []
