"""ProcessSource on real processes, one of each kind that decides whether something may move."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.classify import ProcessClass
from offloader.adapters.processes import ProcessSource
from offloader.model import Process

pytestmark = pytest.mark.slow

PYTHON = "/usr/bin/python3"  # an ordinary user may run it too
READY = "print('ready', flush=True)\n"
FOR_EVER = "import sys; sys.stdin.read()"


def until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def common(one: Process, other: Process, kind: str) -> list[str]:
    return [edge for edge in one.edges & other.edges if edge.startswith(kind)]


def test_a_process_is_described_as_it_is(farm, source, tmp_path):
    """Identity, relations, argv with any bytes, directory, class, user, age."""
    script = tmp_path / "train_model.py"
    script.write_text(READY + FOR_EVER)
    pid = farm.start(PYTHON, str(script), "a b", b"\xff\n", cwd=tmp_path, env={"PATH": "/bin"})
    one = source.read(detail=True)[pid]
    found = Path(PYTHON).stat()
    assert one.identity.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (one.identity.exe_dev, one.identity.exe_inode) == (found.st_dev, found.st_ino)
    assert one.identity.start_ticks == int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    assert (one.pid, one.ppid, one.pgid, one.sid) == (pid, os.getpid(), os.getpgid(pid), os.getsid(pid))
    assert one.argv == (PYTHON.encode(), str(script).encode(), b"a b", b"\xff\n")
    assert (one.exe, one.cwd) == (str(Path(PYTHON).resolve()), str(tmp_path))
    assert one.process_class is ProcessClass.TRAINING
    assert (one.user, one.identity.uid) == (pwd.getpwuid(os.geteuid()).pw_name, os.geteuid())
    assert 0 <= one.age_s < 60
    assert one.rss_bytes > 1_000_000
    marks = (one.kernel, one.set_id, one.listening, one.remote_tcp, one.argv_rewritten)
    assert marks == (False,) * 5
    assert (one.tracer_pid, one.wish) == (0, None)


def test_kernel_threads_and_init_are_told_apart(source):
    found = source.read(detail=True)
    assert not found[1].kernel
    assert all(not one.argv and one.exe is None for one in found.values() if one.kernel)


@pytest.mark.parametrize("wish", ["never", "allow", None])
def test_the_wish_is_read_and_nothing_else_of_the_environment_is_kept(farm, source, wish):
    secret = "hunter2-in-the-environment"
    environment = {"API_KEY": secret} | ({"GRID_OFFLOAD": wish} if wish else {})
    pid = farm.python("", env=environment)
    one = source.read(detail=True)[pid]
    assert (one.wish, one.environ_readable) == (wish, True)
    assert secret not in repr(one)
    assert secret not in repr(vars(source))


class TestCpu:
    def test_the_first_reading_is_the_average_since_the_start_not_zero(self, farm, source):
        """An earlier system began with 0 and so never saw what had been running all along."""
        pid = farm.python("import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass")
        one = source.read(detail=True)[pid]
        assert one.cpu_cores > 0
        assert one.cpu_cores <= 1.2

    def test_later_readings_are_rates_between_readings(self, farm):
        """It worked before the first reading and rests since: the rate is that of the window, not of its life."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        source = ProcessSource(boottime=lambda: now)
        pid = farm.python("import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass")
        busy = source.read(detail=False)[pid].cpu_cores
        now += 0.3
        assert source.read(detail=True)[pid].cpu_cores == busy  # too short a window says nothing new
        now += 10
        assert source.read(detail=True)[pid].cpu_cores < 0.01

    def test_a_sleeper_grows_older_and_rests_although_it_is_not_read_again(self, farm):
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        source = ProcessSource(boottime=lambda: now)
        pid = farm.python("")
        first = source.read(detail=False)[pid]
        source.read(detail=False)
        now += 100
        later = source.read(detail=False)[pid]
        assert later.age_s == pytest.approx(first.age_s + 100)
        assert (later.cpu_cores, later.rss_bytes, later.identity) == (0.0, first.rss_bytes, first.identity)

    def test_a_pid_used_again_does_not_inherit(self, farm):
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        source = ProcessSource(boottime=lambda: now)
        pid = farm.python("")
        usage = source.read(detail=False)[pid]
        kept = source._usages[pid]
        source._usages[pid] = type(kept)(kept.start_ticks - 1, kept.cpu_ticks + 10**6, kept.t - 5, 3.0)
        assert source.read(detail=True)[pid].cpu_cores == pytest.approx(usage.cpu_cores, abs=0.5)

    def test_nothing_is_remembered_of_processes_that_ended(self, farm, source):
        pid = farm.python("")
        assert pid in source.read(detail=True)
        farm.end()
        assert pid not in source.read(detail=True)
        assert pid not in source._usages


