"""The cluster file: everything wrong is reported at once, each with its place; what is right has every default."""

import os
from pathlib import Path

import pytest

from offloader.config.load import check_cluster, find_config, load_cluster, recording_files, rule_files
from offloader.config.policy import patterns, policy, staging
from offloader.config.secrets import read_secret
from offloader.config.sharing import capped, sharing_thresholds
from offloader.config.starter import starter
from offloader.errors import ConfigError
from offloader.model import Budgets, Capacity, Policy, ProcessClass, Resource, Role, StagingLimits

SMALLEST = "cluster: lab\nnodes:\n  - {name: head, role: head, address: 192.0.2.1}\n"


@pytest.fixture
def report(tmp_path):
    def check(text):
        file = tmp_path / "cluster.yaml"
        file.write_text(text, encoding="utf-8")
        return check_cluster(file)

    return check


@pytest.fixture
def messages(report, tmp_path):
    """`line:column: message` of every problem."""

    def check(text):
        return [str(problem).removeprefix(f"{tmp_path}/cluster.yaml:") for problem in report(text).problems]

    return check


def test_the_smallest_file_has_every_default(report):
    cluster = report(SMALLEST).cluster
    assert cluster.prometheus.url == "http://127.0.0.1:9090"
    assert cluster.prometheus.scrape_interval_s == 5.0
    assert cluster.auto_offload.check_interval_s == 5.0
    assert cluster.ray.address == "http://192.0.2.1:8265"
    node = cluster.head
    assert (node.ssh.host, node.ray_node_ip, node.exporter_port, node.python) == (
        "192.0.2.1",
        "192.0.2.1",
        9777,
        "/usr/bin/python3",
    )
    assert Path(node.state_dir).is_absolute()
    assert cluster.workers == ()


def test_every_problem_is_reported_in_one_run_with_its_place(messages):
    assert messages("""\
cluster: lab
nodes:
  - {name: head, role: head, address: 192.0.2.1}
  - name: gpu1
    role: wrker
    address: http://192.0.2.2
    ssh: {prt: 22, port: 99999}
prometheus: {url: "ftp://x", timeout: 5, scrape_interval: 1:30}
auto_offload:
  thresholds: {cpu: 80, memory: 70%, gpu: true}
multi_user: on
budgets: {in_flight: -1, per_hour: 1.5}
sharing: {thresholds: {memory: {min_free: 2}}}
""") == [
        "5:11: nodes[1].role: must be 'head' or 'worker', not 'wrker'",
        "6:14: nodes[1].address: 'http://192.0.2.2' is no host name or IP address (no port, no URL)",
        '7:11: unknown key "prt"; did you mean "port"?',
        "7:26: nodes[1].ssh.port: must be less than 65536, not 99999",
        "8:19: prometheus.url: 'ftp://x' is no http(s) URL",
        "8:39: prometheus.timeout: 5 has no unit; write 5s if seconds are meant",
        "8:59: prometheus.scrape_interval: '1:30' is no duration; write it as in 30s, 2m, 1h30m, 500ms",
        "10:21: auto_offload.thresholds.cpu: 80 as a ratio is above 1; write 80% if percent is meant",
        "10:43: auto_offload.thresholds.gpu: must be a ratio as in 70% or 0.7",
        "11:13: multi_user: must be true or false, not 'on'",
        "12:22: budgets.in_flight: must be greater than or equal to 0, not -1",
        "12:36: budgets.per_hour: must be a whole number, not 1.5",
        "13:43: sharing.thresholds.memory.min_free: 2 has no unit; write 2B if bytes are meant",
    ]


def test_cross_checks_report_together_with_broken_fields_elsewhere(messages):
    found = messages(SMALLEST + "  - {name: head, role: head, address: 192.0.2.1}\nray: {timeout: soon}\n")
    assert found == [
        "4:12: name head is taken already",
        "4:24: a second head (head is one); there is only one",
        "4:39: address 192.0.2.1 is taken already by head",
        "5:16: ray.timeout: 'soon' is no duration; write it as in 30s, 2m, 1h30m, 500ms",
    ]


