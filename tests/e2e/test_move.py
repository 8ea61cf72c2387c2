"""`grid-offloader move` on the test bed: what arrives at the target, and what is left at the source."""

import os
import shlex

import pytest

pytestmark = [pytest.mark.testbed, pytest.mark.ray]

ODD = (
    "two words",
    "it's",
    'say "hi"',
    "$HOME `id` $(id) ; rm -rf x & | > y",
    "two\nlines\n",
    "",
    "*",
    "\\back\\slash",
    "not UTF-8: " + os.fsdecode(b"\xff\xfe\x80"),
)
GIVEN = {
    "PLAIN": "1",
    "ODD_VALUE": "a b'c\"d$e\nf=" + os.fsdecode(b"\xff\xfe"),
    "EMPTY": "",
    "OMP_PROC_BIND": "close",
}
LOGIN_ONLY = {"SSH_AUTH_SOCK": "/tmp/agent", "XDG_RUNTIME_DIR": "/run/user/1001", "DISPLAY": ":0", "TMUX": "/tmp/t,1,0"}
ADDED = {"MIGRATED_FROM_PID", "OFFLOADING_TASK_ID", "TARGET_NODE", "MIGRATION_TIME"}


def entries(raw):
    """NUL-separated bytes of /proc as a list."""
    return raw.split(b"\0")[:-1]


def environment_of(bed, node, pid):
    found = (entry.partition(b"=") for entry in entries(bed.proc(node, pid, "environ")))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in found}


def circumstances(bed, node, pid):
    """What a process must not notice any change of, read from outside: the kernel says it, not the process."""
    status = bed.proc(node, pid, "status").decode()
    kept = ("Uid", "Gid", "Groups", "Umask", "SigIgn", "CapEff")  # NoNewPrivs is set on purpose
    return {
        "argv": entries(bed.proc(node, pid, "cmdline")),
        "cwd": bed.exec(node, ["readlink", f"/proc/{pid}/cwd"]).stdout,
        "exe": bed.exec(node, ["readlink", f"/proc/{pid}/exe"]).stdout,
        "status": [line for line in status.splitlines() if line.partition(":")[0] in kept],
        "oom_score_adj": bed.proc(node, pid, "oom_score_adj"),
        "limits": bed.proc(node, pid, "limits"),
        "nice": bed.proc(node, pid, "stat").rpartition(b")")[2].split()[16],
    }


@pytest.mark.timeout(300)
def test_a_moved_job_arrives_as_it_was_writes_its_output_and_leaves_its_exit_code(controlled):
    bed = controlled.bed
    controlled.start()
    controlled.ready()
    end = bed.shared / "faithful.end"
    end.unlink(missing_ok=True)
    load = bed.start_load(
        "gpu-master",
        "faithful",
        cpu=0.1,
        interval=0.5,
        exit_code=0,
        end_file=end,
        environment=GIVEN | LOGIN_ONLY,
        arguments=ODD,
    )
    before = circumstances(bed, "gpu-master", load.pid)
    had = environment_of(bed, "gpu-master", load.pid)
    assert before["argv"] == [os.fsencode(part) for part in load.argv]

    controlled.ok("move", str(load.pid), "--target-node", "gpu1")
    report = controlled.one_copy("faithful", on="gpu1")
    assert [entry["node"] for entry in report["chain"]] == ["gpu-master", "gpu1"]
    assert bed.exec("gpu-master", ["test", "-e", f"/proc/{load.pid}"], check=False).returncode == 1
    move = controlled.status()["moves_recent"][0]
    assert (move["state"], move["pid"], move["target"]) == ("done", load.pid, "gpu1")
    assert (move["job_state"], move["exit_code"]) == ("running", None)

    there = controlled.move(move["id"])["attempts"][-1]
    assert (there["node"], there["state"]) == ("gpu1", "running")
    after = circumstances(bed, "gpu1", there["pid"])
    assert after == before

    has = environment_of(bed, "gpu1", there["pid"])
    assert {name: value for name, value in has.items() if name not in ADDED} == {
        name: value for name, value in had.items() if name not in LOGIN_ONLY
    }
    assert (has["MIGRATED_FROM_PID"], has["TARGET_NODE"]) == (str(load.pid), "gpu1")
    assert has["OFFLOADING_TASK_ID"] == f"{move['job']}.1"
    assert int(has["MIGRATION_TIME"]) == int(move["created_t"])
    assert not [name for name in has if name.startswith("RAY_") or name == "OMP_NUM_THREADS"]

    line = "faithful line 3 on gpu1\n"
    bed.wait_for(lambda: line in load.output.read_text(), 20, "output of the successor")
    written = controlled.ok("logs", move["id"])
    assert line in written
    assert "on gpu-master" not in written  # what it wrote since it was moved
    assert "faithful line 1 on gpu-master\n" in load.output.read_text()  # and nothing of before is lost

    end.touch()
    over = bed.wait_for(
        lambda: found if (found := controlled.move(move["id"]))["job_state"] != "running" else None, 30, "its end"
    )
    assert (over["state"], over["job_state"], over["exit_code"], over["signal"]) == ("done", "succeeded", 0, None)
    moved_output = load.output.read_text().rpartition("on gpu-master\n")[2]
    assert controlled.ok("logs", move["id"]) == moved_output
    controlled.nothing_left()


TRUNCATES = """\
exec 9>"$2"
case "${OFFLOADING_TASK_ID##*.}" in 1) exit 1 ;; esac
echo $$ >"$1"
for n in $(seq 30); do echo "line $n" >&9; sleep 0.5; done
"""


@pytest.mark.timeout(300)
def test_a_successor_that_truncates_the_shared_output_and_fails_costs_no_data(controlled):
    """Thawed onto it, the original would write on behind a hole: it starts again at its source and completes there."""
    bed = controlled.bed
    controlled.start()
    controlled.ready()
    script, ready, output = (bed.shared / f"truncates.{kind}" for kind in ("sh", "pid", "out"))
    script.write_text(TRUNCATES, encoding="ascii")
    for one in (ready, output):
        one.unlink(missing_ok=True)
    job = shlex.join(["/bin/sh", str(script), str(ready), str(output)])
    detached = f"exec setsid --fork {job} </dev/null >/dev/null 2>&1"
    bed.exec("gpu-master", ["bash", "-c", detached], user="alice", cwd=str(bed.shared))
    bed.wait_for(lambda: output.exists() and "line 2\n" in output.read_text(), 30, "its first lines")
    move = controlled.start_move(int(ready.read_text()), "gpu1")
    final = controlled.final(move)
    assert final["state"] == "rolled_back", final
    assert str(output) in final["detail"]
    over = bed.wait_for(
        lambda: found if (found := controlled.move(move))["job_state"] not in ("running", None) else None, 60, "its end"
    )
    assert (over["job_state"], over["exit_code"]) == ("succeeded", 0), over
    assert output.read_text() == "".join(f"line {n}\n" for n in range(1, 31))
    assert [one["node"] for one in over["attempts"]] == ["gpu-master", "gpu1", "gpu-master"]
    controlled.nothing_left()
