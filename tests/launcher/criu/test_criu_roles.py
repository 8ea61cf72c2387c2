"""Guard and launcher in a live move, spoken to as the controller does: what they answer, refuse, and leave behind."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from offloader.launcher import proc
from offloader.launcher.criu import image
from offloader.launcher.reaper import descendants

pytestmark = [pytest.mark.slow, pytest.mark.criu]

CRIU = str(Path(__file__).resolve().parents[3] / ".cache/criu/criu")
PYTHON = "/usr/bin/python3"
LIMIT_S = 30.0
COUNTS = """
import os, sys, time
witness, stop = sys.argv[1:3]
with open(witness, "a") as stream:
    up()
    n = 0
    while not os.path.exists(stop):
        n += 1
        stream.write(f"{n}\\n")
        stream.flush()
        time.sleep(0.002)
sys.exit(7)
"""

CHANGES = """
import os, random, sys, time
witness, stop = sys.argv[1:3]
SIZE = 32 << 20
begun = random.Random(5).randbytes(SIZE)
memory, changed = bytearray(begun), {}
child = os.fork()
def change(n):
    for place in (n * 7919 * 4096 % SIZE, n % 4096):
        memory[place] = changed[place] = n & 255
def count():
    n = 0
    while not os.path.exists(stop):
        n += 1
        change(n)
        yield n
        time.sleep(0.002)
if not child:
    for n in count():
        change(n + 1)
else:
    with open(witness, "a") as stream:
        up()
        for n in count():
            stream.write(f"{n}\\n")
            stream.flush()
right = bytearray(begun)
for place, value in changed.items():
    right[place] = value
failed = memory != right
if not child:
    os._exit(failed)
