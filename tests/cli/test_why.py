"""`why`: what is asked, what a stranger reads, what a program gets, and the exit codes."""

import json
from pathlib import Path

import jsonschema
import pytest

from offloader.errors import NotFound, NotPermitted
from offloader.model import Reason

from .conftest import move_document

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/why.schema.json").read_text(encoding="utf-8"))
NAMES = ["controller", "data", "rule", "ceiling", "budget", "candidates", "targets"]


def link(name, status="ok", **more):
    return {
        "name": name,
        "status": status,
        "seen": f"{name} seen",
        "reason": None,
        "remedy": "",
        "command": None,
    } | more


BROKEN = link(
    "ceiling",
    "broken",
    seen="the ceiling is observe",
    reason="CEILING",
    remedy="let rules act: `grid-offloader auto --enable`",
    command="grid-offloader auto --enable",
)
NOBODY = link(
    "candidates", "broken", seen="none of them", reason="NO_CANDIDATE", remedy="see", command="grid-offloader x"
)
CLUSTER = {
    "kind": "cluster",
    "version": 1,
    "t": 1.0,
    "running": True,
    "sentence": "Nothing is moved: the ceiling is observe.",
    "rule": "g/cpu",
    "moving": False,
    "broken": BROKEN,
    "links": [
        BROKEN if name == "ceiling" else link(name, "ok" if n < 3 else "not_reached", seen="")
        for n, name in enumerate(NAMES)
    ],
    "next": "nothing",
    "candidates": [{"pid": 7, "reason": "TRACED", "seen": "traced by process 9", "meaning": "A debugger holds it."}],
    "rules": [],
    "moves_in_flight": [],
}
YOUNG = {
    "reason": "TOO_YOUNG",
    "seen": "3 s old, the rule asks for 60 s",
    "remedy": "wait",
    "meaning": "Young ones end.",
}
WAY = {
    "strategy": "restart",
    "work_lost_s": 720.0,
    "stop_s": 5.0,
    "lost_s": 725.0,
    "blocked": None,
    "owner_only": False,
}
PROCESS = {
    "kind": "process",
    "version": 1,
    "t": 1.0,
    "running": True,
    "pid": 4243,
    "verdict": "not_now",
    "reason": "TOO_YOUNG",
    "sentence": "It is not moved now: 3 s old, the rule asks for 60 s.",
    "remedy": "wait, or move it by hand: `grid-offloader move 4242`",
    "job": {
        "pid": 4242,
        "name": "train.py",
        "user": "alice",
        "uid": 1000,
        "node": "head1",
        "class": "training",
        "movable": True,
        "target": "gpu1",
        "usage": {"cores": 1.5, "memory_bytes": 3e9},
        "requirements": {},
        "age_s": 720.0,
        "processes": 2,
        "obstacles": [],
        "owner_only": [{"reason": "CRON", "seen": "started by cron (5)", "remedy": "its owner may"}],
        "argv": ["python3", "train.py", "\x1b[2Jevil"],
        "cwd": "/home/alice",
    },
    "members": [{"pid": 4242, "comm": "python3", "state": "R", "cores": 1.5}],
    "relieves": {"cpu": 0.19},
    "rules": [
        {
            "rule": "g/cpu",
            "resource": "cpu",
            "state": "firing",
            "mode": "auto",
            "value": 0.93,
            "age_s": 2.0,
            "threshold": 0.8,
            "relief": 0.65,
            "decision": "refused",
            "reason": "NO_CANDIDATE",
            "seen": "none",
            "against": YOUNG,
            "way": None,
        }
    ],
    "ways": [WAY],
    "targets": [
        {
            "node": "gpu1",
            "fits": True,
            "expected": {"cpu": {"now": 0.1, "predicted": 0.29, "limit": 0.72, "threshold": 0.8}},
            "obstacles": [],
        }
    ],
    "commands": {
        "plan": "grid-offloader move 4242 --dry-run",
        "move": "grid-offloader move 4242",
        "forbid": "GRID_OFFLOAD=never COMMAND...",
    },
    "moves": [],
}
MOVE = {
    "kind": "move",
    "version": 1,
    "t": 1.0,
    "running": True,
    "sentence": "It was to be moved from head1 to gpu1, and that was taken back.",
    "reason": "NOT_PROVEN",
    "remedy": "",
    "move": move_document("planned", "frozen", "rolled_back", reason="NOT_PROVEN", detail="it ended with 1"),
}


