"""The document and the table."""

import json
from pathlib import Path

import jsonschema

from benchmarks.live_move import report as reports

SCHEMA = json.loads((Path(reports.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))


def documented(report):
    """As a reader gets it, checked against the schema."""
    document = json.loads(json.dumps(reports.document(report)))
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    return document


def test_schema_itself():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_document_has_every_single_stop(report, measured):
    report.measured.append(measured(0.8, 1.0))
    (run,) = documented(report)["measurements"]
    assert run["ways"]["ours"]["stops"][1] == {"stood_still_s": 1.0, "steps_s": {"frozen": 0.5, "saved": 0.01}}
    assert run["ways"]["page-server"] == {
        "median_s": 1.0,
        "stops": [{"stood_still_s": 0.9}, {"stood_still_s": 1.0}, {"stood_still_s": 5.0}],
    }
    assert (run["best_by_hand"], run["ratio"], run["goal"], run["holds"]) == ("page-server", 0.9, 1.1, True)


def test_the_goal_holds_only_when_all_was_measured(report, measured):
    """Not while it goes on, nor when a size could not be measured."""
    report.measured.append(measured(0.5))
    assert documented(report)["holds"] is None
    report.finished = "2026-01-01T00:10:00+00:00"
    assert documented(report)["holds"] is True
    report.not_run.append((1024, "the move failed"))
    assert documented(report)["holds"] is None


def test_a_missed_goal_is_final_at_once_and_named(report, measured):
    report.measured += [measured(0.5), measured(2.0, mebibytes=1024)]
    document = documented(report)
    assert (document["missed"], document["holds"]) == ([1024], False)
    assert reports.conclusion(report) == "missed: 1024 MiB: ours to page-server: 2, goal 1.1: MISSED"


def test_conclusion_does_not_hide_what_was_not_run(report, measured):
    report.not_run.append((1024, "the move failed"))
    assert reports.conclusion(report) == "not run: 1024 MiB: the move failed"
    report.measured.append(measured(0.5))
    assert reports.conclusion(report).endswith("all goals hold, of those that could be measured")
    report.not_run.clear()
    assert reports.conclusion(report) == "all goals hold"


def test_table(measured):
    """What people see: each way with its median and extremes, where ours spends its time, the goal."""
    assert reports.table(measured(0.8, 1.2, 1.0)).splitlines() == [
        "200 MiB, stopped 3 times in each way",
        "             median s  least   most",
        "ours            1.000  0.800  1.200",
        "page-server     1.000  0.900  5.000",
        "tar             2.500  2.000  3.000",
        "rsync           8.500  8.000  9.000",
        "of ours, by the state of the move: frozen 0.500, saved 0.010",
        "ours to page-server: 1, goal 1.1: holds",
    ]