SHARED = {
    "anonymous": "import mmap, os, time\nshared = mmap.mmap(-1, 4096)",
    "posix": """
import mmap, os, sys, time
with open("/dev/shm/" + sys.argv[1], "r+b") as opened:
    shared = mmap.mmap(opened.fileno(), 4096)
""",
    "memfd": """
import mmap, os, time
opened = os.memfd_create("x")
os.truncate(opened, 4096)
shared = mmap.mmap(opened, 4096)
os.close(opened)
""",
    "sysv": """
import ctypes, os, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
key = libc.shmget(0, 4096, 0o1600)
at = libc.shmat(key, None, 0)
libc.shmctl(key, 0, None)
""",
}


class TestEdges:
    def test_both_ends_of_a_pipe_bear_its_name(self, source, tmp_path):
        """`producer | gzip` is one job."""
        command = f"{PYTHON} -c 'import time; print(1, flush=True); time.sleep(600)' | gzip -c > {tmp_path}/out.gz"
        shell = subprocess.Popen(["bash", "-c", command], process_group=0)
        try:
            children: list[Process] = []

            def both() -> bool:
                children[:] = [one for one in source.read(detail=True).values() if one.ppid == shell.pid]
                return sorted(one.comm for one in children) == ["gzip", "python3"]

            until(both)
            assert len(common(children[0], children[1], "pipe:[")) == 1
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()

    def test_a_fifo_ties_together_who_has_it_open(self, farm, source, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        opens = "import sys\nopened = open(sys.argv[1], 'r+b', buffering=0)"
        one, other = (farm.python(opens, str(tmp_path / "fifo")) for _ in range(2))
        found = source.read(detail=True)
        assert common(found[one], found[other], "fifo:")

    def test_plain_files_read_only_maps_and_devices_tie_nobody_together(self, farm, source, tmp_path):
        (tmp_path / "data").write_bytes(b"x" * 4096)
        opens = (
            "import mmap, sys\nopened = open(sys.argv[1], 'r+b')\n"
            "mapped = mmap.mmap(opened.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)\nnull = open('/dev/null', 'r+b')"
        )
        one, other = (farm.python(opens, str(tmp_path / "data")) for _ in range(2))
        found = source.read(detail=True)
        assert not found[one].edges & found[other].edges

    def test_unix_sockets_name_both_ends_of_their_connection(self, farm, source, tmp_path):
        """A client of a server elsewhere, as of X or a database: the peer is found, the listener is no edge."""
        address = str(tmp_path / "server.sock")
        server = farm.python(
            "import socket, sys, threading\nlistener = socket.socket(socket.AF_UNIX)\nlistener.bind(sys.argv[1])\n"
            "listener.listen()\nkept = []\n"
            "threading.Thread(target=lambda: kept.append(listener.accept()), daemon=True).start()",
            address,
        )
        connect = "import socket, sys\nclient = socket.socket(socket.AF_UNIX)\nclient.connect(sys.argv[1])"
        client, stranger = farm.python(connect, address), farm.python("")
        found: dict[int, Process] = {}

        def accepted() -> bool:
            found.update(source.read(detail=True))
            return bool(common(found[client], found[server], "unix:["))

        until(accepted)
        assert not found[client].edges & found[stranger].edges
        assert not found[server].listening  # of TCP alone

    def test_a_socket_pair_within_one_process_ties_it_to_nobody(self, farm, source):
        pid = farm.python("import socket\npair = socket.socketpair()")
        one = source.read(detail=True)[pid]
        (edge,) = [edge for edge in one.edges if "unix:" in edge]
        assert edge.startswith("unix:[")

    def test_a_peer_whom_nobody_visible_holds_is_outside(self, source):
        """The other end lies in a message that was sent and not yet received: it exists, but at no process."""
        ours, sent = socket.socketpair()
        first, second = socket.socketpair()
        with ours, first, second:
            with sent:
                inode = os.fstat(ours.fileno()).st_ino
                socket.send_fds(first, [b"x"], [sent.fileno()])
            edges = source.read(detail=True)[os.getpid()].edges
        assert [edge for edge in edges if str(inode) in edge and edge.startswith("outside:unix:")]

    def test_loopback_connections_name_both_ends_and_other_machines_are_remote(self, farm, source):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connect = "import socket, sys\nclient = socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
            pid = farm.python(connect, str(listener.getsockname()[1]))
            accepted, _ = listener.accept()
            with accepted:
                found = source.read(detail=True)
        us, client = found[os.getpid()], found[pid]
        assert len(common(us, client, "tcp:")) == 1
        assert (us.listening, client.listening) == (True, False)
        assert not client.remote_tcp

    def test_an_ipv6_socket_that_serves_ipv4_is_recognised_as_the_same_connection(self, farm, source):
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
            connect = "import socket, sys\nclient = socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
            pid = farm.python(connect, str(listener.getsockname()[1]))
            accepted, _ = listener.accept()
            with accepted:
                found = source.read(detail=True)
        assert len(common(found[os.getpid()], found[pid], "tcp:")) == 1

    @pytest.mark.parametrize("kind", ["anonymous", "posix", "memfd", "sysv"])
    def test_shared_memory_ties_together_who_maps_it(self, farm, source, kind):
        name = f"grid-test-{os.getpid()}"
        shm = Path("/dev/shm") / name
        shm.write_bytes(bytes(4096))
        try:
            parent = farm.python(f"{SHARED[kind]}\npid = os.fork()\nif pid == 0: time.sleep(600)", name)
        finally:
            shm.unlink()
        found = source.read(detail=True)
        (child,) = [one for one in found.values() if one.ppid == parent]
        try:
            assert common(found[parent], child, "shm:")
        finally:
            os.kill(child.pid, signal.SIGKILL)

    def test_a_file_that_both_write_through_memory_ties_them_together(self, farm, source, tmp_path):
        (tmp_path / "db").write_bytes(bytes(4096))
        maps = "import mmap, sys\nopened = open(sys.argv[1], 'r+b')\nmapped = mmap.mmap(opened.fileno(), 0)"
        one, other = (farm.python(maps, str(tmp_path / "db")) for _ in range(2))
        found = source.read(detail=True)
        assert common(found[one], found[other], "map:")


@pytest.mark.root
def test_a_connection_to_another_machine_is_remote(farm, source):
    """In a network namespace of its own with a neighbour that does not answer: trying to connect counts."""
    network = "ip link set lo up; ip link add t0 type veth peer name t1; ip link set t1 up; ip link set t0 up"
    address = "ip address add 10.9.9.1/24 dev t0"
    command = f"{network}; {address}; exec {PYTHON} -c '{REMOTE}'"
    pid = farm.start("unshare", "--net", "bash", "-c", command)
    one = source.read(detail=True)[pid]
    assert one.remote_tcp
    assert not one.listening


REMOTE = """
import socket, sys
s = socket.socket(); s.setblocking(False); s.connect_ex(("10.9.9.2", 80))
print("ready", flush=True); sys.stdin.read()
"""


@pytest.mark.root
class TestSetId:
    @pytest.mark.parametrize("mode", [0o4755, 0o2755])
    def test_a_set_id_program_is_marked_by_its_file(self, farm, source, tmp_path, mode):
        copy = tmp_path / "python"
        shutil.copy(Path(PYTHON).resolve(), copy)
        copy.chmod(mode)
        pid = farm.start(str(copy), "-c", READY + FOR_EVER)
        assert source.read(detail=True)[pid].set_id

    def test_a_process_with_two_users_is_marked(self, farm, source):
        pid = farm.python("import os\nos.setresuid(1234, 0, 0)")
        assert source.read(detail=True)[pid].set_id

    def test_an_ordinary_user_s_process_with_capabilities_is_marked_without_it_is_not(self, farm, source):
        drop = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"]
        raw = [*drop, "--inh-caps=+net_raw", "--ambient-caps=+net_raw"]
        plain = farm.start(*drop, PYTHON, "-c", READY + FOR_EVER)
        capable = farm.start(*raw, PYTHON, "-c", READY + FOR_EVER)
        found = source.read(detail=True)
        assert (found[plain].set_id, found[capable].set_id) == (False, True)
        assert found[plain].user == "1234"  # nobody bears this number


class TestArgv:
    def test_a_title_over_argv_is_noticed(self, farm, source):
        """As setproctitle does: argv is what the kernel shows, not what would start the program again."""
        pid = farm.python(OVERWRITE.replace("AREA", "arg"))
        one = source.read(detail=True)[pid]
        assert one.argv[0].startswith(b"worker: idle")
        assert one.argv_rewritten

    def test_a_title_over_the_environment_is_noticed(self, farm, source):
        pid = farm.python(OVERWRITE.replace("AREA", "env"), env={"A": "b" * 64})
        one = source.read(detail=True)[pid]
        assert one.argv_rewritten
        assert one.argv[0] == PYTHON.encode()

    @pytest.mark.root
    def test_files_of_another_root_prove_nothing_to_whoever_only_looks(self, farm, source, tmp_path):
        """A controller in a container sees all processes, and none of their files at the paths that they have."""
        apart = (
            "mount -t tmpfs none $1; cd $1; mkdir usr; ln -s usr/bin usr/lib usr/lib64 .; mount --bind /usr usr;"
            f'cp {PYTHON} mine; exec chroot . /mine -c "$2"'
        )
        pid = farm.start("unshare", "-m", "sh", "-c", apart, "sh", str(tmp_path), READY + FOR_EVER)
        title = farm.python(OVERWRITE.replace("AREA", "arg"))
        looking = ProcessSource(acts=False).read(detail=True)
        assert (looking[pid].argv_rewritten, looking[title].argv_rewritten) == (False, True)
        assert source.read(detail=True)[pid].argv_rewritten, "who acts takes no chances"

    @pytest.mark.parametrize("word", ["python3", "./python3", "bin/../python3"])
    def test_a_word_that_leads_to_the_running_file_is_trusted(self, farm, source, tmp_path, word):
        """By PATH, by a relative path, through symbolic links."""
        (tmp_path / "python3").symlink_to(PYTHON)
        (tmp_path / "bin").mkdir()
        pid = farm.start(word, "-c", READY + FOR_EVER, cwd=tmp_path, executable=PYTHON, env={"PATH": "/bin:."})
        assert not source.read(detail=True)[pid].argv_rewritten

    def test_a_script_by_its_interpreter_line_is_trusted(self, farm, source, tmp_path):
        script = tmp_path / "work"
        script.write_text(f"#!{PYTHON}\n{READY}{FOR_EVER}")
        script.chmod(0o755)
        pid = farm.start(str(script))
        assert not source.read(detail=True)[pid].argv_rewritten

    @pytest.mark.parametrize("word", ["-python3", "something else", "/bin/true", ""])
    def test_a_word_that_leads_elsewhere_is_not(self, farm, source, word):
        pid = farm.start(word, "-c", READY + FOR_EVER, executable=PYTHON)
        assert source.read(detail=True)[pid].argv_rewritten

    def test_a_program_whose_file_was_deleted_keeps_its_identity_and_says_so(self, farm, source, tmp_path):
        """An upgrade did that: not a rewritten argv, but no file to start again either."""
        copy = tmp_path / "program"
        shutil.copy(Path(PYTHON).resolve(), copy)
        inode = copy.stat().st_ino
        pid = farm.start(str(copy), "-c", READY + FOR_EVER)
        copy.unlink()
        one = source.read(detail=True)[pid]
        assert (one.exe, one.identity.exe_inode) == (f"{copy} (deleted)", inode)
        assert not one.argv_rewritten


OVERWRITE = """
import ctypes
fields = open("/proc/self/stat").read().rpartition(")")[2].split()
start, end = {"arg": (45, 46), "env": (47, 48)}["AREA"]
first, last = int(fields[start]), int(fields[end])
ctypes.memset(first, 0, last - first)
title = b"worker: idle"[: last - first - 1]
ctypes.memmove(first, title, len(title))
"""


def test_a_traced_process_names_its_tracer(farm, source):
    """Debuggers and strace: it must not be stopped by somebody else."""
    pid = farm.python("import ctypes; ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)")
    libc = ctypes.CDLL(None, use_errno=True)
    seize, detach = 0x4206, 17
    assert libc.ptrace(seize, pid, None, None) == 0, os.strerror(ctypes.get_errno())
    try:
        assert source.read(detail=True)[pid].tracer_pid == os.getpid()
    finally:
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, 0)
        libc.ptrace(detach, pid, None, None)


