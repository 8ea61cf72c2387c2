"""The document and the table."""

import json
from pathlib import Path

import jsonschema

from benchmarks.exporter import report as reports
from benchmarks.exporter.load import Load, Scenario

SCHEMA = json.loads((Path(reports.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
NO_ROOM = (Load(Scenario.THREADS, 5000), ["needs 81000 tasks"])


def documented(report):
    """As a reader gets it, checked against the schema."""
    document = json.loads(json.dumps(reports.document(report)))
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    return document


def test_schema_itself():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_document_has_every_single_scrape(report, measured, course):
    report.measured.append(measured(course(5, 6)))
    (run,) = documented(report)["measurements"]
    assert run["load"] == {
        "scenario": "plain", "processes": 5000, "significant": 125, "threads": 1, "forks_per_second": 0
    }  # fmt: skip
    assert [scrape["cpu_s"] for scrape in run["exporters"]["grid_exporter"]["scrapes"]] == [0.005, 0.006]
    assert run["kernel_limit"]["passes"][1] == {"cpu_s": 0.006, "processes": 5103, "gone": 2}
    assert [verdict["ratio"] for verdict in run["verdicts"]] == ["cpu_to_pair", "rss_to_pair", "cpu_to_kernel_limit"]


def test_the_goals_hold_only_when_all_was_measured(report, measured, course):
    """Not while it goes on, nor when something could not be measured."""
    report.measured.append(measured(course(5)))
    assert documented(report)["holds"] is None
    report.finished = "2026-01-01T00:10:00+00:00"
    assert documented(report)["holds"] is True
    report.not_run.append(NO_ROOM)
    assert documented(report)["holds"] is None


def test_a_missed_goal_is_final_at_once(report, measured, course):
    """Nothing that comes later makes it hold."""
    report.measured.append(measured(course(50)))
    assert documented(report)["holds"] is False


def test_a_missed_goal_is_named_with_its_load(report, measured, course):
    report.measured += [measured(course(5)), measured(course(5, rss_mib=41), 1000, Scenario.FORKS)]
    (missed,) = documented(report)["missed"]
    assert (missed["load"]["scenario"], missed["load"]["processes"], missed["ratio"]) == ("forks", 1000, "rss_to_pair")
    told = reports.conclusion(report)
    assert "missed: forks, 1000 processes: memory" in told
    assert "all goals hold" not in told


def test_conclusion_does_not_hide_what_was_not_run(report, measured, course):
    report.not_run.append(NO_ROOM)
    assert reports.conclusion(report) == "not run: threads, 5000 processes: needs 81000 tasks"
    report.measured.append(measured(course(5)))
    assert reports.conclusion(report).endswith("all goals hold, of those that could be measured")
    report.not_run.clear()
    assert reports.conclusion(report) == "all goals hold"


def test_table(measured, course):
    """What people see: figures under their heads, the pair's sum, the limit, each ratio with its goal."""
    assert reports.table(measured(course(4, 6, between=1.5))).splitlines() == [
        "plain, 5000 processes (5103 on the node), 2 scrapes of each",
        "                      CPU ms  in scrapes  their p99  ms to answer     p99  RSS MiB  peak  series  bytes",
        "grid_exporter (ours)    6.50        5.00       6.00          8.00   12.00     20.0  21.0     400   1000",
        "node_exporter          10.00       10.00      10.00         20.00   20.00     20.0  21.0     400   1000",
        "process_exporter       90.00       90.00      90.00        180.00  180.00     20.0  21.0     400   1000",
        "the pair              100.00      100.00                                      40.0",
        "kernel's limit          5.00",
        "CPU time, of the pair's: 0.065, goal 0.08: holds, aim 0.046: not reached",
        "memory, of the pair's: 0.5, goal 1: holds",
        "CPU time, of the kernel's limit: 1.3, goal 2.5: holds",
    ]


def test_ratios_without_a_goal_are_told_too(measured, course):
    told = reports.table(measured(course(5), 20)).splitlines()
    assert told[-3:] == [
        "CPU time, of the pair's: 0.05",
        "memory, of the pair's: 0.5, goal 1: holds",
        "CPU time, of the kernel's limit: 1",
    ]
