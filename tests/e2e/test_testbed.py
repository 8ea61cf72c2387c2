"""The test bed itself: what it promises, and that it leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import paramiko
import pytest

pytestmark = [pytest.mark.testbed, pytest.mark.root]

PROGRAM = Path(__file__).resolve().parent.parent.parent / "deploy/testbed"
SPARE_DIRECTORY = Path("/var/lib/grid-testbed-gtspare")
SPARE = os.environ | {
    "GRID_TESTBED_NAME": "gtspare",
    "GRID_TESTBED_SUBNET": "10.80.0.0/24",
    "GRID_TESTBED_DIR": str(SPARE_DIRECTORY),
}

FREEZE_IN_V2 = """
mkdir /sys/fs/cgroup/child; cd /sys/fs/cgroup/child
sleep 100 >/dev/null 2>&1 &
until grep -q sleep /proc/$!/comm; do :; done # before that it holds our output
echo $! >cgroup.procs; echo 1 >cgroup.freeze
until grep -q 'frozen 1' cgroup.events; do :; done
ls .. | grep -cE '^(cpu|freezer|memory|unified)$'; mount | grep -c ' type cgroup'
"""


def spare(*arguments, check=True):
    return subprocess.run([PROGRAM, *arguments], env=SPARE, check=check, capture_output=True, text=True, timeout=60)


def traces():
    """Everything of the spare test bed that the machine can see."""
    found = [f"link {link.name}" for link in Path("/sys/class/net").glob("gtspare*")]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob("*/gtspare")]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob("gtspare")]
    found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if "gtspare" in line]
    found += [f"user {line}" for line in Path("/etc/passwd").read_text().splitlines() if line.startswith("alice:")]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"gtspare" in line:
            found.append(f"process {process.name} {line!r}")
    return found + ([f"directory {SPARE_DIRECTORY}"] if SPARE_DIRECTORY.exists() else [])


@pytest.fixture
def no_spare():
    """No trace of the spare test bed before; none after, whatever the test did."""
    spare("down")
    assert traces() == []
    yield
    spare("down")
    assert traces() == []


def test_up_can_be_repeated(testbed):
    """A second `up` changes nothing."""
    before = [node["pid"] for node in testbed.status()["nodes"]]
    testbed.run("up")
    assert [node["pid"] for node in testbed.status()["nodes"]] == before


def test_nodes_are_hosts_of_their_own(testbed):
    """Each node has its own name, address, processes, /tmp and control group; the shared directory is one."""
    for number, node in enumerate(("gpu-master", "gpu1", "gpu2"), start=1):
        seen = testbed.exec(
            node,
            ["sh", "-c", "hostname; hostname -I; echo $$; cat /proc/1/comm; grep -E ':(freezer|):' /proc/self/cgroup"],
        )
        name, address, pid, init, *groups = seen.stdout.split()
        assert all(group.endswith(":/") for group in groups)
        assert (name, address, init) == (node, testbed.ip(node), "python3")
        assert number * 300_000 < int(pid) < (number + 1) * 300_000
    testbed.exec(
        "gpu1", ["touch", "/tmp/only-here", str(testbed.shared / "everywhere"), str(testbed.root / "private/x")]
    )
    seen = testbed.exec("gpu2", ["ls", "/tmp", str(testbed.shared), str(testbed.root / "private")]).stdout
    assert "everywhere" in seen
    assert "only-here" not in seen
    assert "x" not in seen.split()


def test_exec_passes_on_exit_code_input_and_account(testbed):
    """What a command reads, prints, returns and runs as."""
    done = testbed.exec(
        "gpu1", ["sh", "-c", "id -un; pwd; cat; exit 7"], user="bob", cwd="/usr", text="hi", check=False
    )
    assert (done.returncode, done.stdout) == (7, "bob\n/usr\nhi")


def test_exec_inherits_no_descriptor(testbed):
    """Nothing of the caller's is open inside a node."""
    with socket.socket() as inherited:
        inherited.set_inheritable(True)
        line = [PROGRAM, "exec", "gpu1", "--", "ls", "/proc/self/fd"]
        seen = subprocess.run(line, capture_output=True, text=True, close_fds=False, check=True).stdout
    assert seen.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_cpu_limit_holds(testbed):
    """Two busy processes on a node get its 0.66 core together."""
    script = (
        "import os,time; os.fork(); e=time.monotonic()+2\nwhile time.monotonic()<e: pass\nprint(time.process_time())"
    )
    seen = testbed.exec("gpu1", ["/usr/bin/python3", "-c", script]).stdout.split()
    assert 0.3 < sum(map(float, seen)) < 2 * 0.66 + 0.3


