"""A secret in a moved job's environment: in the job and its capsule, for their owner alone, and nowhere else."""

import base64
import json
import os
import secrets
import stat
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from _testbed import nodes

pytestmark = [pytest.mark.testbed, pytest.mark.ray]

ALICE = 1001
EXPORTER, CONTROLLER = 9777, 9778


def forms(secret):
    """The secret itself, and what base64 makes of it wherever it begins."""
    raw = secret.encode()
    found = [raw]
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + raw)
        found.append(text[4 if offset else 0 : -4])  # whole groups of the secret alone
    return tuple(found)


def holds(data, secret):
    return any(form in data for form in forms(secret))


class Watch(threading.Thread):
    """Looks at the command lines and environments of all processes of the machine, hence of every node, all the time.

    `shown`: command lines with the secret; `held`: command lines of those that have it in their environment.
    """

    def __init__(self, secret):
        super().__init__(daemon=True)
        self.shown, self.held, self.looks = set(), set(), 0
        self._secret = secret
        self._over = threading.Event()

    def run(self):
        while not self._over.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    line = (process / "cmdline").read_bytes()
                    if holds(line, self._secret):
                        self.shown.add(line)
                    environment = (process / "environ").read_bytes()
                    if holds(environment, self._secret) and (process / "cmdline").read_bytes() == line:
                        self.held.add(line)
            self.looks += 1

    def end(self):
        self._over.set()
        self.join()


def get(url, token=None):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return error.read()


def ray_answers(bed, submission):
    """Everything that Ray tells about the job, by path."""
    ray = bed.ray()
    token = Path(ray["token_file"]).read_text().strip()
    job = urllib.parse.quote(submission, safe="")
    paths = ["/api/jobs/", f"/api/jobs/{job}", f"/api/jobs/{job}/logs", "/nodes?view=summary", "/nodes?view=details"]
    paths += [f"/api/v0/{what}?detail=1&limit=1000" for what in ("actors", "jobs", "tasks", "workers", "runtime_envs")]
    paths += ["/api/actors", "/logical/actors", "/events"]
    return {path: get(ray["dashboard"] + path, token) for path in paths}


def files_with(roots, secret):
    """Every file below the roots that holds the secret."""
    found = set()
    for root in roots:
        for folder, _, names in os.walk(root):
            for path in (Path(folder) / name for name in names):
                with suppress(OSError):
                    if stat.S_ISREG(path.lstat().st_mode) and holds(path.read_bytes(), secret):
                        found.add(path)
    return found


def disks(controlled):
    """The test bed's directory (each node's disk, /tmp with Ray's session, /run, logs; what they share), /dev/shm."""
    settings = controlled.settings
    return [settings.root, *(f"/proc/{nodes.pid(settings, node)}/root/dev/shm" for node in settings.nodes)]


@pytest.mark.timeout(400)
def test_a_secret_in_the_environment_stays_with_the_job_and_its_capsule(controlled):
    bed = controlled.bed
    secret = secrets.token_hex(16)
    for prefix in (b"", b"=", b"N="):
        assert holds(base64.b64encode(prefix + secret.encode()), secret)
    controlled.start()
    controlled.ready()
    end = bed.shared / "keeper.end"
    end.unlink(missing_ok=True)
    load = bed.start_load(
        "gpu-master", "keeper", cpu=0.1, interval=0.5, end_file=end, environment={"API_TOKEN": secret}
    )
    watch = Watch(secret)
    watch.start()
    try:
        controlled.ok("move", str(load.pid), "--target-node", "gpu1")
        controlled.one_copy("keeper", on="gpu1")
    finally:
        watch.end()
    move = controlled.status()["moves_recent"][0]

    assert watch.looks > 10
    assert watch.shown == set()
    assert watch.held == {b"".join(os.fsencode(part) + b"\0" for part in load.argv)}  # the job, no launcher, no Ray

    answers = ray_answers(bed, move["submission_id"])
    assert move["submission_id"].encode() in answers["/api/jobs/"]
    assert [path for path, answer in answers.items() if holds(answer, secret)] == []

    state = bed.private("gpu-master") / "alice/state"
    capsule = state / f"capsules/{move['job']}.json"
    assert files_with(disks(controlled), secret) == {capsule}
    for path, mode in ((capsule, 0o600), (capsule.parent, 0o700)):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (mode, ALICE)
    # That is where they would be seen: the job's name is in Ray's session there, in the journal, in the log.
    job = move["job"].encode()
    for root in (bed.root / "nodes/gpu1/tmp/ray", state, bed.root / "nodes/gpu-master"):
        assert any(job in path.read_bytes() for path in root.rglob("*") if path.is_file())

    told = {f"{bed.ip(node)}:{EXPORTER}" for node in ("gpu-master", "gpu1", "gpu2")}
    for address in (*told, f"{bed.ip('gpu-master')}:{CONTROLLER}"):
        metrics = get(f"http://{address}/metrics")
        assert b"# TYPE" in metrics
        assert not holds(metrics, secret)
    for words in (("status",), ("status", move["id"]), ("scan", "--all"), ("auto", "--status")):
        assert not holds(json.dumps(controlled.json(*words)).encode(), secret)
    assert not holds(controlled.ok("logs", move["id"]).encode(), secret)

    end.touch()
    bed.wait_for(lambda: controlled.move(move["id"])["job_state"] != "running", 30, "its end")
    bed.wait_for(lambda: not files_with(disks(controlled), secret), 20, "no capsule to outlive its job")