def test_a_stopped_process_shows_its_state(farm, source):
    pid = farm.python("")
    os.kill(pid, signal.SIGSTOP)
    until(lambda: source.read(detail=True)[pid].state == "T")


def test_the_foreground_group_of_a_terminal_is_known(source):
    """What tells a shell's foreground job from its background jobs."""
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execv(PYTHON, [PYTHON, "-c", "import time; time.sleep(600)"])
    try:
        one = source.read(detail=True)[pid]
        assert one.tty_nr != 0
        assert (one.session_terminal_pgid, one.pgid) == (pid, pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def test_without_detail_nothing_can_be_mistaken_for_complete(farm, source):
    pid = farm.python("", env={"GRID_OFFLOAD": "allow"})
    one = source.read(detail=False)[pid]
    assert (one.comm, one.ppid) == ("python3", os.getpid())
    assert (one.identity.exe_dev, one.identity.exe_inode, one.wish, one.environ_readable) == (0, 0, None, False)


AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from offloader.adapters.processes import ProcessSource
from offloader.engine.candidates import candidate_for
from offloader.model import Policy
found = ProcessSource().read(detail=True)
root, own = found[int(sys.argv[2])], found[os.getpid()]
print(root.environ_readable, root.exe, root.wish, sorted(root.edges), own.environ_readable, own.wish)
print([edge.split(":")[0] for edge in own.edges if "pipe" in edge])
everybody = Policy("head", own_uid=os.getuid(), multi_user=True, min_uid=0)
judged = candidate_for(found, root.pid, node="head", policy=everybody)
print("UNREADABLE" in [one.reason for one in judged.obstacles])
"""


@pytest.mark.root
def test_an_ordinary_user_learns_what_it_may_and_what_it_may_not_is_marked(farm, tmp_path):
    """Its pipe to somebody else's process is open: the other end is at no process that it can see."""
    pid = farm.python("", env={"GRID_OFFLOAD": "never"})
    copy = tmp_path / "copy"
    for package in ("exporter", "offloader"):
        shutil.copytree(
            Path(__file__).parents[2] / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for folder in (copy, *(one for one in copy.parents if one.is_relative_to("/tmp") and one != Path("/tmp"))):
        folder.chmod(0o755)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run(
        [*nobody, PYTHON, "-B", "-c", AS_NOBODY, str(copy), str(pid)],
        env={"GRID_OFFLOAD": "allow"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    first, second, third = done.stdout.splitlines()
    assert first == "False None None [] True allow"
    assert second == "['outside', 'outside']"
    assert third == "True"


def test_processes_that_come_and_go_while_it_reads_disturb_nothing(farm, source):
    """Thousands start and end on a login node; a reading is complete for those that stay."""
    stays = farm.python("")
    churn = subprocess.Popen(["bash", "-c", "while :; do /bin/true; done"])
    try:
        for _ in range(15):
            assert stays in source.read(detail=True)
    finally:
        churn.kill()
        churn.wait()
