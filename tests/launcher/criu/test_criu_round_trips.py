"""Programs that never heard of it run on elsewhere: every kind of state that a job may have, by a witness file."""

import contextlib
import functools
import os
import pty
import signal
from pathlib import Path

import pytest

from offloader.launcher import cgroups
from offloader.launcher.criu import estate, obstacles, report
from offloader.launcher.criu.arguments import Inherited
from offloader.launcher.criu.dumping import options_for
from offloader.launcher.errors import LauncherError
from offloader.launcher.terminal.typed import Size, set_size
from offloader.terminal.local_pty import LocalPty

pytestmark = [pytest.mark.slow, pytest.mark.criu]

PYTHON = "/usr/bin/python3"
CRIU = str(Path(__file__).resolve().parents[3] / ".cache/criu/criu")
USABLE = [one.how for one in cgroups.find() if os.access(one.mount, os.W_OK)]

# Counts until it is told to stop by a file, and ends with a code that only it knows.
COUNT = """
import os, sys, time
witness, stop = sys.argv[1:3]
def count_until_told(step=lambda n: None):
    with open(witness, "a") as stream:
        n = 0
        while not os.path.exists(stop):
            n += 1
            step(n)
            stream.write(f"{n}\\n")
            stream.flush()
            time.sleep(0.002)
"""


class Counting:
    """A job that counts, what is done with it, and how it must end."""

    def __init__(self, rig, bench, witness, eventually) -> None:
        self.rig, self.bench, self.witness, self.eventually = rig, bench, witness, eventually
        self.stop = bench.root / "stop"

    def start(self, program, *, prelude=COUNT, **options):
        argv = [str(self.witness.path), str(self.stop)]
        self.process = self.bench.python(prelude + program, *argv, **options)
        self.counted_more()
        return self.process

    def counted_more(self):
        before = self.witness.count()
        self.eventually(lambda: self.witness.count() > before + 3, "it counts on")

    def moved(self, leader=None, **options):
        """There, stopped, and proven to execute nothing before it is told to go on."""
        leader = leader or self.process.pid
        node = self.rig.move(leader, **options)
        before = self.witness.count()
        node.restored_at = before
        assert self.witness.count() == before
        node.go_on()
        self.counted_more()
        return node

    def ends(self, node, code=7):
        self.stop.touch()
        ended = node.ended()
        assert ended == {"event": "exited", "exit_code": code, "signal": None}
        return self.witness.contiguous()


@pytest.fixture
def counting(rig, bench, witness, eventually):
    return Counting(rig, bench, witness, eventually)


@pytest.mark.parametrize("way", USABLE)
def test_a_program_with_memory_and_an_open_file_goes_on_where_it_was(counting, way):
    """By both freezers; memory through a socket, the rest as a tar stream, the exit code is the program's own."""
    counting.start(
        """
import hashlib
state = bytearray(os.urandom(4 << 20))
before = hashlib.sha256(state).digest()
up()
count_until_told()
sys.exit(7 if hashlib.sha256(state).digest() == before else 8)
"""
    )
    node = counting.moved(way=way, streamed=True)
    counting.ends(node)


def test_three_hops_the_later_ones_out_of_a_cradle(counting):
    """head → gpu1 → gpu2 → head: a job that was restored is dumped where it lives, pids and all."""
    counting.start(
        "up()\npid = os.getpid()\ncount_until_told()\nsys.exit(7 if os.getpid() == pid else 8)\n",
    )
    node = counting.moved()
    for _ in range(2):
        former = node
        node = counting.moved(former.leader())
        assert former.next()["event"] == "exited"
    counting.ends(node)


def test_children_born_after_a_hop_come_along_on_the_next(counting):
    """Their pids are those of the cradle, low ones, where criu itself would like to sit."""
    counting.start(
        """
import subprocess
up()
children = []
def step(n):
    if os.path.exists(stop + ".fork") and not children:
        children.extend(subprocess.Popen(["/bin/sleep", "1000"]) for _ in range(3))
        open(stop + ".forked", "w").close()
count_until_told(step)
alive = [child.poll() is None for child in children]
for child in children:
    child.kill()
    child.wait()
sys.exit(7 if alive == [True] * 3 else 8)
"""
    )
    node = counting.moved()
    Path(f"{counting.stop}.fork").touch()
    counting.eventually(Path(f"{counting.stop}.forked").exists, "it has children")
    former, node = node, counting.moved(node.leader())
    assert len(node.tasks) == 4
    assert former.next()["event"] == "exited"
    counting.ends(node)


