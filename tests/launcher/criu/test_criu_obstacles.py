"""Everything that would make a live move fail half-way is found before, with a code, what was seen, and a remedy."""

import fcntl
import os
import pty
import socket
import subprocess
from pathlib import Path

import pytest

from offloader.launcher.criu.estate import survey
from offloader.launcher.criu.obstacles import Allowed, accounts, between, unlike
from offloader.launcher.criu.offer import offer
from offloader.launcher.terminal.screen import device_of
from offloader.launcher.wire import pack_bytes
from offloader.model import Reason

PYTHON = "/usr/bin/python3"
WAIT = "up()\nimport time\ntime.sleep(1000)\n"


class Look:
    """A job of the test, surveyed here, and judged as if this node, or one a bit different, were the target."""

    def __init__(self, bench) -> None:
        self.bench = bench

    def start(self, program="", **options):
        return self.bench.python(program + WAIT, **options)

    def judge(self, *pids, shared=None, allowed=None, without=()):
        estate = survey(list(pids))
        here = offer(estate, "/")
        for path in without:
            here["files"][pack_bytes(path)] = None
        here["taken_ports"] = []  # by the job itself, because the target is this node
        if shared is None:  # all file systems: the same node
            shared = {(file["dev"], file["dev"]) for file in estate["files"]}
        return between(estate, here, frozenset(shared), allowed or Allowed())

    def codes(self, *pids, **more):
        found = self.judge(*pids, **more)
        assert all(one["seen"] and one["remedy"] and one["reason"] in Reason.__members__ for one in found), found
        return sorted({one["reason"] for one in found})


@pytest.fixture
def look(bench):
    return Look(bench)