def test_killed_node_is_gone_and_comes_back(testbed):
    """`kill` leaves no process of the node; `start` brings it back under the same address."""
    load = testbed.start_load("gpu2", "victim")
    testbed.kill("gpu2")
    node = testbed.node("gpu2")
    assert (node["up"], node["processes"], node["sshd"]) == (False, 0, False)
    assert testbed.exec("gpu2", ["true"], check=False).returncode == 125
    testbed.start("gpu2")
    assert testbed.node("gpu2")["sshd"]
    testbed.exec("gpu-master", ["ssh", "gpu2", "true"])
    testbed.wait_for(lambda: testbed.running(load.name) == [], 5, "the witness to hear nothing of the load any more")


def test_partition_cuts_the_network_and_the_witness_still_sees(testbed):
    """No packet passes, the load runs on and is seen; `heal` restores the network."""
    load = testbed.start_load("gpu1", "cut-off")
    testbed.partition("gpu1")
    assert testbed.node("gpu1")["partitioned"]
    assert testbed.exec("gpu-master", ["ssh", "-o", "ConnectTimeout=1", "gpu1", "true"], check=False).returncode == 255
    last = testbed.witness_report(load.name)["chain"][0]["last_seq"]
    testbed.wait_for(
        lambda: testbed.witness_report(load.name)["chain"][0]["last_seq"] > last + 5, 10, "signs of life while cut off"
    )
    testbed.heal("gpu1")
    testbed.exec("gpu-master", ["ssh", "gpu1", "true"])


def test_paramiko_connects_with_host_keys_verified(testbed):
    """Strict checking against the generated known_hosts, as root and as an ordinary user."""
    for user in ("root", "alice", "bob"):
        with paramiko.SSHClient() as client:
            client.load_host_keys(str(testbed.known_hosts))
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
            client.connect(testbed.ip("gpu1"), username=user, key_filename=str(testbed.identity(user)), timeout=10)
            _, out, err = client.exec_command("id -un", timeout=10)
            assert out.read().decode().strip() == user
            err.close()


def test_witness_tells_one_copy_from_two(testbed):
    """Two copies one after the other are no overlap, two at once are one."""
    first = testbed.start_load("gpu1", "twin", duration=1)
    testbed.wait_for(lambda: testbed.running("twin") == [], 15, "the first copy to end")
    second = testbed.start_load("gpu2", "twin")
    report = testbed.witness_report("twin")
    assert [entry["node"] for entry in report["chain"]] == ["gpu1", "gpu2"]
    assert report["overlaps"] == 0
    assert first.pid in report["chain"][0]["pids"]
    assert first.pid != second.pid
    testbed.start_load("gpu-master", "twin")
    testbed.wait_for(lambda: testbed.witness_report("twin")["overlaps"] == 1, 10, "the overlap to be seen")
    assert sorted(testbed.running("twin")) == ["gpu-master", "gpu2"]


def test_witness_hears_nothing_of_a_frozen_load(testbed):
    """Frozen, another copy, thawed after that ended: no overlap."""
    load = testbed.start_load("gpu1", "icy")
    testbed.exec("gpu1", ["kill", "-STOP", str(load.pid)])
    testbed.wait_for(lambda: testbed.running("icy") == [], 10, "silence")
    testbed.start_load("gpu2", "icy", duration=1)
    testbed.wait_for(
        lambda: testbed.running("icy") == [] and len(testbed.witness_report("icy")["chain"]) == 2, 15, "its end"
    )
    testbed.exec("gpu1", ["kill", "-CONT", str(load.pid)])
    testbed.wait_for(lambda: testbed.running("icy") == ["gpu1"], 10, "the thawed copy")
    assert testbed.witness_report("icy")["overlaps"] == 0


def test_load_ends_as_told(testbed):
    """Lines, exit code, output file."""
    out = testbed.shared / "lines"
    command = [
        "load.py",
        "--count=3",
        "--interval=0.05",
        "--exit-code=9",
        f"--output={out}",
        "--children=1",
        "--cpu=0.2",
    ]
    done = testbed.exec("gpu1", command, check=False)
    assert done.returncode == 9
    assert out.read_text().splitlines() == [f"load line {number} on gpu1" for number in (1, 2, 3)]


