"""Live moves of programs that know nothing of them: there, on to the next worker, and home, from where they are.

Controller, SSH and Ray are root's here: only root may take a process apart.
"""

import json
import socket
import subprocess
import urllib.request
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from _testbed import leftovers, witness_report

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.criu, pytest.mark.timeout(300)]

PROGRAMS = Path(__file__).resolve().parent / "live_programs"
PYTHON = Path(__file__).resolve().parent.parent.parent / ".venv/bin/python"
REFUSED, BLAS = 4, "OPENBLAS_NUM_THREADS=2"
WAY = ["gpu-master", "gpu1", "gpu2", "gpu-master"]


class Program:
    """One of live_programs, started on the head by root, as with nohup."""

    def __init__(self, controlled, name, argv, **environment):
        self.controlled, self.bed, self.name = controlled, controlled.bed, name
        for kind in ("end", "log", "result"):
            self.file(kind).unlink(missing_ok=True)
        self.load = self.bed.start_program("gpu-master", name, tuple(argv), user="root", environment=environment)

    @classmethod
    def python(cls, controlled, name, *arguments, program=None, **environment):
        script = PROGRAMS / f"{program or name}.py"
        argv = (str(PYTHON), str(script), name, str(controlled.bed.root), *map(str, arguments))
        return cls(controlled, name, argv, **environment)

    def file(self, kind):
        return self.bed.shared / f"{self.name}.{kind}"

    def records(self):
        return witness_report.read(self.bed.root / "witness/log.jsonl", load=self.name)

    def on(self, node):
        """Until signs of life come from there, and from nowhere else."""
        return self.controlled.one_copy(self.name, on=node)

    def all_the_way(self):
        """To the first worker, the second one, and home."""
        first = self.controlled.go_live("move", str(self.load.pid), "--strategy", "live", "-t", "gpu1")
        self.on("gpu1")
        self.controlled.go_live("bring", first["id"], "-t", "gpu2")
        self.on("gpu2")
        self.controlled.go_live("bring", first["id"])
        self.on("gpu-master")
        return first

    def ends(self, move, code):
        """Told to end it does, with that exit code, which the job is known by."""
        self.file("end").touch()

        def ended():
            found = self.controlled.move(move["id"])
            return found if found["job_state"] not in {"running", "unknown", None} else None

        over = self.bed.wait_for(ended, 60, f"{self.name} to end")
        assert (over["job_state"], over["exit_code"]) == ("failed" if code else "succeeded", code), over

    def went(self, way=WAY):
        """By the witness: where it executed, in order; never in two places, no step twice, none undone."""
        records = sorted(self.records(), key=lambda one: one["t"])
        assert len({one["start_id"] for one in records}) == 1, "it was started again"
        assert [node for node, _ in groupby(one["node"] for one in records)] == way
        assert self.bed.witness_report(self.name)["overlaps"] == 0
        steps = [one["seq"] for one in records if one["leader"]]
        assert all(0 < after - before < 20 for before, after in pairwise(steps)), "its state is not contiguous"


def numbers(file):
    return [int(line) for line in file.read_text(encoding="ascii").split()]


def test_200_megabytes_of_state_and_an_open_log(ready):
    program = Program.python(ready, "state")
    move = program.all_the_way()
    program.ends(move, 7)  # it looked at every byte
    program.went()
    written = numbers(program.file("log"))
    assert written == list(range(1, len(written) + 1))
    images = [path for path in (ready.bed.root / "nodes").rglob("image") if path.is_dir()]
    assert (images, leftovers.frozen(ready.settings)) == ([], [])
    # One that a move before this one left, with a controller that was ended, goes by its own rule: after a minute.
    ready.bed.wait_for(lambda: not leftovers.launchers_on(ready.settings), 90, "the last launcher to end")


def test_threads_of_blas_compute_what_they_would_have_computed_undisturbed(ready):
    program = Program.python(ready, "blas", **dict([BLAS.split("=")]))
    program.ends(program.all_the_way(), 3)
    program.went()
    rounds, digest = program.file("result").read_text(encoding="ascii").split()
    # There, not here: the environment decides by which code BLAS computes.
    again = ["env", BLAS, str(PYTHON), str(PROGRAMS / "blas.py"), "blas_alone", str(ready.bed.root), rounds]
    assert ready.bed.exec("gpu1", again, timeout=200, check=False).returncode == 3
    assert (ready.bed.shared / "blas_alone.result").read_text(encoding="ascii").split() == [rounds, digest]


def test_a_pool_of_processes(ready):
    program = Program.python(ready, "pool")
    program.ends(program.all_the_way(), 5)
    program.went()
    children = sorted((one["t"], one["node"], one["pid"]) for one in program.records() if not one["leader"])
    assert [node for node, _ in groupby(node for _, node, _ in children)] == WAY
    assert {node: len({pid for _, at, pid in children if at == node}) for node in set(WAY)} == dict.fromkeys(WAY, 2)