@pytest.mark.parametrize("document", [CLUSTER, PROCESS, MOVE], ids=lambda one: one["kind"])
def test_a_program_gets_the_document_as_it_is_and_it_is_what_the_schema_says(controller, command, document) -> None:
    jsonschema.validate(document, SCHEMA)
    controller.answers["why"] = document
    ran = command("why", "--format", "json")
    assert (ran.code, json.loads(ran.out)) == (0, document)


@pytest.mark.parametrize(
    ("words", "asked"), [([], None), (["4242"], 4242), (["offload_1700000000_4242"], "offload_1700000000_4242")]
)
def test_what_was_asked_for_arrives(controller, command, words, asked) -> None:
    controller.answers["why"] = CLUSTER
    assert command("why", *words).code == 0
    assert controller.asked == [("why", (asked,))]


@pytest.mark.parametrize("word", ["0", "4194305", "99999999999999999999999"])
def test_what_can_be_no_process_is_refused(controller, command, word) -> None:
    assert command("why", word).code == 2
    assert controller.asked == []


def test_the_chain_shows_where_it_breaks_and_what_to_type(controller, command) -> None:
    controller.answers["why"] = CLUSTER
    lines = command("why").out.splitlines()
    assert lines[0] == CLUSTER["sentence"]
    assert [line.split()[:2] for line in lines[2:9]] == [
        [name, "BROKEN" if name == "ceiling" else "ok" if n < 3 else "-"] for n, name in enumerate(NAMES)
    ]
    assert "CEILING: the ceiling is observe" in lines[5]
    assert "  let rules act" in lines
    assert "    grid-offloader auto --enable" in lines
    assert not any("traced by process 9" in line for line in lines), "jobs are not what is broken"


def test_jobs_that_were_passed_over_are_told_where_that_is_what_is_broken(controller, command) -> None:
    many = [{**CLUSTER["candidates"][0], "pid": 100 + n} for n in range(12)]
    controller.answers["why"] = {**CLUSTER, "broken": NOBODY, "candidates": many}
    lines = command("why").out.splitlines()
    assert sum("traced by process 9" in line for line in lines) == 8
    assert "  and more: grid-offloader scan --all" in lines


def test_a_process_is_told_with_verdict_cost_targets_and_commands(controller, command) -> None:
    controller.answers["why"] = PROCESS
    out = command("why", "4243").out
    for words in (
        "train.py (pid 4242, alice) on head1",
        "process 4243 is a part of it; 2 processes",
        "not now  TOO_YOUNG",
        PROCESS["sentence"],
        "CRON  started by cron (5)",
        "93 %",
        "no, TOO_YOUNG",
        "12 min of work lost, stands still for 5.0 s",
        "10 % -> 29 % (< 72 %)",
        "grid-offloader move 4242 --dry-run",
        "GRID_OFFLOAD=never COMMAND...",
    ):
        assert words in out, words
    assert "\x1b" not in out


def test_what_is_never_moved_is_not_told_costs_and_places(controller, command) -> None:
    controller.answers["why"] = {**PROCESS, "verdict": "never", "commands": {"forbid": "GRID_OFFLOAD=never COMMAND..."}}
    out = command("why", "4242").out
    assert "of work lost" not in out
    assert "grid-offloader move" not in out.replace(PROCESS["remedy"], "")


def test_a_move_is_told_with_its_timeline(controller, command) -> None:
    controller.answers["why"] = MOVE
    out = command("why", "offload_1700000000_4242").out
    assert out.splitlines()[0] == MOVE["sentence"]
    assert "it ended with 1" in out
    assert [line.split()[2] for line in out.splitlines() if " s  " in line][:2] == ["planned", "frozen"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotPermitted(Reason.NOT_YOURS, "process 1 belongs to root"), 5), (NotFound("no process 1 on head1"), 6)],
)
def test_what_is_not_answered_has_its_exit_code(controller, command, error, code) -> None:
    controller.answers["why"] = error
    ran = command("why", "1")
    assert (ran.code, ran.out) == (code, "")
    assert str(error) in ran.err


def test_without_a_controller_and_without_a_configuration_it_says_what_is_missing(command) -> None:
    ran = command("why")
    assert (ran.code, ran.out) == (1, "")
    assert "config" in ran.err