def test_down_leaves_nothing(no_spare):
    """Links, control groups, mounts, processes, users, files: as before."""
    spare("up")
    assert traces() != []
    program = str(SPARE_DIRECTORY / "bin/load.py")
    background = subprocess.Popen(
        [PROGRAM, "exec", "gpu1", "--", "sh", "-c", f"echo started; {program} --ignore-term"],
        env=SPARE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert background.stdout.readline() == "started\n"
    spare("partition", "gpu2")
    spare("down")
    background.communicate(timeout=10)
    assert traces() == []


@pytest.mark.parametrize("after_ms", [30, 80, 110, 140, 170, 200, 250, 300])
def test_down_cleans_up_after_a_crash_half_way(no_spare, after_ms):
    """`kill -9` of `up` at any moment; `up` finishes what was begun, `down` removes it."""
    process = subprocess.Popen([PROGRAM, "up"], env=SPARE, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + after_ms / 1000
    while process.poll() is None and time.monotonic() < deadline:
        pass
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
    if after_ms % 20:
        spare("up")
        assert json.loads(spare("status", "--format", "json").stdout)["up"]
    spare("down")
    assert traces() == []


def test_nodes_with_cgroup_v2_alone(no_spare):
    """The node's own group is the root of its only hierarchy; its processes can be frozen there."""
    subprocess.run(
        [PROGRAM, "up"], env=SPARE | {"GRID_TESTBED_CGROUPS": "v2"}, check=True, capture_output=True, timeout=60
    )
    done = spare("exec", "gpu1", "--", "bash", "-c", FREEZE_IN_V2, check=False)
    assert done.stdout.split() == ["0", "1"], done.stderr
    spare("exec", "gpu2", "--", "ssh", "gpu1", "true")


def test_refuses_a_directory_that_is_not_its_own(no_spare, tmp_path):
    """Files of somebody else are neither used nor removed."""
    (tmp_path / "precious").touch()
    for command in ("up", "down"):
        done = subprocess.run(
            [PROGRAM, command],
            env=SPARE | {"GRID_TESTBED_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, (tmp_path / "precious").exists()) == (1 if command == "up" else 0, True), done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "precious"]


def test_callers_umask_does_not_matter(no_spare):
    """Neither 0 (sshd refuses writable directories) nor 077 (users could not enter theirs)."""
    for umask in (0, 0o077):
        subprocess.run([PROGRAM, "up"], env=SPARE, umask=umask, check=True, capture_output=True, timeout=60)
        spare("exec", "gpu1", "--user", "alice", "--", "ssh", "gpu2", "true")
        spare("down")


def test_subnet_in_use_is_refused(testbed, no_spare):
    """A second test bed on the same addresses says what to change."""
    subnet = ".".join(testbed.ip("gpu1").split(".")[:3]) + ".0/24"
    done = subprocess.run(
        [PROGRAM, "up"], env=SPARE | {"GRID_TESTBED_SUBNET": subnet}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "GRID_TESTBED_SUBNET" in done.stderr


@pytest.mark.ray
def test_ray_runs_jobs_where_it_is_told_and_asks_for_the_token(ray_testbed):
    """A pinned job runs on its node as the Ray account; without the token the door is shut."""
    from ray.job_submission import JobSubmissionClient

    ray = ray_testbed.ray()
    token = Path(ray["token_file"]).read_text()
    script = (
        "import sys; from ray.job_submission import JobSubmissionClient as C; "
        "c = C(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]} if sys.argv[2] else None); "
        "print(c.submit_job(entrypoint='hostname; id -un', entrypoint_resources={'node:' + sys.argv[3]: 0.001}))"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {
        "HOME": "/nonexistent"
    }
    line = ["python", "-c", script, ray["dashboard"], "", ray_testbed.ip("gpu2")]
    python = str(PROGRAM.parent.parent / ".venv/bin/python")
    refused = subprocess.run([python, *line[1:]], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "401" in refused.stderr or "uthenti" in refused.stderr
    client = JobSubmissionClient(ray["dashboard"], headers={"Authorization": f"Bearer {token}"})
    # Into a file: what Ray's own log keeps of a job's first line depends on when Ray writes its header there.
    answer = ray_testbed.shared / "where"
    job = client.submit_job(
        entrypoint=f"{{ hostname; id -un; }} >{answer}",
        entrypoint_resources={f"node:{ray_testbed.ip('gpu2')}": 0.001},
    )
    ray_testbed.wait_for(lambda: client.get_job_status(job).is_terminal(), 60, "the job to end")
    assert answer.read_text().split() == ["gpu2", "alice"]


@pytest.mark.ray
def test_ray_comes_back_after_its_parts_were_killed(ray_testbed):
    """A raylet, then the head."""
    ray_testbed.run("ray", "kill-raylet", "gpu1")
    assert not ray_testbed.node("gpu1")["ray"]
    ray_testbed.run("ray", "up")
    assert ray_testbed.node("gpu1")["ray"]
    ray_testbed.run("ray", "kill-head")
    assert not ray_testbed.node("gpu-master")["ray"]
    assert ray_testbed.node("gpu1")["ray"]


@pytest.mark.promtool
def test_prometheus_scrapes_every_node(monitored_testbed):
    """Three exporters up, with the labels node and role; one stopped is noticed and started again."""
    import urllib.request

    def query(text):
        with urllib.request.urlopen(f"{monitored_testbed.prometheus}/api/v1/query?query={text}", timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    up = {(row["metric"]["node"], row["metric"]["role"]): row["value"][1] for row in query('up{job="grid-exporter"}')}
    assert up == {("gpu-master", "head"): "1", ("gpu1", "worker"): "1", ("gpu2", "worker"): "1"}
    monitored_testbed.run("monitoring", "stop-exporter", "gpu1")
    monitored_testbed.wait_for(lambda: query('up{node="gpu1"}==0'), 20, "Prometheus to notice")
    monitored_testbed.run("monitoring", "up")
    assert monitored_testbed.node("gpu1")["exporter"]
