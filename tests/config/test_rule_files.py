"""Offload rule files: what they become, and everything that is wrong in them at once."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from offloader.config.promql import PromqlError
from offloader.config.rule_defaults import RuleDefaults
from offloader.config.rules import check_rules, load_rules
from offloader.config.shipped import offload_rules, prometheus_rules
from offloader.errors import ConfigError
from offloader.model import Mode, ProcessClass, Resource, RuleMove, RuleSelect, StrategyName

DEFAULTS = RuleDefaults(workers=frozenset(("gpu1", "gpu2")), head="gpu-master")
VALUE = 'grid:node_pressure:ratio{role="head",resource="cpu"}'


@pytest.fixture
def check(tmp_path):
    """Reports on files given as texts: one rule group each, or whole files."""

    def run(*texts, defaults=DEFAULTS, syntax=None):
        paths = []
        for number, text in enumerate(texts):
            path = tmp_path / f"{number}.yml"
            path.write_text(text, encoding="utf-8")
            paths.append(path)
        return check_rules(paths, defaults, recording_files=prometheus_rules(), syntax=syntax)

    return run


@pytest.fixture
def problems(check, tmp_path):
    def run(*texts, **options):
        return [str(problem).removeprefix(f"{tmp_path}/") for problem in check(*texts, **options).problems]

    return run


def rule(extra="", name="r", expr=VALUE, resource="cpu"):
    """A file with one rule; `extra` is more of its keys, in flow style."""
    return (
        f"groups:\n  - name: g\n    rules:\n      - offload: {name}\n        expr: {expr}\n"
        f"        resource: {resource}\n{extra}"
    )


def test_seven_different_mistakes_are_seven_errors_with_line_and_column(problems):
    found = problems((Path(__file__).parent / "seven_mistakes.bad.yml").read_text(encoding="utf-8"))
    expected = [
        ("0.yml:7:9", 'unknown key "treshold"; did you mean "threshold"?'),
        ("0.yml:11:14", "for: '2 minutes' is no duration"),
        ("0.yml:16:17", "relief 75% must be below the threshold 70%"),
        ("0.yml:18:15", "expr: no valid PromQL: unclosed left parenthesis"),
        ("0.yml:21:15", 'expr: the comparison ">" leaves a healthy node without a value'),
        ("0.yml:26:18", 'rule "twice" is there already'),
        ("0.yml:30:15", "expr: looks back 5s, less than two scrape intervals (2 x 5s)"),
    ]
    assert [line.partition(": ")[0] for line in found] == [place for place, _ in expected]
    for line, (_, text) in zip(found, expected, strict=True):
        assert text in line


def test_all_mistakes_in_one_and_the_same_rule_are_found_too(problems):
    found = problems(rule("        relief: 85%\n        for: soon\n        color: red\n", expr="rate(x[1s]) > 1"))
    assert len(found) == 5


def test_a_broken_threshold_leads_to_no_second_error_about_relief(problems):
    assert len(problems(rule("        threshold: 95\n        relief: 90%\n"))) == 1


@pytest.mark.parametrize(
    ("resource", "threshold", "relief", "for_s"),
    [("cpu", 0.8, 0.65, 120), ("memory", 0.7, 0.6, 30), ("gpu", 0.9, 0.8, 600)],
)
def test_what_a_rule_does_not_say_comes_from_its_resource(check, resource, threshold, relief, for_s):
    (made,) = check(rule(resource=resource)).rules
    assert made.resource is Resource(resource)
    assert (made.threshold, made.relief, made.for_s) == (threshold, relief, for_s)
    assert (made.cooldown_s, made.interval_s, made.mode, made.threshold_toggle) == (30, 5, None, True)
    assert (made.select, made.move) == (RuleSelect(), RuleMove())
    assert made.key == "g/r"


def test_an_own_threshold_is_not_toggled_from_outside(check):
    (made,) = check(rule("        threshold: 60%\n")).rules
    assert (made.threshold, made.relief, made.threshold_toggle) == (0.6, 0.45, False)


def test_relief_of_a_very_low_threshold_stays_reachable(check):
    (made,) = check(rule("        threshold: 10%\n")).rules
    assert made.relief == 0.05


def test_every_field_arrives(check):
    (made,) = check("""\
