"""From /proc to the verdict: a real process of each kind gets the right code, and what it is about is named."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from job_kinds import CLIENT, PYTHON, RULE, SLEEPS, SUPERVISES, Kinds, interactive

from offloader.launcher import cgroups
from offloader.model import Reason, RuleSelect

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


def test_who_traces_another_job_is_tied_to_it(kinds):
    traced = kinds.python("")
    traces = "import ctypes, sys\nassert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None) == 0"
    candidate = kinds.waits_for(kinds.python(traces, str(traced)), Reason.OPEN_EDGE)
    assert f"ptrace with python3 ({traced})" in candidate.obstacles[0].seen
    assert kinds.verdict(traced) is Reason.TRACED


def test_a_connection_to_another_machine_would_break(kinds):
    """In a network namespace of its own, to a neighbour that does not answer: that it tries counts."""
    network = "ip link add t0 type veth peer name t1; ip link set t1 up; ip link set t0 up"
    connects = 'import socket; s = socket.socket(); s.setblocking(False); s.connect_ex(("10.9.9.2", 80))'
    job = f"{network}; ip address add 10.9.9.1/24 dev t0; exec {PYTHON} -c '{connects}; {SLEEPS}'"
    kinds.waits_for(kinds.start("unshare", "--net", "bash", "-c", job), Reason.REMOTE_CONNECTION)


def test_a_command_line_that_was_written_over_starts_nothing_again(kinds):
    """As setproctitle does (proc_pid_stat(5): arg_start, arg_end)."""
    rewrites = (
        "import ctypes\nfields = open('/proc/self/stat').read().rpartition(')')[2].split()\n"
        "first, last = int(fields[45]), int(fields[46])\nctypes.memset(first, 0, last - first)\n"
        "ctypes.memmove(first, b'worker: idle', 12)"
    )
    assert kinds.verdict(kinds.python(rewrites)) is Reason.ARGV_REWRITTEN


WRITABLE = [one for one in cgroups.find() if os.access(one.mount, os.W_OK)]


@contextlib.contextmanager
def inside(pid: int, path: str) -> Iterator[None]:
    """The process in a control group of that path, as a service manager or container runtime puts it there."""
    with contextlib.ExitStack() as made:
        for hierarchy in WRITABLE:
            directory = Path(hierarchy.mount) / path
            for folder in (*reversed(directory.parents), directory):
                if not folder.exists():
                    folder.mkdir()
                    made.callback(folder.rmdir)
            made.callback(hierarchy.move, pid, Path(hierarchy.mount))
            assert hierarchy.move(pid, directory)
        yield


grouped = pytest.mark.skipif(not WRITABLE, reason="no control group may be made here")


@grouped
@pytest.mark.parametrize("path", ["docker/{}", "system.slice/docker-{}.scope", "kubepods.slice/cri-containerd-{}"])
def test_what_runs_in_a_container_is_for_its_own_tools(kinds, path):
    pid = kinds.python("")
    assert kinds.verdict(pid) is None
    with inside(pid, path.format("ab" * 32)):
        assert kinds.verdict(pid) is Reason.CONTAINER


@grouped
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("system.slice/simulation.service", Reason.SUPERVISED),
        ("user.slice/user-1000.slice/user@1000.service/app.slice/sync.service", Reason.SUPERVISED),
        ("user.slice/user-1000.slice/session-3.scope", None),
    ],
)
def test_what_systemd_runs_as_a_service_would_be_started_again(kinds, path, reason):
    pid = kinds.python("")
    with inside(pid, path):
        assert kinds.verdict(pid) is reason
        assert kinds.judged(pid).obstacles == ()


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


@pytest.mark.parametrize("line", ["({job}; touch X) &", "{job} && touch X &", "while {job}; do touch X; done &"])
def test_a_list_in_the_background_has_a_shell_that_waits_too(kinds, line):
    """A part of the shell itself, in the job's process group: it would go on with what comes next."""
    with interactive(kinds) as terminal:
        program = f'open("/proc/self/comm", "w").write("listed"); {SLEEPS}'
        job = f"{PYTHON} -c '{program}' </dev/null >/dev/null 2>&1"
        os.write(terminal, f"cd {kinds.root}; {line.format(job=job)}\n".encode())
        candidate = kinds.waits_for(kinds.appears("listed"), Reason.INTERACTIVE)
        assert {member.comm for member in candidate.members} == {"bash", "listed"}


def test_that_running_again_is_harmless_must_be_said(kinds):
    undeclared = replace(RULE, select=RuleSelect(min_age_s=0.0))
    assert kinds.verdict(kinds.python(""), undeclared) is Reason.NOT_RESTART_SAFE
    assert kinds.verdict(kinds.python("", env={"GRID_OFFLOAD": "allow"}), undeclared) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rsync", Reason.FILE_TRANSFER),
        ("snakemake", Reason.WORKFLOW_DRIVER),
        ("jupyter-lab", Reason.WORKFLOW_DRIVER),
        ("srun", Reason.SCHEDULER_CLIENT),
        ("mpirun", Reason.SCHEDULER_CLIENT),
        ("docker", Reason.SCHEDULER_CLIENT),
        ("autossh", Reason.SCHEDULER_CLIENT),
        ("postgres", Reason.DAEMON),
        ("vim", Reason.INTERACTIVE),
        ("tmux", Reason.INTERACTIVE),
        ("code-server", Reason.INTERACTIVE),
        ("prometheus", Reason.PROTECTED),
        ("grid-exporter", Reason.PROTECTED),
        ("slurmd", Reason.PROTECTED),
    ],
)
def test_programs_that_stay_are_known_by_their_names(kinds, name, reason):
    assert kinds.verdict(kinds.start(PYTHON, kinds.script(name, SLEEPS))) is reason


@pytest.mark.parametrize(
    ("uid", "env", "reason"), [(1, {}, Reason.OTHER_USER), (0, {"GRID_OFFLOAD": "never"}, Reason.OPTED_OUT)]
)
def test_whose_it_is_and_what_he_says_counts(kinds, uid, env, reason):
    assert kinds.verdict(kinds.start(PYTHON, "-c", SLEEPS, user=uid, env=env, cwd="/")) is reason


def test_accounts_of_the_system_run_no_users_work(kinds):
    daemon = kinds.start(PYTHON, "-c", SLEEPS, user=1, cwd="/")
    assert kinds.verdict(daemon, multi_user=True, min_uid=1000) is Reason.SYSTEM_USER
    assert kinds.verdict(daemon, multi_user=True, min_uid=1) is None


def test_a_kernel_thread_is_one_where_there_are_any(kinds):
    threads = [pid for pid, one in kinds.source.read(detail=True).items() if one.kernel]
    if not threads:  # inside a container's pid namespace there are none: nothing to protect
        assert sys.platform == "linux"
        return
    assert kinds.verdict(threads[0]) is Reason.KERNEL_THREAD