def test_a_pipeline_of_a_shell(ready):
    feed, check = (f"{PYTHON} {PROGRAMS}/{part}.py pipeline {ready.bed.root}" for part in ("feed", "check"))
    line = f"{feed} | tee -a {ready.bed.shared}/pipeline.log | {check}; exit ${{PIPESTATUS[2]}}"
    program = Program(ready, "pipeline", ["bash", "-c", line])
    program.ends(program.all_the_way(), 6)
    program.went()
    written = numbers(program.file("log"))
    assert written == list(range(1, len(written) + 1))


def test_a_compiled_program_with_a_thread_and_a_timer(ready):
    binary = ready.bed.shared / "counter"
    subprocess.run(["gcc", "-O1", "-Wall", "-pthread", "-o", binary, PROGRAMS / "counter.c"], check=True, timeout=60)
    program = Program(ready, "counter", [str(binary), "counter", str(ready.bed.root)])
    program.ends(program.all_the_way(), 9)
    program.went()
    written = numbers(program.file("log"))
    assert written == list(range(1, len(written) + 1))


def test_a_directory_that_the_worker_lacks_goes_along_and_its_results_come_home(ready):
    """The log in it stays open on the way."""
    bed = ready.bed
    own = bed.root / "private/carried"
    for node in ("gpu-master", "gpu1"):
        bed.exec(node, ["rm", "-rf", str(own)])
    bed.exec("gpu-master", ["mkdir", str(own)])
    script = PROGRAMS / "feed.py"
    line = f"cd {own}; exec {PYTHON} {script} carried {bed.root} >> numbers.log"
    program = Program(ready, "carried", ["bash", "-c", line])
    move = ready.go_live("move", str(program.load.pid), "--strategy", "live", "-t", "gpu1")
    program.on("gpu1")
    for target in ("gpu2", "gpu-master"):  # its results would not find home any more
        on = ready.cli("bring", move["id"], "-t", target)
        assert (on.returncode, "NOT_STAGED" in on.stderr) == (REFUSED, True), on.stderr
    program.ends(move, 0)
    program.went(["gpu-master", "gpu1"])
    written = numbers(bed.private("gpu-master") / "carried/numbers.log")
    assert written == list(range(1, len(written) + 1))
    assert len(written) >= program.records()[-1]["seq"]
    assert bed.exec("gpu1", ["test", "-e", str(own)], check=False).returncode == 1


TALKS = """
import os, socket, sys, time
with socket.create_connection((sys.argv[1], 22)) as peer:
    peer.recv(100)
    with open(sys.argv[2] + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(sys.argv[2] + ".new", sys.argv[2])
    end = peer.recv(100)
    with open(sys.argv[3], "w") as file:
        file.write(os.uname().nodename + (" sees its end" if end == b"" else " got data"))
    time.sleep(900)
"""


def test_a_connection_that_may_be_closed_ends_for_the_program_where_it_goes_on(ready):
    """Otherwise it is in everybody's way."""
    bed, said = ready.bed, ready.bed.shared / "talks.said"
    said.unlink(missing_ok=True)
    argv = ("/usr/bin/python3", "-c", TALKS, bed.ip("gpu2"), str(bed.shared / "talks.pid"), str(said))
    pid = bed.start_program("gpu-master", "talks", argv, user="root").pid
    refused = ready.cli("move", str(pid), "-t", "gpu1")
    assert (refused.returncode, "REMOTE_CONNECTION" in refused.stderr) == (REFUSED, True), refused.stderr
    assert "close_connections" in refused.stderr, "what would help"
    move = ready.json("move", str(pid), "-t", "gpu1", "--close-connections")[0]
    assert (move["state"], move["strategy"]) == ("done", "live"), move
    bed.wait_for(said.exists, 30, "the program to notice")
    assert said.read_text(encoding="ascii") == "gpu1 sees its end"
    ready.ok("cancel", move["id"])


def test_a_rule_that_allows_listeners_moves_a_server_which_answers_wherever_it_is(rooted):
    """Under pressure, without being asked, although running it again was never declared harmless."""
    bed = rooted.bed
    rooted.start(mode="auto", strategy="live", select="listeners: true, classes: [daemon]")
    rooted.ready()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Program.python(rooted, "server", port, 0.9)
    counts = [answer(bed, "gpu-master", port)]
    rooted.ok("auto", "--enable")

    def automatic():
        status = rooted.status()
        moves = [*status["moves_in_flight"], *status["moves_recent"]]
        return next((move for move in moves if move["pid"] == program.load.pid), None)

    move = bed.wait_for(automatic, 120, "the rule to move it")
    final = rooted.final(move["id"])
    assert (final["state"], final["strategy"], final["automatic"]) == ("done", "live", True), final
    rooted.ok("auto", "--disable")
    program.on(final["target"])
    counts.append(answer(bed, final["target"], port))
    other = next(node for node in ("gpu1", "gpu2") if node != final["target"])
    for target in (other, "gpu-master"):
        rooted.go_live("bring", move["id"], "-t", target)
        program.on(target)
        counts.append(answer(bed, target, port))
    program.ends(move, 4)
    program.went(["gpu-master", final["target"], other, "gpu-master"])
    assert counts == sorted(set(counts))


def answer(bed, node, port):
    """What it has counted to, asked over the network."""
    with urllib.request.urlopen(f"http://{bed.ip(node)}:{port}/", timeout=20) as response:
        document = json.load(response)
    assert document["node"] == node
    return document["count"]