@pytest.mark.root
class TestJobs:
    """On real processes: what the survey sees is what the kernel shows."""

    pytestmark = pytest.mark.slow

    def test_an_ordinary_job_has_none(self, look):
        """Threads, children, pipes between them, files, a socket pair, memfd, eventfd, a listener on all addresses."""
        process = look.start(
            """
import os, select, socket, subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
pair = socket.socketpair()
listening = socket.create_server(("", 0))
loose = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
memory = os.memfd_create("x")
poll = select.epoll()
own = os.pidfd_open(os.getpid())
out = open("out", "a")
child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
"""
        )
        child = next(pid for pid in look.bench.mine() if pid != process.pid)
        assert look.judge(process.pid, child) == []

    def test_a_file_or_directory_that_the_target_lacks(self, look):
        """Unless it is carried along."""
        process = look.start("data = open('data', 'w+')\n", cwd=look.bench.root)
        path = os.fsencode(look.bench.root / "data")
        assert look.codes(process.pid, shared=(), without=[path]) == ["NO_FILE"]
        assert look.codes(process.pid, shared=(), allowed=Allowed(carried=frozenset({pack_bytes(path)}))) == []
        away = look.bench.root / "away"
        away.mkdir()
        elsewhere = look.start(cwd=away)
        away.rmdir()
        assert look.codes(elsewhere.pid) == ["NO_DIRECTORY"]

    def test_what_lies_in_a_directory_that_is_brought_as_a_whole(self, look):
        """Its working directory with the files open in it, and the program; nothing beside it."""
        project = look.bench.root / "project"
        (project / "below").mkdir(parents=True)
        process = look.start("data = open('below/data', 'w+')\n", cwd=project)
        lacking = [os.fsencode(project / "below/data")]
        root = pack_bytes(os.fsencode(project))
        assert look.codes(process.pid, shared=(), without=lacking) == ["NO_FILE"]
        assert look.codes(process.pid, shared=(), without=lacking, allowed=Allowed(staged=root)) == []
        beside = pack_bytes(os.fsencode(look.bench.root / "proj"))
        assert look.codes(process.pid, shared=(), without=lacking, allowed=Allowed(staged=beside)) == ["NO_FILE"]
        arrived = Allowed(staged=root, arrived=True)
        assert look.codes(process.pid, shared=(), without=lacking, allowed=arrived) == ["NO_FILE"], "a pattern left it"
        assert look.codes(process.pid, shared=(), allowed=arrived) == []

    def test_a_file_that_is_written_to_by_mapping_it_is_not_brought(self, look):
        """Its times tell nothing of what is stored: a second pass of a copy would pass over it."""
        root = pack_bytes(os.fsencode(look.bench.root))
        stores = "import mmap\nf = open('data', 'w+b')\nf.truncate(9)\nm = mmap.mmap(f.fileno(), 0)\nf.close()\n"
        process = look.start(stores, cwd=look.bench.root)
        assert look.codes(process.pid, shared=(), allowed=Allowed(staged=root)) == ["UNSUPPORTED_FD"]
        assert look.codes(process.pid) == []

    def test_a_file_that_is_read_and_has_another_size_there(self, look):
        """criu compares sizes; a log that is only appended to may differ."""
        path = look.bench.root / "data"
        path.write_text("1234")
        process = look.start("data = open('data')\n", cwd=look.bench.root)
        estate = survey([process.pid])
        path.write_text("12345")
        found = between(estate, offer(estate, "/"), frozenset(), Allowed())
        assert [one["reason"] for one in found] == ["NO_FILE"]
        assert "5 bytes on the target and 4" in found[0]["seen"]

    def test_deleted_files_and_files_without_their_names(self, look):
        """Small ones come along in the image; what lives on under another name does not."""
        process = look.start(
            "import os\ngone = open('gone', 'w')\ngone.write('x' * 9999)\ngone.flush()\nos.unlink('gone')\n",
            cwd=look.bench.root,
        )
        assert look.codes(process.pid) == []
        assert look.codes(process.pid, allowed=Allowed(ghost_limit_bytes=9998)) == ["UNSUPPORTED_FD"]
        process = look.start("import os\nf = open('a', 'w')\nos.rename('a', 'b')\nos.link('b', 'c')\nos.unlink('b')\n")
        assert look.codes(process.pid) == ["UNSUPPORTED_FD"]

    def test_locks(self, look):
        """Its own is in the way where the target sees the file; somebody else's everywhere."""
        process = look.start(
            "import fcntl\nf = open('lock', 'w')\nfcntl.lockf(f, fcntl.LOCK_EX)\n", cwd=look.bench.root
        )
        assert look.codes(process.pid) == ["LOCKED"]
        path = pack_bytes(os.fsencode(look.bench.root / "lock"))
        assert look.codes(process.pid, shared=(), allowed=Allowed(carried=frozenset({path}))) == []
        with (look.bench.root / "other").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            process = look.start("f = open('other', 'r')\n", cwd=look.bench.root)
            assert look.codes(process.pid) == ["LOCKED"]

    def test_a_terminal_but_for_the_one_that_is_kept_for_its_user(self, look):
        """By `run --local`. One that it has opened besides, by whatever name, stays here."""
        near, far = pty.openpty()
        other = pty.openpty()
        try:
            process = look.start(stdin=far)
            kept = Allowed(terminal=device_of(os.fstat(far)))
            assert look.codes(process.pid) == ["TERMINAL"]
            assert look.codes(process.pid, allowed=kept) == []
            process = look.start(f"import os\nother = os.open({os.ttyname(other[1])!r}, os.O_RDWR)\n", stdin=far)
            assert look.codes(process.pid, allowed=kept) == ["TERMINAL"]
            assert os.ttyname(other[1]) in look.judge(process.pid, allowed=kept)[0]["seen"]
        finally:
            for descriptor in (near, far, *other):
                os.close(descriptor)

    def test_pipes_and_unix_sockets_to_somebody_outside(self, look):
        """Cutting them would be noticed by both ends; a pipe may be attached again."""
        reading, writing = os.pipe()
        try:
            process = look.start(stdout=writing)
            assert look.codes(process.pid) == ["OPEN_EDGE"]
            attached = Allowed(attached_pipes=frozenset({os.fstat(writing).st_ino}))
            assert look.codes(process.pid, allowed=attached) == []
        finally:
            os.close(reading)
            os.close(writing)
        near, far = socket.socketpair()
        with near, far:
            process = look.start(stdin=far)
            far.close()
            assert look.codes(process.pid) == ["OPEN_EDGE"]

    def test_connections_and_listeners(self, look):
        """Established TCP is refused unless it may be closed; a bound address or port must be free at the target."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            process = look.start(f"import socket\ns = socket.create_connection(('127.0.0.1', {port}))\n")
            assert look.codes(process.pid) == ["REMOTE_CONNECTION"]
            closing = Allowed(close_connections=True)
            assert look.codes(process.pid, allowed=closing) == ["REMOTE_CONNECTION"], "its other end is here"
            estate = survey([process.pid])
            (one,) = (one for one in estate["sockets"] if one.get("state") == "established")
            one["remote"] = "192.0.2.9:22"
            found = between(estate, offer(estate, "/"), frozenset(), closing)
            assert "REMOTE_CONNECTION" not in {one["reason"] for one in found}
        process = look.start("import socket\ns = socket.create_server(('127.0.0.1', 0))\n")
        estate = survey([process.pid])
        taken, moved = offer(estate, "/"), offer(estate, "/")
        port = estate["sockets"][0]["port"]
        assert taken["taken_ports"] == [["tcp", port]]
        assert [one["reason"] for one in between(estate, taken, frozenset(), Allowed())] == ["LISTENER"]
        moved["addresses"] = []
        found = between(estate, moved, frozenset(), Allowed())
        assert [one["reason"] for one in found] == ["LISTENER"]
        assert "an address of the source" in found[0]["seen"]

    def test_what_criu_does_not_know(self, look, compiled):
        """System V shared memory, io_uring and the like: named."""
        program = compiled(
            "#include <sys/shm.h>\n#include <unistd.h>\nint main(void) { int id = shmget(IPC_PRIVATE, 4096, 0600);"
            'shmat(id, 0, 0); shmctl(id, IPC_RMID, 0); write(1, "!", 1); pause(); }'
        )
        process = look.bench.start([program], stdout=subprocess.PIPE)
        assert process.stdout.read(1) == b"!"
        found = look.judge(process.pid)
        assert {one["reason"] for one in found} == {"UNSUPPORTED_FD", "OPEN_EDGE"}
        assert any("System V" in one["seen"] for one in found)
        process = look.start("import ctypes\nassert ctypes.CDLL(None).syscall(425, 2, bytes(120)) > 2\n")
        found = look.judge(process.pid)
        assert {one["reason"] for one in found} == {"UNSUPPORTED_FD"}
        assert any("io_uring" in one["seen"] for one in found)

    def test_processes_that_are_not_one_tree_or_somebody_elses(self, look, eventually):
        """Two roots; a stopped one; one in a network of its own."""
        one, two = look.start(), look.start()
        assert look.codes(one.pid, two.pid) == ["NOT_ONE_TREE"]
        os.kill(one.pid, 19)
        eventually(lambda: "T (stopped)" in Path(f"/proc/{one.pid}/status").read_text())
        assert look.codes(one.pid) == ["STOPPED"]
        apart = look.bench.start(["unshare", "--net", "sleep", "1000"])
        net = Path("/proc/self/ns/net").readlink()
        eventually(lambda: Path(f"/proc/{apart.pid}/ns/net").readlink() != net)
        assert look.codes(apart.pid) == ["CONTAINER"]

    def test_no_room_for_an_image_that_has_all_of_its_memory_twice(self, look):
        """All of it may have changed since it went ahead. Where the file system does not say, there is room."""
        process = look.start("memory = b'x' * (50 << 20)\n")
        estate = survey([process.pid])
        assert 50 << 20 < estate["memory_bytes"] < 80 << 20
        here, twice = offer(estate, "/"), 2 * estate["memory_bytes"]
        assert here["free_bytes"] > 0
        same = frozenset((file["dev"], file["dev"]) for file in estate["files"])
        for free, codes in ((twice - 1, ["NO_ROOM"]), (twice, []), (None, [])):
            found = between(estate, {**here, "free_bytes": free}, same, Allowed())
            assert [one["reason"] for one in found] == codes

    def test_another_build_of_the_program_or_none(self, look):
        """Also of a library: its code is mapped where the image says it is."""
        process = look.start()
        estate = survey([process.pid])
        assert len(estate["programs"]) > 2
        here = offer(estate, "/")
        names = list(here["programs"])
        here["programs"][names[0]] = None
        here["programs"][names[1]] = "another"
        found = between(estate, here, frozenset(), Allowed())
        assert [one["reason"] for one in found] == ["NO_EXECUTABLE"] * 2
        assert ["not on the target" in one["seen"] for one in found] == [True, False]


REPORT = {
    "usable": True,
    "version": "4.2.1",
    "kernel": "6.18.4",
    "machine": "x86_64",
    "cpu_flags": ["avx2", "fpu", "sse", "arat"],
}


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"version": "4.1"}, "criu is 4.1"),
        ({"kernel": "6.1.0-38-amd64"}, "older than the source's"),
        ({"machine": "aarch64"}, "aarch64"),
        ({"cpu_flags": ["fpu", "sse"]}, "lacks avx2, which"),
    ],
)
def test_nodes_that_are_too_unlike(change, seen):
    """Each with the difference that counts, and a remedy."""
    found = unlike(REPORT, {**REPORT, **change})
    assert [one["reason"] for one in found] == ["NODES_DIFFER"]
    assert seen in found[0]["seen"]
    assert found[0]["remedy"]


def test_nodes_that_are_alike_enough():
    """A newer kernel, a newer processor, another patch release, flags that only the kernel uses."""
    newer = {"version": "4.2.9", "kernel": "7.0.1", "cpu_flags": ["avx2", "avx512f", "fpu", "sse"]}
    assert unlike(REPORT, {**REPORT, **newer}) == []


def test_no_criu_is_said_of_each_side_that_lacks_it():
    """And nothing else is compared then."""
    lacking = {"usable": False, "obstacle": {"reason": "NO_CRIU", "seen": "there is none", "remedy": "install it"}}
    found = unlike({**REPORT, **lacking}, {**lacking, "machine": "riscv64"})
    assert [(one["reason"], one["seen"], one["remedy"]) for one in found] == [
        ("NO_CRIU", "at the source: there is none", "install it"),
        ("NO_CRIU", "at the target: there is none", "install it"),
    ]


def test_root_in_a_container_takes_only_roots_processes():
    """Its criu works, and fails on the first process of another account."""
    estate = {"members": [{"uid": 0}, {"uid": 1000}]}
    assert accounts(estate, {**REPORT, "any_account": True}) == []
    assert accounts({"members": [{"uid": 0}]}, {**REPORT, "any_account": False}) == []
    found = accounts(estate, {**REPORT, "any_account": False})
    assert [one["reason"] for one in found] == ["NO_CRIU"]
    assert "CAP_SYS_RESOURCE" in found[0]["seen"]
