"""What `capture` sees of real processes, and what it refuses to see."""

import base64
import os
import pty
import resource
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from offloader.launcher import proc


def _bytes(values: list[str]) -> list[bytes]:
    return [base64.b64decode(value) for value in values]


def test_argv_environment_and_circumstances_are_copied_exactly(bench):
    """Every byte of argv and environment, in order, with the numbers that make it this process."""

    def circumstances():
        os.umask(0o077)
        os.nice(3)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    nasty = ["", "a b", "\n", b"\xfe\xff", "$(x)"]
    env = {**bench.environment(), "EMPTY": "", "LINES": "a\nb=c"}
    process = bench.python("import time\nup()\ntime.sleep(1000)", *nasty, env=env, preexec_fn=circumstances)
    seen = bench.verb("capture", process.pid)
    assert _bytes(seen["argv"])[3:] == [os.fsencode(one) for one in nasty]
    assert _bytes(seen["environ"]) == [os.fsencode(f"{name}={value}") for name, value in env.items()]
    assert base64.b64decode(seen["cwd"]) == os.fsencode(bench.root)
    assert base64.b64decode(seen["exe"]["path"]) == os.fsencode(os.path.realpath("/usr/bin/python3"))
    assert (seen["umask"], seen["nice"], seen["hup_ignored"]) == (0o077, os.nice(0) + 3, True)
    assert seen["rlimits"]["NOFILE"] == [100, 200]
    assert seen["rlimits"]["CORE"] == list(resource.getrlimit(resource.RLIMIT_CORE))
    assert seen["affinity"] is None, "not pinned"
    assert (seen["uid"], seen["gid"], seen["user"]) == (
        os.getuid(),
        os.getgid(),
        "root" if os.getuid() == 0 else seen["user"],
    )
    assert seen["identity"] == proc.identity(process.pid)


def test_every_kind_of_stream_is_told_apart(bench):
    """file (with flags and position on its disk), null, terminal, pipe, socket, device, closed."""
    out = bench.root / "out"
    with out.open("ab") as stream:
        process = bench.sleeper(stdout=stream, stderr=subprocess.PIPE)
    stdio = bench.verb("capture", process.pid)["stdio"]
    assert stdio["0"]["kind"] == "null"
    assert stdio["1"]["kind"] == "file"
    assert stdio["1"]["flags"] & os.O_APPEND
    assert (stdio["1"]["inode"], stdio["1"]["deleted"]) == (out.stat().st_ino, False)
    assert stdio["2"]["kind"] == "pipe"
    out.unlink()
    assert bench.verb("capture", process.pid)["stdio"]["1"]["deleted"] is True

    ours, theirs = socket.socketpair()
    master, slave = pty.openpty()
    try:
        with Path("/dev/full").open("w") as full:
            process = bench.sleeper(stdin=slave, stdout=theirs, stderr=full)
        kinds = {number: one["kind"] for number, one in bench.verb("capture", process.pid)["stdio"].items()}
        assert kinds == {"0": "tty", "1": "socket", "2": "device"}
    finally:
        ours.close()
        theirs.close()
        os.close(master)
        os.close(slave)
    process = bench.python("import os, time\nos.close(2)\nup()\ntime.sleep(1000)")
    assert bench.verb("capture", process.pid)["stdio"]["2"] == {"kind": "closed"}


def test_an_exhausted_input_pipe_is_known_from_one_that_still_has_a_writer(bench):
    """`true | job`: nothing can ever come again, so the job may move."""
    process = bench.sleeper(stdin=subprocess.PIPE)
    assert bench.verb("capture", process.pid)["stdio"]["0"]["exhausted"] is False
    process.stdin.write(b"x")
    process.stdin.close()
    assert bench.verb("capture", process.pid)["stdio"]["0"]["exhausted"] is False, "a byte is left"
    empty = bench.sleeper(stdin=subprocess.PIPE)
    empty.stdin.close()
    assert bench.verb("capture", empty.pid)["stdio"]["0"]["exhausted"] is True


def test_pinned_processors_are_captured(bench):
    """Only a real pinning is: the number of processors of the source says nothing about the target."""
    process = bench.sleeper(preexec_fn=lambda: os.sched_setaffinity(0, {0}))
    assert bench.verb("capture", process.pid)["affinity"] == [0]


def test_what_cannot_be_captured_is_refused_by_code(bench):
    """No process, a zombie, a kernel thread, rewritten arguments, nonsense."""
    ended = bench.start(["/bin/true"])
    ended.wait()
    assert bench.verb("capture", ended.pid)["error"] == "NO_SUCH_PROCESS"
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert bench.verb("capture", pid)["error"] == "NO_SUCH_PROCESS"
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    disguised = bench.start(["worker: idle", "1000"], executable="/bin/sleep")
    assert bench.verb("capture", disguised.pid)["error"] == "ARGV_REWRITTEN"
    for nonsense in ("x", "-1", "1 2", ""):
        assert bench.verb("capture", nonsense)["error"] == "USAGE"
    kernel = next((stat.pid for stat in proc.all_stats() if stat.ppid == 2), None)
    if kernel is not None:
        assert bench.verb("capture", kernel)["error"] == "KERNEL_THREAD"


def test_programs_started_by_other_names_are_genuine(bench, eventually):
    """A relative name after chdir, a symbolic link, a login shell's dash, a script: none of them is rewritten."""
    (bench.root / "alias").symlink_to("/bin/sleep")
    script = bench.root / "script"
    script.write_text("#!/bin/bash\nread -t 1000 < <(sleep 1000)\n")
    script.chmod(0o755)
    (bench.root / "bin").mkdir()
    for argv, options in (
        (["./alias", "1000"], {}),
        (["sleep", "1000"], {}),
        (["-bash", "-c", "sleep 1000; :"], {"executable": "/bin/bash"}),
        (["./script"], {}),
    ):
        process = bench.start(argv, **options)
        seen = bench.verb("capture", process.pid)
        assert "error" not in seen, (argv, seen)
        assert _bytes(seen["argv"])[-1] == argv[-1].encode()


@pytest.mark.root
def test_somebody_elses_process_is_unreadable_for_an_ordinary_user(bench):
    """A clear code, not a traceback."""
    process = bench.sleeper()
    answer = bench.verb("capture", process.pid, user=65534, group=65534, extra_groups=[])
    assert answer["error"] == "UNREADABLE"


@pytest.mark.root
def test_set_id_programs_are_refused(bench):
    """Real and effective uid differ: its privileges cannot be carried over."""
    program = "import os, time\nos.setresuid(65534, 0, 0)\nup()\ntime.sleep(1000)"
    assert bench.verb("capture", bench.python(program).pid)["error"] == "SET_ID"