KINDS = {
    "threads": """
import threading
lock, total = threading.Lock(), [0]
def add():
    while not os.path.exists(stop):
        with lock:
            total[0] += 1
        time.sleep(0.001)
threads = [threading.Thread(target=add) for _ in range(4)]
[thread.start() for thread in threads]
up()
count_until_told()
[thread.join() for thread in threads]
sys.exit(7 if total[0] > 4 else 8)
""",
    "a multiprocessing pool": """
import multiprocessing
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        pool.map(abs, range(10))
        up()
        def step(n):
            assert pool.apply(pow, (n, 2)) == n * n
        count_until_told(step)
    sys.exit(7)
""",
    "asyncio subprocesses": """
import asyncio
async def main():
    echo = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, stdout=-1)
    up()
    with open(witness, "a") as stream:
        n = 0
        while not os.path.exists(stop):
            n += 1
            echo.stdin.write(f"{n}\\n".encode())
            stream.write((await echo.stdout.readline()).decode())
            stream.flush()
            await asyncio.sleep(0.002)
    echo.stdin.close()
    return 7 + await echo.wait()
sys.exit(asyncio.run(main()))
""",
    "a socket pair, with data in it": """
import socket
near, far = socket.socketpair()
near.sendall(b"waiting")
up()
count_until_told()
sys.exit(7 if far.recv(100) == b"waiting" else 8)
""",
    "memfd and a shared anonymous mapping": """
import mmap
descriptor = os.memfd_create("state")
os.write(descriptor, b"of memory")
shared = mmap.mmap(-1, 4096)
shared[:4] = b"both"
up()
count_until_told()
sys.exit(7 if os.pread(descriptor, 100, 0) == b"of memory" and shared[:4] == b"both" else 8)
""",
    "a deleted temporary file": """
import tempfile
scratch = tempfile.TemporaryFile()
scratch.write(b"x" * 100000)
scratch.flush()
up()
count_until_told()
scratch.seek(0)
sys.exit(7 if scratch.read() == b"x" * 100000 else 8)
""",
    "a lock that nobody else holds": """
import fcntl, subprocess
own = open(stop + ".lock", "w")
fcntl.flock(own, fcntl.LOCK_EX)
up()
count_until_told()
other = open(stop + ".lock", "w")
try:
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(7)
sys.exit(8)
""",
    "event, timer and inotify descriptors": """
import ctypes, select
libc = ctypes.CDLL(None)
event = libc.eventfd(3, 0)
watch = libc.inotify_init1(0o4000)
assert libc.inotify_add_watch(watch, os.path.dirname(stop).encode(), 0x100) > 0
timer = libc.timerfd_create(1, 0o4000)
libc.timerfd_settime(timer, 0, (ctypes.c_long * 4)(0, 50000000, 0, 50000000), None)
poll = select.epoll()
poll.register(event, select.EPOLLIN)
up()
count_until_told()
try:
    ok = os.read(event, 8) == (3).to_bytes(8, "little") and int.from_bytes(os.read(timer, 8), "little") > 0
    ok = ok and b"stop" in os.read(watch, 4096) and poll.poll(0) == []
except BlockingIOError:
    ok = False
sys.exit(7 if ok else 8)
""",
    "priority, limits, umask and a handler of signals": """
import resource, signal
seen = []
os.nice(3)
os.umask(0o027)
resource.setrlimit(resource.RLIMIT_CORE, (0, 12345))
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
up()
count_until_told()
os.kill(os.getpid(), signal.SIGUSR1)
ok = os.getpriority(0, 0) >= 3 and os.umask(0) == 0o027 and resource.getrlimit(resource.RLIMIT_CORE) == (0, 12345)
sys.exit(7 if ok and seen == [1] else 8)
""",
    "a listener on all addresses, and UDP": """
import socket
listening = socket.socket()
listening.bind(("0.0.0.0", 0))
listening.listen()
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.bind(("0.0.0.0", 0))
up()
count_until_told()
with socket.create_connection(("127.0.0.1", listening.getsockname()[1]), 5) as connection:
    datagrams.sendto(b"here", ("127.0.0.1", datagrams.getsockname()[1]))
    sys.exit(7 if datagrams.recv(10) == b"here" and listening.accept() else 8)
""",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_state_comes_along(counting, kind):
    """The program itself compares before and after, and says so by its exit code."""
    counting.start(KINDS[kind])
    counting.ends(counting.moved())


def test_a_compiled_program_keeps_its_registers_and_its_stack(counting, compiled, bench):
    """A C program in the middle of a recursion, with nothing but libc."""
    program = compiled(
        """
#include <stdio.h>
#include <unistd.h>
static FILE *out; static const char *stop; static int n;
static int deep(int level, volatile double sum) {
    if (level) return deep(level - 1, sum + level) + 1;
    while (access(stop, F_OK)) { fprintf(out, "%d\\n", ++n); fflush(out); usleep(2000); }
    return sum == 5050.0 ? 0 : 1000;
}
int main(int argc, char **argv) { out = fopen(argv[1], "a"); stop = argv[2]; return deep(100, 0.0) == 100 ? 7 : 8; }
"""
    )
    counting.process = bench.start([program, str(counting.witness.path), str(counting.stop)])
    counting.counted_more()
    counting.ends(counting.moved())


def test_a_pipeline_comes_along_whole(counting, bench):
    """sh -c 'one | two': three processes, the data in the pipe, the exit code of the last."""
    script = 'n=0; while [ ! -e "$2" ]; do n=$((n+1)); echo $n; sleep 0.005; done | { cat >>"$1"; exit 7; }'
    counting.process = bench.start(["/bin/sh", "-c", script, "sh", str(counting.witness.path), str(counting.stop)])
    counting.counted_more()
    node = counting.moved()
    assert len(node.tasks) >= 3
    counting.ends(node)


def test_many_threads_in_the_middle_of_a_computation(counting, compiled, bench):
    """The result equals an undisturbed run's to the last bit: vector registers of all threads (OpenMP, as in BLAS)."""
    program = compiled(
        """
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
enum { N = 160 };
static double a[N][N], b[N][N], first[N][N];
static void fill(void) {
    for (int i = 0; i < N * N; i++) { (&a[0][0])[i] = i % 17 * 0.37; (&b[0][0])[i] = i % 13 * 0.11; }
}
static void step(void) {
    static double c[N][N];
    #pragma omp parallel for
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < N; k++) sum += a[i][k] * b[k][j];
            c[i][j] = sum / N;
        }
    memcpy(a, c, sizeof a);
}
int main(int argc, char **argv) {
    FILE *out = fopen(argv[1], "a");
    omp_set_num_threads(3);
    fill();
    for (int n = 1; n <= 150 || access(argv[2], F_OK); n++) {
        if (n <= 150) step();
        fprintf(out, "%d\\n", n); fflush(out); usleep(1000);
    }
    memcpy(first, a, sizeof a);
    fill();
    for (int n = 1; n <= 150; n++) step();
    return memcmp(first, a, sizeof a) ? 8 : 7;
}
""",
        "-fopenmp",
        "-O3",
    )
    counting.process = bench.start([program, str(counting.witness.path), str(counting.stop)])
    counting.counted_more()
    node = counting.moved()
    assert node.tasks[0]["threads"] == 3
    counting.ends(node)


def test_an_inherited_pipe_and_a_private_output_are_attached_again(counting, bench):
    """What reads the job's output at the target reads on in the same stream; another file takes the old one's place."""
    reading, writing = os.pipe()
    old, new = bench.root / "old.log", bench.root / "new.log"
    with old.open("ab") as error:
        counting.start(
            "up()\ncount_until_told()\nprint('by pipe', flush=True)\nsys.stderr.write('by file')\nsys.exit(7)\n",
            stdout=writing,
            stderr=error,
        )
    inode = os.fstat(writing).st_ino
    os.close(reading)
    os.close(writing)
    reading, writing = os.pipe()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    inherited = [Inherited.pipe(writing, inode), Inherited.file(descriptor, str(old))]
    node = counting.moved(passed=[writing, descriptor], inherited=inherited)
    os.close(writing)
    os.close(descriptor)
    counting.ends(node)
    with os.fdopen(reading, "rb") as stream:
        assert stream.read() == b"by pipe\n"  # and its end: nobody else holds the pipe
    assert (old.read_text(), new.read_text()) == ("", "by file")


def test_a_job_that_leads_no_session_and_dies_of_a_signal(counting, bench):
    """Started by a shell without job control, it is in the shell's session; killed there, that is what is told."""
    script = f'{PYTHON} -c "$0" "$1" "$2" & echo $! >"$2.pid"; wait'
    program = COUNT + "count_until_told()\n"
    bench.start(["/bin/sh", "-c", script, program, str(counting.witness.path), str(counting.stop)])
    counting.counted_more()
    leader = int(Path(f"{counting.stop}.pid").read_text())
    node = counting.moved(leader)
    assert node.options.shell_job
    os.kill(node.leader(), signal.SIGKILL)
    assert node.ended() == {"event": "exited", "exit_code": 137, "signal": 9}
    counting.witness.contiguous()


def test_an_ordinary_users_job_stays_an_ordinary_users(counting):
    """Accounts, groups and the promise of no new privileges are those of the image, though criu is root."""
    for path in (counting.witness.path, counting.bench.root):
        os.chown(path, 65534, 65534)  # nobody, in a group beside its own
    counting.start(
        """
import ctypes
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
up()
count_until_told()
status = dict(line.rstrip().split(":\\t") for line in open("/proc/self/status"))
ok = os.getresuid() == (65534,) * 3 and os.getgroups() == [65534, 65533] and status["NoNewPrivs"] == "1"
sys.exit(7 if ok and status["CapEff"].strip("0") == "" else 8)
""",
        user=65534,
        group=65534,
        extra_groups=[65534, 65533],
    )
    refused = obstacles.accounts(estate.survey([counting.process.pid]), report.report(CRIU))
    if refused:  # in a container root cannot: that must be known before, and nothing half done
        assert [one["reason"] for one in refused] == ["NO_CRIU"]
        with pytest.raises(LauncherError, match=r"DUMP_FAILED.*rlimit"):
            counting.moved()
        counting.rig.close()
        counting.counted_more()
        return
    node = counting.moved()
    assert node.tasks[0]["uid"] == 65534
    counting.ends(node)


def test_a_terminal_is_another_one_there(rig, bench, eventually):
    """Input, output, its being the controlling terminal, size, Ctrl-C, Ctrl-Z: twice, the second out of a cradle."""
    program = """
import os, sys
for line in sys.stdin:
    mine = os.getpgrp() == os.tcgetpgrp(0)
    print("got", line.strip(), os.get_terminal_size().columns, open("/dev/tty").isatty(), mine, flush=True)
"""
    environ = {os.fsencode(name): os.fsencode(value) for name, value in bench.environment().items()}
    job = LocalPty([PYTHON.encode(), b"-c", program.encode()], environ, name="local_1_1", size=Size(24, 80))
    said = Said(job.write, job.read, eventually)
    said.answers(b"one\n", b"got one 80 True True")
    leader = job.pid
    for word, columns in ((b"two", 81), (b"three", 82)):
        near, far = pty.openpty()
        os.set_blocking(near, False)
        node = rig.move(leader, terminal=far)
        os.close(far)
        job.close()
        set_size(near, Size(24, columns))  # criu brings the old one's along
        node.go_on()
        said = Said(functools.partial(os.write, near), functools.partial(_read, near), eventually)
        said.answers(word + b"\n", b"got %s %d True True" % (word, columns))
        leader = node.leader()
    os.write(near, b"\x1a")
    assert node.next() == {"event": "stopped", "signal": signal.SIGTSTP}
    node.cradle.send(do="signal", number=signal.SIGCONT)
    assert node.next() == {"event": "goes_on"}
    said.answers(b"four\n", b"got four 82 True True")
    os.write(near, b"\x03")
    assert node.ended()["signal"] == signal.SIGINT
    os.close(near)


def test_a_terminal_that_hangs_up_ends_the_job_as_anywhere(rig, bench, eventually):
    environ = {os.fsencode(name): os.fsencode(value) for name, value in bench.environment().items()}
    job = LocalPty([b"sleep", b"1000"], environ, name="local_1_2", size=Size(24, 80))
    near, far = pty.openpty()
    node = rig.move(job.pid, terminal=far)
    os.close(far)
    job.close()
    node.go_on()
    os.close(near)
    assert node.ended()["signal"] == signal.SIGHUP


def _read(near):
    with contextlib.suppress(BlockingIOError):
        return os.read(near, 4096)
    return b""


class Said:
    """What appears on a terminal."""

    def __init__(self, write, read, eventually) -> None:
        self._write, self._read, self._eventually, self._text = write, read, eventually, b""

    def answers(self, line, expected):
        self._write(line)
        self._eventually(lambda: expected in self._all(), f"{expected} in {self._text}")

    def _all(self):
        self._text += self._read()
        return self._text


def test_an_established_connection_is_closed_where_that_is_allowed(counting, rig):
    """The program sees the end of its input, and its listener goes on."""
    counting.start(
        """
import socket
listening = socket.create_server(("0.0.0.0", 0))
client = socket.create_connection(listening.getsockname())
server = listening.accept()[0]
up()
count_until_told()
sys.exit(7 if server.recv(10) == b"" else 8)
"""
    )
    node = counting.moved(options=options_for(counting.process.pid, tcp_close=True))
    counting.ends(node)
