"""From /proc to the verdict: a real process of each kind gets the right code, and what it is about is named."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_kinds import CLIENT, PYTHON, SLEEPS, SUPERVISES, Kinds, interactive

from offloader.model import Reason

pytestmark = [pytest.mark.slow, pytest.mark.root]


@pytest.fixture
def kinds(tmp_path) -> Iterator[Kinds]:
    made = Kinds(tmp_path)
    yield made
    made.end()


def test_plain_work_has_nothing_against_it(kinds):
    assert kinds.verdict(kinds.python("")) is None


def test_a_producer_and_its_gzip_are_one_job(kinds):
    """Nothing is open: the pipe ends inside."""
    shell = kinds.start("bash", "-c", f"{PYTHON} -c '{SLEEPS}' | gzip -c > out.gz")
    kinds.until(lambda: {one.comm for one in kinds.judged(shell).members} == {"bash", "python3", "gzip"})
    assert kinds.judged(shell).obstacles == ()


def test_a_pipe_to_somebody_elses_process_is_open_and_names_him(kinds):
    reading, writing = os.pipe()
    consumer = kinds.start(PYTHON, "-c", SLEEPS, stdin=reading)
    producer = kinds.start(PYTHON, "-c", SLEEPS, stdout=writing)
    os.close(reading)
    os.close(writing)
    candidate = kinds.waits_for(producer, Reason.OPEN_EDGE)
    assert f"({consumer})" in candidate.obstacles[0].seen


def test_a_client_of_a_display_server_is_tied_to_it(kinds, tmp_path):
    """As of X: its windows are at the other end of a unix socket."""
    address = str(tmp_path / "X0")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        client = kinds.python(CLIENT, address)
        accepted, _ = server.accept()
        with accepted:
            candidate = kinds.waits_for(client, Reason.OPEN_EDGE)
            assert f"({os.getpid()})" in candidate.obstacles[0].seen


def test_shared_memory_with_another_job_is_open(kinds):
    maps = "import mmap, sys\nfile = open(sys.argv[1], 'r+b')\nmapped = mmap.mmap(file.fileno(), 4096)"
    path = Path("/dev/shm") / kinds.mark
    path.write_bytes(bytes(4096))
    try:
        one, other = (kinds.python(maps, str(path)) for _ in range(2))
    finally:
        path.unlink()
    assert {kinds.verdict(one), kinds.verdict(other)} == {Reason.OPEN_EDGE}


def test_a_loopback_connection_to_another_job_is_open(kinds):
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = "import socket, sys\nclient = socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
        client = kinds.python(connect, str(server.getsockname()[1]))
        accepted, _ = server.accept()
        with accepted:
            assert kinds.verdict(client) is Reason.OPEN_EDGE


def test_a_listener_is_left_to_its_owner_or_a_rule(kinds):
    listens = "import socket\nserver = socket.create_server(('127.0.0.1', 0))"
    assert kinds.verdict(kinds.python(listens)) is Reason.LISTENER


def test_a_traced_process_and_a_stopped_one_are_left_alone(kinds):
    traced = kinds.python("import ctypes; ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.ptrace(0x4206, traced, None, None) == 0, os.strerror(ctypes.get_errno())
    assert kinds.verdict(traced) is Reason.TRACED
    os.kill(traced, signal.SIGSTOP)
    os.waitpid(traced, 0)
    libc.ptrace(17, traced, None, None)
    stopped = kinds.python("")
    os.kill(stopped, signal.SIGSTOP)
    kinds.waits_for(stopped, Reason.STOPPED)


def test_what_a_supervisor_would_start_again_is_supervised(kinds):
    """It really does: its child, killed, comes back. Moved, the job would run twice."""
    kinds.start(PYTHON, kinds.script("supervisord", SUPERVISES))
    child = kinds.appears("supervised")
    candidate = kinds.waits_for(child, Reason.SUPERVISED)
    assert candidate.obstacles == ()
    os.kill(child, signal.SIGKILL)
    kinds.until(lambda: kinds.named("supervised") not in (None, child))


def test_a_cron_job_under_flock_is_crons_and_locked(kinds):
    """The lock keeps cron from starting it twice; gone elsewhere, nothing would."""
    work = kinds.script("work.sh", f"{PYTHON} -c '{SLEEPS}'; true")
    runs = f"import subprocess\nsubprocess.run(['sh', '-c', 'flock -n run.lock sh {work}'], start_new_session=True)"
    kinds.start(PYTHON, kinds.script("cron", runs))
    flock = kinds.appears("flock")
    kinds.until(lambda: len(kinds.judged(flock).members) == 4)
    candidate = kinds.judged(flock)
    assert [one.reason for one in candidate.owner_only] == [Reason.CRON]
    assert candidate.obstacles == ()
    assert any(member.locked for member in candidate.members)


def test_a_lock_on_a_file_keeps_rules_away(kinds):
    locks = "import fcntl\nfile = open('run.lock', 'a')\nfcntl.flock(file, fcntl.LOCK_EX)"
    assert kinds.verdict(kinds.python(locks)) is Reason.LOCKED


def test_tickets_and_licences_bind_to_the_node(kinds, tmp_path):
    (tmp_path / "tickets").write_bytes(b"\x05\x04")
    holder = kinds.python("", env={"KRB5CCNAME": f"FILE:{tmp_path}/tickets"})
    licensed = kinds.python("", env={"LM_LICENSE_FILE": "27000@host"})
    assert (kinds.verdict(holder), kinds.verdict(licensed)) == (Reason.CREDENTIALS, Reason.LICENCE)


@pytest.mark.parametrize("after", ["; touch X", ""])
def test_a_shell_that_waits_for_its_foreground_job_keeps_it(kinds, after):
    """`job; touch X`: were the job gone, the shell would go on to what comes next."""
    with interactive(kinds) as terminal:
        program = f'open("/proc/self/comm", "w").write("foreground"); {SLEEPS}'
        os.write(terminal, f"cd {kinds.root}; {PYTHON} -c '{program}'{after}\n".encode())
        job = kinds.appears("foreground")
        candidate = kinds.waits_for(job, Reason.SHELL_WAITING)
        assert candidate.obstacles == ()
        assert not (kinds.root / "X").exists()


def test_a_background_job_of_a_shell_may_move(kinds):
    with interactive(kinds) as terminal:
        program = f'open("/proc/self/comm", "w").write("background"); {SLEEPS}'
        os.write(terminal, f"{PYTHON} -c '{program}' </dev/null >/dev/null 2>&1 &\n".encode())
        assert kinds.verdict(kinds.appears("background")) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rsync", Reason.FILE_TRANSFER),
        ("snakemake", Reason.WORKFLOW_DRIVER),
        ("srun", Reason.SCHEDULER_CLIENT),
        ("postgres", Reason.DAEMON),
        ("vim", Reason.INTERACTIVE),
        ("prometheus", Reason.PROTECTED),
    ],
)
def test_programs_that_stay_are_known_by_their_names(kinds, name, reason):
    assert kinds.verdict(kinds.start(PYTHON, kinds.script(name, SLEEPS))) is reason


@pytest.mark.parametrize(
    ("uid", "env", "reason"), [(1, {}, Reason.OTHER_USER), (0, {"GRID_OFFLOAD": "never"}, Reason.OPTED_OUT)]
)
def test_whose_it_is_and_what_he_says_counts(kinds, uid, env, reason):
    assert kinds.verdict(kinds.start(PYTHON, "-c", SLEEPS, user=uid, env=env, cwd="/")) is reason


def test_a_kernel_thread_is_one_where_there_are_any(kinds):
    threads = [pid for pid, one in kinds.source.read(detail=True).items() if one.kernel]
    if not threads:  # inside a container's pid namespace there are none: nothing to protect
        assert sys.platform == "linux"
        return
    assert kinds.verdict(threads[0]) is Reason.KERNEL_THREAD