def test_a_broken_node_does_not_lead_to_follow_up_errors(messages):
    """With the only head unreadable, `no head` would be misleading."""
    assert messages("cluster: lab\nnodes:\n  - {name: head, role: hd, address: 192.0.2.1}\n") == [
        "3:24: nodes[0].role: must be 'head' or 'worker', not 'hd'"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", '1:1: "cluster" is missing'),
        ("[]", "1:1: must be a mapping (key: value)"),
        ("cluster: lab\nnodes: []\n", "2:8: nodes: needs at least 1"),
        ("cluster: lab\nnodes:\n  - {name: a, role: worker, address: a}\n", "no node has the role head"),
        (SMALLEST + "prometheus: {url: 'http://user:secret@x'}", "must not hold a user name or password"),
        (SMALLEST + "auto_offload: {rule_files: [none/*.yml]}", "no file matches none/*.yml"),
        (SMALLEST + "auto_offload: {target_margin: 80%}", "no cpu target could exist"),
        (SMALLEST + "classes: [{class: training}]", "needs names or words"),
        (SMALLEST + "classes: [{class: trainning, words: [a]}]", "must be 'training'"),
        (SMALLEST + "staging: {exclude: [data/, '!']}", "4:28: staging.exclude[1]: '!': must name something"),
        (SMALLEST + "staging: {max_size: 5}", "5 has no unit"),
        (SMALLEST + "staging: {exclude: ['a\\b']}", "neither backslashes"),
        (SMALLEST + "protect: {programs: [/bin/sh]}", "must be a pattern for base names"),
        (SMALLEST + f"controller: {{socket: /{'x' * 120}}}", "longer than a socket's path may be"),
        (SMALLEST + "controller: {listen: localhost}", "is no HOST:PORT"),
        (SMALLEST.replace("}", ", labels: {role: x}}"), 'label "role" is set by us or by Prometheus'),
        (SMALLEST.replace("}", ", state_dir: var/x}"), "must be an absolute path on the node"),
        (SMALLEST + "prometheus: {node_label: host-name}", "4:26: prometheus.node_label: 'host-name' is no label name"),
        (SMALLEST + "prometheus: {node_label: [instance]}", "4:26: prometheus.node_label: must be text"),
        (SMALLEST + "prometheus: {node_label: job}", '4:26: the label "job" does not tell nodes apart; use instance'),
        (SMALLEST + "prometheus: {node_label: __address__}", 'the label "__address__" does not tell nodes apart'),
        (
            SMALLEST.replace("}", ", aliases: [localhost:9100]}"),
            "3:60: nodes[0].aliases[0]: 'localhost:9100' is no name",
        ),
    ],
)
def test_one_problem_at_a_time(messages, text, message):
    found = messages(text)
    assert any(message in line for line in found), found
    assert all(line[0].isdigit() for line in found)


def test_what_a_target_may_be_called_means_one_node(messages):
    """A name, address or alias that is two nodes' would lead Prometheus to take one for the other, or to nothing."""
    assert messages("""\
cluster: lab
nodes:
  - {name: head, role: head, address: 192.0.2.1, aliases: [localhost, head, Head]}
  - {name: w1, role: worker, address: head, aliases: [localhost]}
  - {name: w2, role: worker, address: 192.0.2.2, aliases: [W1, 192.0.2.1, w2.example.org]}
""") == [
        "4:39: address head is the name of head",
        "4:55: alias localhost is head's already",
        "5:60: alias W1 is w1's already",
        "5:64: alias 192.0.2.1 is head's already",
    ]


def test_a_problem_never_repeats_a_secret_that_was_put_into_the_url(messages):
    assert not any("secret" in line for line in messages(SMALLEST + "prometheus: {url: 'http://user:secret@x'}"))


def test_a_file_with_problems_yields_no_cluster_at_all(report, tmp_path):
    assert report(SMALLEST + "unknown: 1\n").cluster is None
    with pytest.raises(ConfigError) as caught:
        load_cluster(tmp_path / "cluster.yaml")
    (problem,) = caught.value.problems
    assert problem.startswith(f'{tmp_path}/cluster.yaml:4:1: unknown key "unknown"; known here: auto_offload, budgets')


