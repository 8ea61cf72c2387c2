"""`grid-offloader cluster …` as people type it: exit codes, what is refused, what is printed for programs."""

import json
import os

import pytest

from offloader.adapters.journal import Journal
from offloader.cli.main import run_command
from offloader.model import Attempt, AttemptState, Identity, Job, Move, MoveState, StrategyName

from .conftest import make_installed

pytestmark = pytest.mark.slow

DONE, SOME_FAILED, REFUSED, PROBLEMS = 0, 9, 4, 1


@pytest.fixture
def cli(world, monkeypatch, capsys):
    """Runs a command; `away`: nodes that do not answer."""
    monkeypatch.setenv("GRID_OFFLOADER_CONFIG", str(world.file))
    away = []

    def agent_of(_cluster, node, _stack, **_):
        return world.fleet(away=away).agents[node.name]

    monkeypatch.setattr("offloader.daemon.hosts.agent_of", agent_of)

    def run(*arguments, without=()):
        away[:] = without
        code = run_command(arguments)
        out, err = capsys.readouterr()
        return code, json.loads(out) if "json" in arguments else out, err

    return run


def moved(world, *, target="w1", in_flight=False):
    """The journal of a controller in whose care a job runs on that worker, or is on its way there."""
    who = Identity("boot", 42, 777, 1000, 1, 2)
    state = MoveState.FROZEN if in_flight else MoveState.DONE
    epochs = ((0, "head", AttemptState.ENDED), (1, target, AttemptState.PENDING if in_flight else AttemptState.RUNNING))
    attempts = [Attempt("01J", epoch, node, "ray", None, 42, one, 1.5) for epoch, node, one in epochs]
    move = Move(
        "offload_1_42", "01J", 0, 1, who, "head", target, StrategyName.RESTART, "ray", state, 1000, True, None, 2.0, 2.0
    )
    folder = world.root / "state"
    folder.mkdir(mode=0o700, exist_ok=True)
    journal = Journal(folder)
    journal.create(Job("01J", "anna", 1000, "train.py", 1.5), attempts, move)
    journal.close()


def test_start_status_and_stop_end_with_0_and_say_everything_as_json(world, cli):
    make_installed(world)
    code, document, err = cli("cluster", "start", "--format", "json")
    assert (code, document["ok"]) == (DONE, True), err
    steps = {(row["node"], step["step"]): step["state"] for row in document["nodes"] for step in row["steps"]}
    assert steps["w2", "ray"] == steps["head", "controller"] == "started"
    assert "w2" in err
    code, document, _ = cli("cluster", "stop", "--format", "json")
    assert (code, {row["changed"] for row in document["nodes"]}) == (DONE, {True})


def test_a_node_that_is_away_gives_9_and_the_others_are_done(world, cli):
    make_installed(world)
    code, document, err = cli("cluster", "start", "--format", "json", without=["w1"])
    assert code == SOME_FAILED
    assert [row["ok"] for row in document["nodes"]] == [True, False, True]
    assert "nothing listens there" in err


def test_check_with_a_node_that_is_away_gives_1_and_a_row_for_it(cli):
    code, document, _ = cli("cluster", "check", "--format", "json", without=["w2"])
    assert code == PROBLEMS
    assert {row["node"]: row["reachable"] for row in document["nodes"]} == {"head": True, "w1": True, "w2": False}
    code, out, _ = cli("cluster", "check", without=["w2"])
    assert "nothing listens there" in out
    assert "ssh to it by hand" in out


def test_status_of_what_does_not_run_gives_1(world, cli):
    make_installed(world)
    code, out, _ = cli("cluster", "status")
    assert code == PROBLEMS
    assert "absent" in out


def test_a_node_that_does_not_exist_is_named(cli):
    code, _, err = cli("cluster", "start", "w9")
    assert code == 6
    assert "w9" in err
    assert "head, w1, w2" in err


def test_stopping_is_refused_while_a_moved_job_runs_on_a_worker_concerned(world, cli):
    make_installed(world)
    cli("cluster", "start")
    moved(world)
    for words in (["stop"], ["stop", "w1"], ["stop", "head"], ["restart", "w1"]):
        code, _, err = cli("cluster", *words)
        assert code == REFUSED, words
        assert "train.py on w1" in err
        assert "--drain" in err
    assert len(world.pids()) == 16
    # What does not end the job is not refused.
    for words in (["stop", "w2"], ["restart", "head", "--service", "ray"], ["restart", "w1", "--service", "exporter"]):
        assert cli("cluster", *words)[0] == DONE, words
    assert cli("cluster", "stop", "--force")[0] == DONE


def test_stopping_is_refused_while_something_moves(world, cli):
    make_installed(world)
    moved(world, in_flight=True)
    code, _, err = cli("cluster", "stop")
    assert code == REFUSED
    assert "offload_1_42" in err


def test_draining_waits_and_gives_up_in_time_where_nothing_can_be_brought(world, cli):
    make_installed(world)
    moved(world)
    code, _, err = cli("cluster", "stop", "--drain", "--timeout", "1")
    assert code == REFUSED
    assert "waited for, cannot be brought" in err


def test_up_starts_nothing_where_the_head_is_unfit(world, cli):
    document = json.loads(world.file.read_text())
    document["nodes"][0]["address"] = "203.0.113.9"
    world.file.write_text(json.dumps(document))
    code, _, err = cli("up")
    assert code == PROBLEMS
    assert "no address of this node" in err
    assert world.pids() == {}


def test_the_commands_of_the_group_leave_heavy_libraries_alone_until_used():
    import subprocess
    import sys

    program = "import sys, offloader.cli.cluster; print([n for n in ('paramiko', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