groups:
  - name: site
    interval: 10s
    rules:
      - offload: all
        expr: |
          grid:node_pressure:ratio{role="head",resource="memory"}
        when: grid:node_pressure_stall:ratio{resource="memory",kind="some"} > 0.1
        resource: memory
        threshold: 0.75
        relief: 50%
        for: 1m30s
        keep_firing_for: 5m
        cooldown: 0
        mode: approve
        select:
          classes: [training, batch]
          users: [alice]
          min_age: 5m
          include: ["train*.py"]
          exclude: [keepme]
          restart_safe: [sweep]
          listeners: true
        move: {strategies: [checkpoint], backend: ray, nodes: [gpu2], max_lost_work: 1m}
        labels: {team: ml}
        annotations: {summary: "Short of memory"}
""").rules
    assert made.group == "site"
    assert (made.interval_s, made.for_s, made.keep_firing_for_s, made.cooldown_s) == (10, 90, 300, 0)
    assert (made.threshold, made.relief, made.mode) == (0.75, 0.5, Mode.APPROVE)
    assert made.when.endswith("> 0.1")
    assert made.look_back_s == 0
    assert made.select == RuleSelect(
        (ProcessClass.TRAINING, ProcessClass.BATCH), ("alice",), 300, ("train*.py",), ("keepme",), ("sweep",), True
    )
    assert made.move == RuleMove((StrategyName.CHECKPOINT,), "ray", ("gpu2",), 60)
    assert (made.labels, made.annotations) == ({"team": "ml"}, {"summary": "Short of memory"})


def test_the_look_back_is_resolved_through_the_shipped_recording_rules(check):
    """The engine waits for it after a move; in the rule's own text there is no range to be seen."""
    (made,) = check(rule()).rules
    assert made.look_back_s == 30


def test_a_look_back_hidden_in_a_recording_rule_is_too_short_for_slow_scrapes(problems):
    (found,) = problems(rule(), defaults=RuleDefaults(scrape_interval_s=20))
    assert "looks back 30s (through grid:node_pressure:ratio), less than two scrape intervals (2 x 20s)" in found


def test_a_series_that_nobody_records_is_a_warning(check):
    report = check(rule(expr="grid:unheard_of"))
    assert report.problems == ()
    assert "grid:unheard_of" in report.warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rule().replace("offload:", "alert:"), '"alert" belongs in Prometheus\' rule files'),
        (rule().replace("offload:", "record:"), '"record" belongs in Prometheus\' rule files'),
        (rule("        threshold: 80\n"), "write 80% if percent is meant"),
        (rule("        threshold: 0\n"), "would always be exceeded"),
        (rule("        relief: 80%\n"), "relief 80% must be below the threshold 80% (the default for cpu)"),
        (rule("        for: 30\n"), "30 has no unit; write 30s"),
        (rule("        mode: automatic\n"), "must be 'observe', 'advise', 'approve' or 'auto'"),
        (rule("        select: {classes: []}\n"), "select.classes: needs at least 1"),
        (rule("        select: {include: [/usr/bin/x]}\n"), "base names"),
        (rule("        move: {nodes: [gpu3]}\n"), 'no worker is called "gpu3"; did you mean'),
        (rule("        move: {nodes: [gpu-master]}\n"), "gpu-master is the head: never a target"),
        (rule("        move: {backend: slurmm}\n"), 'no backend is called "slurmm"'),
        (rule("        labels: {a-b: x}\n"), "is no label name"),
        (rule("        labels: {a: 1}\n"), "must be text"),
        (rule("        when: x > bool 1\n"), "would always be met"),
        (rule("        when: x >\n"), "when: no valid PromQL"),
        (rule(expr="1"), "must be text"),
        (rule(expr="'1'"), "must yield one value per node"),
        (rule(expr="x[5m]"), "must yield one value per node"),
        (rule(expr='""'), "must not be empty"),
        (rule(name="'a b'"), "is no name"),
        (rule(resource="disk"), "must be 'cpu', 'memory' or 'gpu'"),
        (rule().replace("    rules:", "    interval: 5\n    rules:"), "5 has no unit"),
        (rule().replace("  - name: g\n    rules", "  - rules"), '"name" is missing'),
        ("groups:\n  - name: g\n", '"rules" is missing'),
        ("groups: {}\n", '"groups" must be a list'),
        ("groups:\n  - name: g\n    rules: [1]\n", "must be a mapping"),
        ("groups: [1]\n", "a group must be a mapping"),
        ("", '"groups" is missing'),
        ("grops: []\n", '"groups" is missing'),
        (rule() + "extra: 1\n", 'unknown key "extra"'),
        (rule() + "  - name: g\n    rules: []\n", 'group "g" is there twice'),
    ],
)
def test_one_mistake_is_one_problem_with_a_place(problems, text, message):
    found = problems(text)
    assert len(found) == 1 or text == "grops: []\n", found
    assert message in found[0]
    assert found[0].startswith("0.yml:")


