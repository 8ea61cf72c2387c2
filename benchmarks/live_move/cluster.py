"""The cluster that programs are moved on: the test bed with Ray and a controller, all of it root's, and room for both.

Its nodes share this machine, so each may use all of its processors: with the test bed's usual limits one would measure
how long processes are kept waiting for the next period of their quota.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from _testbed import bed, controller, monitoring, nodes, ray_cluster, witness_report, work
from _testbed.errors import TestbedError
from _testbed.settings import HEAD, PROJECT, Node, Settings, load
from _testbed.shell import wait_until

from benchmarks.errors import CannotRunError

CRIU = PROJECT / ".cache/criu/criu"
SOURCE, TARGET = HEAD, "gpu1"
PERIOD_S = 0.005
"""From one sign of life of a program to the next."""

_NAMES = {"GRID_TESTBED_NAME": "gtlm", "GRID_TESTBED_SUBNET": "10.97.0.0/24"}
_NODE_BYTES = 8 << 30
_CORES = 0.05  # of each program
_READY_S, _ACCEPT_S, _MOVE_S, _STEPS_S, _GONE_S = 90.0, 60.0, 300.0, 300.0, 60.0
_REFUSED = 4
_TRANSIENT = ("TARGET_BUSY", "TARGET_FULL", "TARGET_UNKNOWN", "TARGET_DOWN")
# What people may configure, too: many moves, of programs that use next to nothing.
_CHANGES = {
    "budgets": {"per_hour": 100000, "failures_to_quarantine": 1000},
    "sharing": {
        "thresholds": {"cpu": {"max_used": 0.95, "min_free": 0.01}, "memory": {"max_used": 0.95, "min_free": "1MB"}}
    },
}


class Cluster:
    """A running one. Everything raises CannotRunError, TestbedError, subprocess.SubprocessError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = settings.root / "witness/log.jsonl"
        self._log_began = 0

    @property
    def address(self) -> str:
        """The target's."""
        return self._settings.node(TARGET).ip

    def start(self, name: str, mebibytes: int) -> int:
        """A program that holds so much memory, on the source; its pid there."""
        self._log_began = self._log.stat().st_size if self._log.exists() else 0
        work.end_file(self._settings, name).unlink(missing_ok=True)
        options = [f"--memory={mebibytes}", f"--period={PERIOD_S}", "--interval=0.1"]
        return work.start_load(self._settings, name, cores=_CORES, options=options)

    def end(self, name: str) -> None:
        """It, wherever it is; returns when nothing of it is left."""
        work.end_file(self._settings, name).touch()
        wait_until(lambda: not self._is_there(name), _GONE_S, f"{name} to end")

    def run(self, script: str) -> None:
        """By a shell on the source; stops at the first command that fails."""
        line = nodes.argv(self._settings, self._source, ["bash", "-o", "pipefail", "-eu", "-c", script])
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_STEPS_S,
            check=False,
            preexec_fn=nodes.group(self._settings, self._source).join,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-600:]
            raise CannotRunError(f"by hand: exit {done.returncode}: {said or shlex.quote(script.splitlines()[0])}")

    def move(self, pid: int) -> dict[str, Any]:
        """Live to the target, as a person asks for it. What was just started looks larger than it is: waited out."""
        moves: list[dict[str, Any]] = []

        def accepted() -> bool:
            arguments = ["move", str(pid), "--strategy", "live", "-t", TARGET, "--format", "json"]
            done = controller.run_cli(self._settings, arguments, timeout=_MOVE_S)
            if done.returncode == _REFUSED and any(reason in done.stderr for reason in _TRANSIENT):
                return False
            if done.returncode:
                raise CannotRunError(f"the move failed: {(done.stderr or done.stdout).strip()[-600:]}")
            moves.extend(json.loads(done.stdout))
            return True

        wait_until(accepted, _ACCEPT_S, "the move to be accepted")
        (move,) = moves
        if (move["state"], move["strategy"]) != ("done", "live"):
            raise CannotRunError(f"the move ended {move['state']} ({move['strategy']}): {move['detail']}")
        return move

    def records(self, name: str) -> list[dict[str, Any]]:
        """What the witness saw of the program that was started last."""
        return witness_report.read(self._log, offset=self._log_began, load=name)

    def arrived(self, name: str) -> None:
        """Returns once the witness has seen it on the target."""
        wait_until(lambda: any(one["node"] == TARGET for one in self.records(name)), _GONE_S, f"{name} to go on")

    @property
    def _source(self) -> Node:
        return self._settings.node(SOURCE)

    def _is_there(self, name: str) -> bool:
        mark = f" --name={name} "
        pids = [pid for node in self._settings.nodes for pid in nodes.group(self._settings, node).pids()]
        return any(mark in nodes.command_line(pid) for pid in pids)


@contextmanager
def running() -> Iterator[Cluster]:
    """All of it, from nothing; nothing of it is left afterwards. Raises CannotRunError, also for what fails within."""
    os.umask(0o022)  # as in deploy/testbed: its accounts read what is made here
    for name, value in _NAMES.items():
        os.environ.setdefault(name, value)
    if not CRIU.exists():
        raise CannotRunError(f"{CRIU} not found: run deploy/setup")
    try:
        settings = replace(load(), cpu=float(os.cpu_count() or 1), memory=_NODE_BYTES)
        if lacking := bed.missing(settings):
            raise CannotRunError("this machine cannot hold a test bed: " + "; ".join(lacking))
        with bed.locked(settings):
            try:
                _bring_up(settings)
                yield Cluster(settings)
            finally:
                bed.down(settings)
    except (TestbedError, subprocess.SubprocessError) as error:
        raise CannotRunError(str(error)) from error


def _bring_up(settings: Settings) -> None:
    bed.up(settings)
    ray_cluster.up(settings, "root")
    monitoring.up(settings)
    controller.configure(settings, mode="observe", changes=_CHANGES)
    controller.start(settings)
    wait_until(lambda: _ready(settings), _READY_S, "fresh data and offers of every worker")


def _ready(settings: Settings) -> bool:
    done = controller.run_cli(settings, ["status", "--format", "json"])
    if done.returncode:
        return False
    status = json.loads(done.stdout)
    return bool(status["head"]["up"]) and all(worker["offer"] is not None for worker in status["workers"])