def test_a_missing_file_says_what_was_tried_and_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("GRID_OFFLOADER_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="config init") as caught:
        find_config()
    assert f"{tmp_path}/grid-offloader/cluster.yaml" in str(caught.value)
    assert "/etc/grid-offloader/cluster.yaml" in str(caught.value)


def test_the_file_named_on_the_command_line_comes_before_the_environments(tmp_path, monkeypatch):
    named, other = tmp_path / "named.yaml", tmp_path / "other.yaml"
    named.touch()
    other.touch()
    monkeypatch.setenv("GRID_OFFLOADER_CONFIG", str(other))
    assert find_config(named) == named
    assert find_config() == other


def test_a_secret_that_others_can_read_is_refused(messages, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n", encoding="utf-8")
    token.chmod(0o640)
    assert messages(SMALLEST + "ray: {token_file: token}\n") == [
        f"4:19: {token} can be read by others (mode 0640): chmod 600 {token}"
    ]
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secret(token)
    token.chmod(0o600)
    assert messages(SMALLEST + "ray: {token_file: token}\n") == []
    assert read_secret(token) == "s3cret"


def test_secrets_that_are_none_are_refused(tmp_path):
    for name, content in (("empty", b"\n"), ("binary", b"\xff\xfe"), ("large", b"x" * 70_000)):
        file = tmp_path / name
        file.write_bytes(content)
        file.chmod(0o600)
        with pytest.raises(ConfigError, match=name):
            read_secret(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path / "none")


def test_warnings_do_not_forbid_the_file(report, tmp_path):
    found = report(
        SMALLEST.replace("}", ", share: false}")
        + "ray: {token_file: later}\nsharing: {thresholds: {cpu: {max_used: 95%}}}\n"
    )
    assert found.cluster is not None
    assert [(warning.line, warning.message) for warning in found.warnings] == [
        (3, "without effect: a head never lends"),
        (4, f"{tmp_path}/later does not exist (yet)"),
        (5, "above the threshold for cpu: a worker in trouble would still offer it"),
    ]


def test_a_file_that_everybody_may_write_is_warned_about(report, tmp_path):
    """Whoever writes it decides which processes are stopped."""
    (tmp_path / "cluster.yaml").touch()
    (tmp_path / "cluster.yaml").chmod(0o666)
    assert "chmod o-w" in report(SMALLEST).warnings[0].message


def test_paths_count_from_the_file_and_tilde_is_home(report, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    cluster = report(SMALLEST + "controller: {state_dir: ../state, runtime_dir: ~/run}\n").cluster
    assert cluster.controller.state_dir == tmp_path.parent / "state"
    assert cluster.controller.socket == Path("/home/somebody/run/control.sock")


def test_rule_files_are_found_by_wildcards_else_the_shipped_ones(report, tmp_path):
    (tmp_path / "rules").mkdir()
    for name in ("b.yml", "a.yml", "c.txt"):
        (tmp_path / "rules" / name).touch()
    cluster = report(SMALLEST + "auto_offload: {rule_files: [rules/*.yml, rules/a.yml]}\n").cluster
    assert rule_files(cluster, tmp_path) == (tmp_path / "rules/a.yml", tmp_path / "rules/b.yml")
    shipped = report(SMALLEST).cluster
    assert [path.name for path in rule_files(shipped, tmp_path)] == ["default.yml"]
    assert "grid_exporter.yml" in [path.name for path in recording_files(shipped, tmp_path)]


def test_the_state_directory_is_that_of_the_account_on_the_node(report):
    text = SMALLEST + "  - {name: a, role: worker, address: a, ssh: {user: root}}\n"
    text += "  - {name: b, role: worker, address: b, ssh: {user: somebody-unknown-here}}\n"
    head, a, b = report(text).cluster.nodes
    assert a.state_dir == "/var/lib/grid-offloader"
    assert b.state_dir == "/home/somebody-unknown-here/.local/state/grid-offloader"
    assert (head.state_dir == "/var/lib/grid-offloader") == (os.geteuid() == 0)


def test_without_a_say_the_policy_is_that_of_the_design(report):
    """safety.md's numbers stand twice, in the model and in the file's defaults: they must not drift apart."""
    assert policy(report(SMALLEST).cluster, own_uid=7) == Policy(head="head", own_uid=7, budgets=Budgets())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("multi_user: true\n", "Ray needs an ordinary account of its own"),
        ("multi_user: true\nmanage: {ray_user: root}\n", "Ray never runs as root"),
    ],
)
def test_several_users_cluster_names_an_account_for_ray_that_is_not_root(messages, text, words):
    (found,) = messages(SMALLEST + text)
    assert words in found


def test_what_the_file_says_reaches_the_policy(report):
    cluster = report(
        SMALLEST
        + """\
multi_user: true
manage: {ray_user: grid-ray}
protect: {min_uid: 500, programs: [my-*], licensed: [matlab], users: [svc]}
budgets: {in_flight: 2, process_interval: 20m, quarantine: 2h}
auto_offload: {thresholds: {cpu: 60%}, stale_after: 4, stale_cap: 1m, unknown_hold: 10s, initial_cooldown: 5s}
"""
    ).cluster
    made = policy(cluster)
    assert made.multi_user
    assert (made.min_uid, made.protected, made.licensed, made.protected_users) == (
        500,
        ("my-*",),
        ("matlab",),
        ("svc",),
    )
    assert (made.budgets.in_flight, made.budgets.process_interval_s, made.budgets.quarantine_s) == (2, 1200.0, 7200.0)
    assert made.thresholds[Resource.CPU] == 0.6
    assert (made.stale_after_intervals, made.stale_cap_s) == (4.0, 60.0)
    assert (made.unknown_hold_s, made.initial_cooldown_s) == (10.0, 5.0)


def test_without_a_say_staging_has_the_limits_of_the_model(report):
    assert staging(report(SMALLEST).cluster) == StagingLimits()


def test_what_the_file_says_reaches_staging(report):
    text = """\
staging:
  enabled: false
  max_size: 10MiB
  max_files: 7
  max_file: 1MiB
  reserve: 0
  exclude: [/data, "!keep"]
  timeout: 1m
  catch_up: 5s
  carry_deletions: true
"""
    assert staging(report(SMALLEST + text).cluster) == StagingLimits(
        enabled=False,
        max_bytes=10 << 20,
        max_files=7,
        max_file_bytes=1 << 20,
        reserve_bytes=0,
        excludes=("/data", "!keep"),
        copy_s=60.0,
        catch_up_s=5.0,
        carry_deletions=True,
    )


def test_own_class_patterns_come_before_the_built_in_ones(report):
    cluster = report(SMALLEST + "classes: [{class: batch, names: [Solver], words: [fit]}]\n").cluster
    first = patterns(cluster)[0]
    assert (first.kind, first.names, first.words) == (ProcessClass.BATCH, {"solver"}, {"fit"})


def test_sharing_thresholds_as_the_controller_exports_them(report):
    found = sharing_thresholds(report(SMALLEST + "sharing: {thresholds: {cpu: {min_free: 0.5}}}\n").cluster)
    assert found[Resource.CPU, "min_free"] == 0.5
    assert found[Resource.MEMORY, "min_free"] == 2e9
    assert len(found) == 6


def test_a_node_lends_at_most_its_share(report):
    text = SMALLEST + "  - {name: a, role: worker, address: a, share: {cores: 2, memory: 4GB, gpus: 1}}\n"
    text += "  - {name: b, role: worker, address: b, share: false}\n"
    cluster = report(text).cluster
    offer = Capacity(8, 64_000_000_000, 4, 80_000_000_000)
    assert capped(offer, cluster.node("a").share) == Capacity(2, 4_000_000_000, 1, 20_000_000_000)
    assert capped(offer, cluster.node("b").share) is None
    assert capped(offer, cluster.head.share) == offer


@pytest.mark.parametrize("workers", [[], [("gpu1", "192.0.2.2"), ("gpu2", "2001:db8::2")]])
def test_the_starter_file_is_fine_as_it_is(report, workers):
    found = report(starter("lab", ("login1", "192.0.2.1"), workers))
    assert found.problems == ()
    assert found.warnings == ()
    assert [node.role for node in found.cluster.nodes] == [Role.HEAD] + [Role.WORKER] * len(workers)