def test_a_rule_of_prometheus_is_checked_further_as_if_it_were_ours(problems):
    assert len(problems(rule("        for: soon\n").replace("offload:", "alert:"))) == 2


def test_a_name_is_unique_across_files(problems):
    (found,) = problems(rule(), rule().replace("name: g", "name: other"))
    assert found.startswith("1.yml:4:18:")
    assert "0.yml:4" in found


def test_prometheus_own_opinion_comes_with_the_place_inside_the_expression(problems):
    def syntax(expressions):
        assert expressions == ["rate(x[1m]"]
        return {0: PromqlError("unclosed left parenthesis", 1, 5)}

    assert problems(rule(expr="rate(x[1m]"), syntax=syntax) == [
        "0.yml:5:19: expr: no valid PromQL: unclosed left parenthesis"
    ]


def test_what_only_prometheus_refuses_is_refused(problems):
    assert len(problems(rule(), syntax=lambda _: {0: PromqlError("too new for me", 1, 1)})) == 1


def test_nothing_is_applied_by_half(check):
    assert check(rule(), rule(name="s", extra="        for: soon\n")).rules == ()


def test_files_that_are_no_yaml_are_all_named(check):
    with pytest.raises(ConfigError) as caught:
        check("a: [", "b: {")
    assert len(caught.value.problems) == 2


def test_load_rules_raises_every_problem_and_logs_warnings(tmp_path, caplog):
    options = {"scrape_interval_s": 5, "thresholds": DEFAULTS.thresholds, "recording_files": prometheus_rules()}
    file = tmp_path / "r.yml"
    file.write_text(rule("        for: soon\n        relief: 99%\n"), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_rules([file], **options)
    assert len(caught.value.problems) == 2
    file.write_text(rule(expr="grid:unheard_of"), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert [made.name for made in load_rules([file], **options)] == ["r"]
    assert "grid:unheard_of" in caplog.text


def test_no_files_are_no_rules():
    assert load_rules([], scrape_interval_s=5, thresholds=DEFAULTS.thresholds) == ()


def test_the_shipped_rules_have_neither_problems_nor_warnings():
    report = check_rules(offload_rules(), DEFAULTS, recording_files=prometheus_rules())
    assert (report.problems, report.warnings) == ((), ())
    assert {(made.resource, made.threshold_toggle, made.mode) for made in report.rules} == {
        (resource, True, None) for resource in Resource
    }


def test_an_unreadable_recording_file_is_a_warning_not_the_end(tmp_path):
    broken = tmp_path / "recording.yml"
    broken.write_text("groups: [{name: g, rules: [{record: 'a:b', expr: 'rate('}]}]", encoding="utf-8")
    report = check_rules(offload_rules(), DEFAULTS, recording_files=[broken, tmp_path / "none", *prometheus_rules()])
    assert report.problems == ()
    assert len(report.warnings) == 2


def test_a_rule_may_name_alerts(check, problems):
    [found] = check(rule("        on_alert: [HeadIsSlow, Other]\n")).rules
    assert found.on_alert == ("HeadIsSlow", "Other")
    [plain] = check(rule()).rules
    assert plain.on_alert == ()
    [told] = problems(rule("        on_alert: HeadIsSlow\n"))
    assert "on_alert" in told


def test_alerts_that_cannot_arrive_are_a_warning(check, tmp_path):
    named = rule("        on_alert: [HeadIsSlow]\n")
    closed, heard = replace(DEFAULTS, webhook=False), replace(DEFAULTS, webhook=True)
    [warning] = check(named, defaults=closed).warnings
    assert warning.startswith(f"{tmp_path}/0.yml:7:")
    assert "webhook_token_file" in warning
    assert [check(text, defaults=one).warnings for text, one in ((named, heard), (rule(), closed))] == [(), ()]
