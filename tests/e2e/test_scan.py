"""`grid-offloader scan` on a loaded head: what is work is told by its argv, and what keeps the head going stays."""

import json
import re
import subprocess

import pytest

pytestmark = [pytest.mark.testbed, pytest.mark.ray]

LOADS = {  # script name → class
    "train_model.py": "training",
    "initialize_db.py": "unknown",  # no `init`, hence no daemon
    "start_job.py": "batch",  # no `tar`, hence no input and output
}
FIELDS = {"class", "requirements", "target", "confidence", "complexity", "reason"}
REFUSED = 4  # docs/cli.md, Exit codes
KEEPS_THE_HEAD_GOING = re.compile(
    r"sshd|bash|raylet|gcs_server|ray|prometheus|grid-exporter|grid-offloader|python3? .*ray"
)


@pytest.mark.timeout(300)
def test_scan_shows_the_load_and_nothing_that_keeps_the_head_going_is_movable(controlled):
    bed = controlled.bed
    controlled.start()
    controlled.ready()
    pids = {
        program: bed.start_load("gpu-master", program.removesuffix(".py"), program=program, cpu=0.15, memory=70).pid
        for program in LOADS
    }
    # Somebody logged in whose shell is large: worth moving by its size, a shell all the same.
    line = ["ssh", "-tt", "-F", bed.ssh_config, "-i", bed.identity("alice"), "alice@gpu-master"]
    login = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        login.stdin.write(b"held=$(head -c 90000000 /dev/zero | tr '\\0' x); echo shell=$$\n")
        login.stdin.flush()
        shell = int(next(found[1] for found in (re.search(rb"shell=(\d+)", text) for text in login.stdout) if found))
        look(controlled, pids, shell)
    finally:
        login.kill()
        login.communicate()


def look(controlled, pids, shell):
    bed = controlled.bed

    def listed():
        rows = {row["pid"]: row for row in controlled.json("scan", "--all")}
        return rows if {*pids.values(), shell} <= set(rows) else None

    rows = bed.wait_for(listed, 60, "the loads and the large shell in `scan --all`")
    for row in rows.values():
        assert set(row) >= FIELDS
        assert row["target" if row["movable"] else "reason"], row
    for program, kind in LOADS.items():
        row = rows[pids[program]]
        assert (row["name"], row["user"], row["node"], row["class"]) == (program, "alice", "gpu-master", kind)
        assert row["movable"] is True, row["obstacles"]
        assert row["target"] in ("gpu1", "gpu2")
        assert 0 < row["requirements"]["cores"] <= 0.66
        assert row["requirements"]["memory_bytes"] > 70 << 20
        assert 0 <= row["confidence"] <= 1
        assert row["complexity"] == ("low" if kind == "batch" else "medium")
        assert row["obstacles"] == []
    assert (rows[shell]["movable"], rows[shell]["reason"]) == (False, "INTERACTIVE")

    # Small ones are not listed at all: ask for each by its pid, as root, who may move anybody's.
    names = bed.exec("gpu-master", ["ps", "-eo", "pid=,args="]).stdout.splitlines()
    vital = {}
    for entry in names:
        pid, _, arguments = entry.strip().partition(" ")
        if KEEPS_THE_HEAD_GOING.search(arguments.split(" --")[0]) and "/bin/load.py" not in arguments:
            vital[int(pid)] = arguments
    kinds = ("sshd", "bash", "raylet", "gcs_server", "prometheus", "grid-exporter", "grid-offloader")
    assert not [kind for kind in kinds if not any(kind in arguments for arguments in vital.values())]
    assert not [row for row in rows.values() if row["pid"] in vital and row["movable"]]
    planned = controlled.cli("move", *map(str, vital), "--dry-run", "--format", "json", user="root")
    assert json.loads(planned.stdout) == []
    assert planned.returncode == REFUSED
    reasons = re.findall(r"^(\d+):\nerror: .*\[([A-Z_]+)\]", planned.stderr, re.MULTILINE)
    assert {int(pid) for pid, _ in reasons} == set(vital)
    assert {reason for _, reason in reasons} <= {"PROTECTED", "INTERACTIVE", "DAEMON", "NO_SUCH_PROCESS"}, reasons
    assert {row["pid"] for row in controlled.json("scan")} == set(pids.values())
