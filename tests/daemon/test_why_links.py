"""`why` alone names the link that is broken, each broken for real under a running controller, and what mends it."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
from job_kinds import PYTHON, Kinds, interactive

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((PROJECT / "docs/why.schema.json").read_text(encoding="utf-8"))
ACT = ("--log-level", "info")  # a controller that may act; its worker cannot be reached


class Chain:
    """A controller under pressure whose only trouble is the one that a test arranges."""

    def __init__(self, daemon, prometheus, file):
        self.daemon, self.prometheus, self.file = daemon, prometheus, file
        self.told = {}
        prometheus.pressure["head1"]["cpu"] = 0.97

    def configure(self, old, new):
        for file in (self.file, self.file.parent / "rules.yml"):
            file.write_text(file.read_text().replace(old, new))

    def start(self, *, enable=True):
        self.daemon.start(*ACT)
        if enable:
            self.daemon.json("auto", "--enable")

    def broken(self):
        """The first broken link now."""
        self.told = self.daemon.why()
        jsonschema.validate(self.told, SCHEMA)
        return self.told["broken"] or {"name": None, "reason": None}

    def breaks(self, name, reason):
        """Until it breaks there; then `status` says the same, and the text leads with it."""
        self.daemon.until(lambda: [self.broken()[key] for key in ("name", "reason")] == [name, reason])
        broken = self.told["broken"]
        assert self.told["moving"] is False
        assert broken["seen"] in self.told["sentence"]
        following = self.daemon.status()["next"]
        assert (following["reason"], following["command"]) == (reason, broken["command"])
        lines = self.daemon.run("why").stdout.splitlines()
        assert lines[0].startswith("Nothing is moved")
        assert any(line.split()[:3] == [name, "BROKEN", f"{reason}:"] for line in lines), lines
        return broken

    def rests(self):
        """Whether a move is over, and the cooldown after it too."""
        status = self.daemon.status()
        return status["moves_recent"] and all(rule["state"] == "firing" for rule in status["rules"])

    def mends(self, broken):
        """The command that it names, typed as it stands there."""
        program, *arguments = shlex.split(broken["command"])
        if program == "grid-offloader":
            return self.daemon.run(*arguments)
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=30)


@pytest.fixture
def chain(daemon, prometheus, acting_file):
    return Chain(daemon, prometheus, acting_file)


def test_prometheus_is_down(chain):
    chain.prometheus.broken = "<html>gateway</html>"
    chain.start()
    broken = chain.breaks("data", "QUERY_FAILED")
    assert chain.mends(broken).returncode != 0, "the command shows that it does not answer"
    chain.prometheus.broken = None
    assert chain.mends(broken).returncode == 0
    chain.daemon.until(lambda: chain.broken()["name"] != "data")


def test_data_is_stale(chain):
    chain.prometheus.age_s = 100.0
    chain.start()
    broken = chain.breaks("data", "STALE")
    assert "100 s old" in broken["seen"]
    assert broken["command"] == "curl -fsS http://127.0.0.1:9777/metrics"


def test_a_rule_is_pending(chain):
    chain.configure("for: 0s", "for: 10m")
    chain.start()
    broken = chain.breaks("rule", "RULE_PENDING")
    assert "of 600 s" in broken["seen"]


def test_the_ceiling_is_observe(chain, load):
    chain.start(enable=False)
    broken = chain.breaks("ceiling", "CEILING")
    assert chain.mends(broken).returncode == 0
    chain.daemon.until(lambda: chain.broken()["name"] != "ceiling")


def test_a_cooldown_is_not_over(chain, load):
    """After a move that could not be carried out, for real: the worker does not listen on SSH."""
    chain.configure("cooldown: 1s", "cooldown: 2m")
    chain.start()
    chain.daemon.until(lambda: chain.daemon.status()["moves_recent"])
    broken = chain.breaks("budget", "COOLDOWN")
    assert "s of cooldown left" in broken["seen"]
    assert (broken["command"], broken["remedy"]) == (None, "wait")


def test_the_budget_is_used(chain, load):
    chain.configure("protect:", "budgets: {per_hour: 1}\nprotect:")
    chain.configure("grid:node_pressure:ratio", "node_load")  # averages over no time before the move
    chain.start()
    chain.daemon.until(chain.rests)
    broken = chain.breaks("budget", "BUDGET_HOUR")
    assert "1 moves in the last hour, 1 are allowed" in broken["seen"]
    assert "`budgets.per_hour` in" in broken["remedy"]
    chain.configure("per_hour: 1", "per_hour: 9")
    assert chain.mends(broken).returncode == 0
    chain.daemon.until(lambda: chain.broken()["reason"] != "BUDGET_HOUR")


def test_there_is_no_candidate(chain):
    chain.start()
    broken = chain.breaks("candidates", "NO_CANDIDATE")
    done = chain.mends(broken)
    assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr


def test_a_job_that_its_shell_waits_for_is_left_to_its_owner(chain, tmp_path):
    """`job; touch X` under pressure in mode auto: it is the only candidate, and it is not moved."""
    (tmp_path / "shell").mkdir()
    kinds = Kinds(tmp_path / "shell")
    script = kinds.script("burn_for_test.py", "open('/proc/self/comm', 'w').write('burning')\nwhile True: pass")
    try:
        with interactive(kinds) as terminal:
            os.write(terminal, f"cd {kinds.root}; {PYTHON} {script}; touch X\n".encode())
            job = kinds.appears("burning")
            chain.start()
            broken = chain.breaks("candidates", "SHELL_WAITING")
            assert broken["command"] == f"grid-offloader move {job}"
            told = chain.daemon.why(job)
            assert (told["verdict"], told["reason"]) == ("owner_only", "SHELL_WAITING")
            later = chain.daemon.status()["data"]["ticks"] + 10
            chain.daemon.until(lambda: chain.daemon.status()["data"]["ticks"] > later)
            status = chain.daemon.status()
            assert status["rules"][0]["truth"] == "true"
            assert status["moves_in_flight"] == status["moves_recent"] == status["notices"] == []
            assert not (kinds.root / "X").exists()
    finally:
        kinds.end()


def test_there_is_no_target(chain, load):
    chain.prometheus.pressure["gpu1"]["cpu"] = 0.95
    chain.start()
    broken = chain.breaks("targets", "NO_TARGET")
    assert "gpu1 is at 95%" in broken["seen"]
    assert broken["command"] == f"grid-offloader why {load.pid}"
    assert "95 % -> " in chain.mends(broken).stdout


def test_somebody_put_the_kill_switch_there(chain, load, state_dir):
    chain.start()
    (state_dir / "disabled").write_text("maintenance\n")
    broken = chain.breaks("ceiling", "KILL_SWITCH")
    assert chain.mends(broken).returncode == 0
    assert not (state_dir / "disabled").exists()
    chain.daemon.until(lambda: chain.broken()["reason"] != "KILL_SWITCH")


def test_a_controller_that_only_records_does_not_say_that_it_moves(chain, load):
    chain.daemon.start("--record-only")
    chain.daemon.json("auto", "--enable")
    broken = chain.breaks("ceiling", "DISABLED")
    assert "only records" in broken["seen"]
    assert chain.told["next"] == "would_move"


def test_without_a_controller_that_is_the_broken_link_and_processes_are_told_all_the_same(chain, load):
    told = chain.daemon.json("why")
    jsonschema.validate(told, SCHEMA)
    assert (told["running"], told["broken"]["name"]) == (False, "controller")
    assert told["broken"]["command"] == f"grid-offloader serve --config {chain.file}"
    assert told["sentence"] == "Nothing is moved: no controller is running."
    mine = chain.daemon.json("why", str(load.pid))
    jsonschema.validate(mine, SCHEMA)
    assert (mine["running"], mine["job"]["name"]) == (False, "burn_for_test.py")
    assert mine["targets"][0]["fits"] is True


def test_a_move_is_told_with_and_without_its_controller_and_its_process_leads_to_it(chain, load):
    chain.start(enable=False)
    moved = json.loads(chain.daemon.run("move", str(load.pid), "--format", "json").stdout)[0]
    live = chain.daemon.json("why", moved["id"])
    jsonschema.validate(live, SCHEMA)
    assert "taken back: the work stayed on head1" in live["sentence"]
    assert chain.daemon.json("why", str(load.pid))["moves"][0]["id"] == moved["id"]
    load.kill()
    load.wait()
    gone = chain.daemon.run("why", str(load.pid))
    assert (gone.returncode, moved["id"] in gone.stderr) == (6, True)
    chain.daemon.kill()
    stored = chain.daemon.json("why", moved["id"])
    assert stored["running"] is False
    assert stored["move"]["timeline"] == live["move"]["timeline"]
    assert chain.daemon.run("why", "offload_1_2").returncode == 6