failed = failed or os.waitpid(child, 0)[1] != 0
sys.exit(8 if failed else 7)
"""


class Way:
    """The verbs `pages` and `receive`, tied together as the controller ties them."""

    def __init__(self, bench, guard: Path, attempt: Path, criu: str = CRIU) -> None:
        forward, backward = os.pipe(), os.pipe()
        self._bench = bench
        self.source = self._verb("pages", guard, LIMIT_S, stdin=backward[0], stdout=forward[1])
        self.target = self._verb("receive", attempt, criu, LIMIT_S, stdin=forward[0], stdout=backward[1])
        for descriptor in (*forward, *backward):
            os.close(descriptor)

    def _verb(self, *arguments, stdin, stdout):
        process = subprocess.Popen(
            [PYTHON, "-I", self._bench.launcher, *map(str, arguments)],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=self._bench.environment(),
        )
        self._bench._started.append(process)
        return process

    @staticmethod
    def says(end) -> dict:
        return json.loads(end.stderr.readline())

    def ready(self) -> "Way":
        went = self.says(self.source)
        assert went["ready"], went
        self.ahead_bytes = went["ahead_bytes"]
        assert self.says(self.target) == {"ready": True}
        return self


class Live:
    """A counting job between a guard and a launcher that waits for its image."""

    def __init__(self, bench, eventually, program: str = COUNTS) -> None:
        self.bench, self.eventually = bench, eventually
        self.witness, self.stop = bench.root / "witness", bench.root / "stop"
        self.witness.touch()
        self.process = bench.python(program, self.witness, self.stop)
        self.counts_on()
        members = [self.process.pid, *(stat.pid for stat in descendants(self.process.pid))]
        self.guard_dir, self.guard_pid = bench.guard(members, ways=["v1"])
        self.guard = bench.link(self.guard_dir, hello="armed")
        capsule = bench.capsule(self.process.pid, criu=CRIU)
        self.role, self.launcher, self.attempt = bench.held(capsule)

    def count(self) -> int:
        return self.witness.read_bytes().count(b"\n")

    def counts_on(self) -> None:
        before = self.count()
        self.eventually(lambda: self.count() > before + 3, "it counts on")

    def contiguous(self) -> None:
        numbers = [int(line) for line in self.witness.read_text().split()]
        assert numbers == list(range(1, len(numbers) + 1))

    def way(self) -> Way:
        self.guard.send(do="pages")
        self.guard.expect("listening")
        return Way(self.bench, self.guard_dir, self.attempt).ready()

    def frozen(self) -> None:
        self.guard.send(do="freeze")
        self.guard.expect("frozen")

    def dump(self) -> dict:
        self.guard.send(do="dump", criu=CRIU, limit_s=LIMIT_S)
        return self.guard.expect("dumped")

    def image(self, dumped: dict) -> dict:
        return {**{name: dumped[name] for name in ("tasks", "options", "rest")}, "limit_s": LIMIT_S}

    def restored(self, image: dict) -> int:
        self.launcher.send(do="go", epoch=1, settle_s=0, image=image)
        pid = self.launcher.expect("launched")["pid"]
        assert self.launcher.expect("proven")["how"] == "restored"
        return pid

    def images(self) -> list[Path]:
        return [path for path in self.bench.root.rglob("image") if path.is_dir()]


@pytest.fixture
def live(bench, eventually):
    return Live(bench, eventually)


def test_a_job_goes_on_where_its_image_went_and_not_before_it_is_told_to(live):
    way = live.way()
    live.frozen()
    dumped = live.dump()
    arrived = way.says(way.target)
    assert arrived["ahead_bytes"] == way.ahead_bytes > 1 << 20
    assert arrived["pages_bytes"] > 0
    live.restored(live.image(dumped))
    live.launcher.send(do="own", epoch=1)
    live.launcher.expect("owned")
    live.guard.send(do="hold")
    live.guard.expect("holding")
    before = live.count()
    live.guard.send(do="end")
    live.guard.expect("ended")
    assert live.process.wait(10) == -signal.SIGKILL
    assert live.count() == before
    for _ in range(2):
        live.launcher.send(do="cont", epoch=1)
        live.launcher.expect("continued")
    live.counts_on()
    assert live.images() == []
    live.stop.touch()
    assert live.launcher.expect("exited")["exit_code"] == 7
    assert live.role.wait(10) == 7
    live.contiguous()


def test_memory_that_goes_ahead_and_changes_arrives_as_it_was_when_the_job_froze(bench, eventually):
    """Two processes that share pages and go on writing to them; each looks at every byte at its end."""
    live = Live(bench, eventually, CHANGES)
    way = live.way()
    assert way.ahead_bytes > 60 << 20
    live.counts_on()
    live.frozen()
    dumped = live.dump()
    assert 0 < way.says(way.target)["pages_bytes"] < 32 << 20
    live.restored(live.image(dumped))
    live.launcher.send(do="own", epoch=1)
    live.launcher.expect("owned")
    live.guard.send(do="hold")
    live.guard.expect("holding")
    live.guard.send(do="end")
    live.guard.expect("ended")
    live.launcher.send(do="cont", epoch=1)
    live.launcher.expect("continued")
    live.counts_on()
    live.stop.touch()
    assert live.launcher.expect("exited")["exit_code"] == 7
    live.contiguous()


def test_it_does_not_go_on_before_it_is_owned(live):
    live.way()
    live.frozen()
    live.restored(live.image(live.dump()))
    before = live.count()
    live.launcher.send(do="cont", epoch=1)
    assert live.launcher.expect("refused")["reason"] == "NOT_PROVEN"
    live.launcher.send(do="abort", epoch=1)
    live.launcher.expect("aborted")
    assert live.count() == before
    live.guard.send(do="thaw")
    live.guard.expect("thawed")
    live.counts_on()
    live.contiguous()
    assert live.images() == []


def test_a_dump_needs_somebody_who_takes_it(live):
    live.frozen()
    live.guard.send(do="dump", criu=CRIU, limit_s=LIMIT_S)
    assert live.guard.expect("failed")["reason"] == "NO_PAGES"
    live.guard.send(do="pages")
    live.guard.expect("listening")
    live.guard.send(do="dump", criu=CRIU, limit_s=LIMIT_S)
    assert live.guard.expect("failed")["reason"] == "NO_PAGES"
    live.guard.send(do="thaw")
    live.guard.expect("thawed")
    live.counts_on()


def test_only_what_is_frozen_is_dumped(live):
    live.way()
    live.guard.send(do="dump", criu=CRIU, limit_s=LIMIT_S)
    assert live.guard.expect("failed")["reason"] == "NOT_FROZEN"
    live.counts_on()


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_way_that_breaks_costs_the_original_nothing(live, end):
    way = live.way()
    live.frozen()
    getattr(way, end).kill()
    live.guard.send(do="dump", criu=CRIU, limit_s=LIMIT_S)
    assert live.guard.expect("failed")["reason"] == "DUMP_FAILED"
    live.guard.send(do="thaw")
    live.guard.expect("thawed")
    live.counts_on()
    live.contiguous()
    assert not (live.guard_dir / "image").exists()


def test_a_page_server_that_is_killed_is_gone_whoever_it_left_behind_with_its_socket(live, tmp_path):
    """As criu does, killed while it tries with a child of its own what the kernel can do."""
    left, criu = tmp_path / "left", tmp_path / "criu"
    criu.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! >{left}\nkill -KILL $$\n")
    criu.chmod(0o755)
    live.guard.send(do="pages")
    live.guard.expect("listening")
    way = Way(live.bench, live.guard_dir, live.attempt, str(criu))
    try:
        assert [way.says(end)["error"] for end in (way.target, way.source)] == ["DUMP_FAILED"] * 2
    finally:
        os.kill(int(left.read_text()), signal.SIGKILL)
    live.counts_on()


def test_a_watchdog_that_ends_a_dump_thaws_the_original(bench, eventually):
    """Nobody takes the memory and nobody is in contact: the original does not wait for the dump's own limit."""
    live = Live(bench, eventually)
    way = live.way()
    os.kill(way.target.pid, signal.SIGSTOP)
    live.frozen()
    live.guard.send(do="alive", for_s=1.0)
    live.guard.send(do="dump", criu=CRIU, limit_s=LIMIT_S)
    event = live.guard.next()
    while event is not None and event["event"] != "thawed":
        event = live.guard.next()
    assert event is not None
    live.counts_on()
    live.contiguous()
    os.kill(way.target.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    "image",
    [
        None,
        {},
        {"tasks": [], "options": {}, "limit_s": 1.0},
        {"tasks": [{"pid": 1}], "options": {"more": 1}, "limit_s": 1.0},
        {"tasks": [{"pid": 1}], "options": {}, "limit_s": 0},
        {"tasks": [{"pid": 1}], "options": {}, "limit_s": 1.0, "rest": 5},
    ],
)
def test_a_go_that_says_nothing_sensible_of_the_image_starts_nothing(live, image):
    live.launcher.send(do="go", epoch=1, settle_s=0, image=image)
    assert live.launcher.expect("refused")["reason"] == "BAD_MESSAGE"
    live.launcher.send(do="abort", epoch=1)
    live.launcher.expect("aborted")


