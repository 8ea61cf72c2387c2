"""Every command in README.md works as it stands there; names, process ids and move ids are put in for the examples'."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import urllib.request
from contextlib import contextmanager

import psutil
import pytest
import readme
from _testbed import controller
from _testbed.settings import load

PROJECT = readme.PROJECT
BIN = PROJECT / ".venv/bin"
SCRIPTS = {"/".join(line.split()[0].split("/")[:3]) for line in (*readme.DEMO, readme.DOWN)}
TRAIN = """\
import time
for step in range(100000):
    print("step", step, flush=True)
    end = time.monotonic() + 0.06
    while time.monotonic() < end:
        pass
    time.sleep(0.14)
"""


def typed(line, directory, **variables):
    """A line typed into a shell in `directory`, the project's commands on the path; returns how it ended."""
    environment = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(directory), "LANG": "C.UTF-8"} | variables
    return subprocess.run(
        ["bash", "-c", line], cwd=directory, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


def test_every_command_in_the_readme_is_run_by_a_test_and_none_is_forgotten():
    assert set(readme.commands()) == set(readme.KNOWN)
    assert set(readme.inline_commands()) <= set(readme.KNOWN)


def test_every_link_to_a_file_leads_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", readme.TEXT)
    assert links
    assert [link for link in links if not (PROJECT / link).exists()] == []


@pytest.mark.slow
def test_a_clone_has_what_the_readme_starts_with_and_installs(tmp_path):
    clone, install = readme.FETCH
    done = typed(clone.replace("<this repository>", shlex.quote(str(PROJECT))), tmp_path, GIT_CONFIG_GLOBAL="/dev/null",
                 GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for script in SCRIPTS:
        assert os.access(tmp_path / "grid-offloader" / script, os.X_OK)
    # Its dependencies are those of this environment: no network here.
    without_network = f"--quiet --no-deps --no-index --no-build-isolation --target {tmp_path}/site"
    done = typed(install.replace("pip install", f"python -m pip install {without_network}"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "does not provide the extra" not in done.stderr
    done = typed("site/bin/grid-offloader --version", tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert done.stdout.startswith("grid-offloader "), done.stderr


def test_the_options_of_the_scripts_are_in_their_help():
    """That they do what they say: test_demo.py, test_testbed.py."""
    for line in (*readme.DEMO, readme.DOWN):
        program, *rest = shlex.split(line)
        told = typed(f"{program} --help", PROJECT)
        assert told.returncode == 0, told.stderr
        assert [word for word in rest if word.startswith("--") and word not in told.stdout] == []
        assert [word for word in rest if word == "down" and word not in told.stdout] == []


def test_the_steps_before_the_controller_lead_from_one_to_the_next(tmp_path):
    (tmp_path / "rules").symlink_to(PROJECT / "rules")
    for line in readme.OFFLINE:
        done = typed(line, tmp_path)
        assert done.returncode == 0, f"{line}: {done.stderr}{done.stdout}"
    targets = json.loads((tmp_path / "targets.json").read_text(encoding="utf-8"))
    assert {(target["labels"]["node"], target["labels"]["role"]) for target in targets} == {
        ("login1", "head"), ("gpu1", "worker"), ("gpu2", "worker")
    }  # fmt: skip


@pytest.mark.promtool
def test_prometheus_takes_the_configuration(tmp_path, promtool):
    (prometheus,) = (block for block in readme.blocks("yaml") if block.startswith("# prometheus.yml"))
    (tmp_path / "prometheus.yml").write_text(prometheus, encoding="utf-8")
    (tmp_path / "rules").symlink_to(PROJECT / "rules")
    for line in readme.OFFLINE[:4]:
        assert typed(line, tmp_path).returncode == 0
    done = typed(f"{promtool} check config prometheus.yml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_the_example_of_a_rule_is_fine(tmp_path):
    (rule,) = (block for block in readme.blocks("yaml") if block.startswith("groups:"))
    (tmp_path / "mine.yml").write_text(rule, encoding="utf-8")
    done = typed("grid-offloader rules check mine.yml", tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_exporter_starts_and_answers(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = readme.EXPORTER.replace("192.0.2.11:9777", f"127.0.0.1:{port}")
    program, *arguments = shlex.split(line)
    process = subprocess.Popen([BIN / program, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        assert f"127.0.0.1:{port}" in process.stderr.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            assert b"grid_node_cpu_cores" in answer.read()
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


class Terminal:
    """A terminal of alice's on the head, in the shared directory where README's cluster.yaml lies."""

    def __init__(self, bed):
        self.bed = bed
        self.directory = bed.shared / "readme"
        inside = controller.inside(load()) / "run/control.sock"
        self.environment = [f"PATH={BIN}:/usr/bin:/bin", f"GRID_OFFLOADER_SOCKET={inside}"]

    def type(self, line, **extra):
        return self.bed.exec("gpu-master", self.argv(line), user="alice", cwd=str(self.directory), **extra).stdout

    def argv(self, line):
        return ["env", *self.environment, "bash", "-c", line]

    @contextmanager
    def running(self, line):
        process = self.bed.popen("gpu-master", self.argv(f"exec {line}"), user="alice", cwd=str(self.directory))
        try:
            yield process
        finally:
            self.bed.end(process)


@pytest.fixture
def terminal(controlled):
    """README's working directory, with the test bed's own cluster file and a program that trains."""
    made = Terminal(controlled.bed)
    shutil.rmtree(made.directory, ignore_errors=True)
    made.directory.mkdir()
    made.directory.chmod(0o777)
    (made.directory / "train.py").write_text(TRAIN, encoding="ascii")
    state = controller.inside(controlled.settings) / "state"
    controlled.bed.exec("gpu-master", ["rm", "-rf", str(state)])
    shutil.copy2(controller.configure(controlled.settings), made.directory / "cluster.yaml")
    return made


@pytest.mark.testbed
@pytest.mark.ray
@pytest.mark.timeout(400)
def test_the_steps_with_a_controller_do_what_the_readme_says(controlled, terminal):
    bed = controlled.bed
    with terminal.running(readme.SERVE) as serving:
        bed.wait_for(controller.socket(controlled.settings).exists, 60, "the controller to listen")
        terminal.type(readme.WORK)
        controlled.ready()
        for line in readme.LOOK:
            assert terminal.type(line)

        def training():
            rows = json.loads(terminal.type("grid-offloader scan --all --format json"))
            return next((row for row in rows if row["name"] == "train.py"), None)

        row = bed.wait_for(training, 60, "train.py in scan --all")
        assert (row["class"], row["movable"]) == ("training", True), row
        pid = str(row["pid"])
        assert "train.py" in terminal.type(readme.WHY.replace("4242", pid))
        assert "train.py" in terminal.type(readme.DRY_RUN.replace("4242", pid))
        moved = terminal.type(readme.MOVE.replace("4242", pid) + " --format json", timeout=150)
        move = json.loads(moved)
        move = move[0] if isinstance(move, list) else move
        assert (move["state"], move["target"]) == ("done", "gpu1")
        assert f"offload_{int(move['created_t'])}_{pid}" == move["id"], "the id is not as README shows it"
        follow(bed, terminal, move["id"])
        smaller = readme.RUN.replace("run --", "run --cores 0.2 --")  # the hosts have less than the one it takes
        with terminal.running(smaller) as watching:
            assert watching.stdout.readline().startswith("step "), watching.stderr.read()
            command = psutil.Process(watching.pid).children(recursive=True)[-1]
            command.send_signal(signal.SIGINT)  # without a terminal: once ends it
            assert watching.wait(60) == 128 + signal.SIGTERM
        for line in readme.AUTO:
            terminal.type(line)
        assert controlled.status()["ceiling"] == "observe"
        assert serving.poll() is None
    bed.wait_for(lambda: not controller.socket(controlled.settings).exists(), 20, "the controller to end")


def follow(bed, terminal, move_id):
    """`logs -f` shows what the job writes until `cancel` ends it."""
    with terminal.running(readme.LOGS.replace("offload_1764000000_4242", move_id)) as following:
        assert following.stdout.readline().startswith("step ")
        terminal.type(readme.CANCEL.replace("offload_1764000000_4242", move_id))
        rest, _ = following.communicate(timeout=60)
        assert "step " in rest
    assert following.returncode == 0