def test_an_image_that_is_none_fails_and_nothing_of_it_is_left(live):
    live.launcher.send(
        do="go", epoch=1, settle_s=0, image={"tasks": [{"pid": 5}], "options": {}, "limit_s": 5.0, "rest": None}
    )
    assert live.launcher.expect("failed")["reason"] == "LAUNCH_FAILED"
    live.eventually(lambda: live.images() == [], "the image is removed")
    live.counts_on()


def test_a_job_that_is_ended_by_a_signal_says_so(live):
    live.way()
    live.frozen()
    pid = live.restored(live.image(live.dump()))
    live.launcher.send(do="own", epoch=1)
    live.launcher.expect("owned")
    live.guard.send(do="end")
    live.guard.expect("ended")
    live.launcher.send(do="cont", epoch=1)
    live.launcher.expect("continued")
    os.kill(pid, signal.SIGUSR1)
    assert live.launcher.expect("exited")["signal"] == signal.SIGUSR1


def test_a_fence_leaves_nothing_of_a_restored_job(live):
    live.way()
    live.frozen()
    live.restored(live.image(live.dump()))
    os.kill(live.role.pid, signal.SIGKILL)
    assert live.bench.verb("fence", live.attempt)["dead"]
    assert live.images() == [live.guard_dir / "image"]
    live.guard.send(do="thaw")
    live.guard.expect("thawed")
    live.counts_on()
    live.contiguous()
    assert live.images() == []


def test_images_from_before_a_boot_are_swept_by_the_next_one_that_waits_for_an_image(tmp_path):
    """Nobody asks for those attempts again, and it is all the memory of somebody's job."""
    for name, boot in (("OLD.1", "another-boot"), ("NOW.1", proc.boot_id())):
        (tmp_path / name / image.NAME).mkdir(parents=True)
        (tmp_path / name / "state.json").write_text(json.dumps({"state": "held", "boot_id": boot}))
    image.sweep(tmp_path)
    assert [path.parent.name for path in tmp_path.glob("*/image")] == ["NOW.1"]


def owned(live) -> int:
    """The pid of a restored job whose original has ended."""
    live.way()
    live.frozen()
    pid = live.restored(live.image(live.dump()))
    live.launcher.send(do="own", epoch=1)
    live.launcher.expect("owned")
    live.guard.send(do="end")
    live.guard.expect("ended")
    return pid


@pytest.mark.parametrize("continued", [False, True])
def test_a_cradle_that_is_killed_takes_the_job_with_it_and_that_is_no_result_of_the_job_s(live, continued):
    """The OOM killer's choice, say: a job that may be run again is, as when its launcher dies."""
    pid = owned(live)
    if continued:
        live.launcher.send(do="cont", epoch=1)
        live.launcher.expect("continued")
        live.counts_on()
    os.kill(proc.read_stat(pid).ppid, signal.SIGKILL)
    live.launcher.expect("exited")
    status = live.bench.verb("status", live.attempt)
    assert (status["state"], status["taken"]) == ("exited", True)
    assert "was killed" in status["detail"]
    live.eventually(lambda: live.images() == [], "the image is removed")


def test_one_that_is_killed_for_its_owner_was_not_taken(live):
    owned(live)
    live.launcher.send(do="cont", epoch=1)
    live.launcher.expect("continued")
    live.launcher.send(do="stop", signal=signal.SIGCONT, grace_s=0.1)
    assert live.launcher.expect("exited")["signal"] == signal.SIGKILL
    assert "taken" not in live.bench.verb("status", live.attempt)
