import os
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.procfs.pid import FdInfo, Limit
from exporter.procfs.process import Procfs


def test_facts_of_a_process(proc):
    """What the controller decides on, read from one tree."""
    facts = Procfs(proc).facts(4242)
    assert facts is not None
    assert facts.argv[5:] == (b"/home/alice/train_\xff.py", b"--note", b'two words; $HOME "quoted"\n')
    assert (facts.uid, facts.gid, facts.status.umask, facts.nice, facts.tty_nr) == (4242, 4242, 0o27, 5, 34816)
    assert (facts.exe, facts.cwd) == ("/usr/bin/python3.11", "/home/alice/work")
    assert (facts.swap, facts.cpu_ticks, facts.start_time) == (65536 << 10, 364000, 50000)
    assert facts.cgroups[0].path == "/user.slice/user-4242.slice/session-1.scope"
    assert facts.status.handled_signals == 0x4202  # INT and TERM handled, USR1 blocked; HUP handled once, ignored now


def test_environment_descriptors_limits(proc):
    """Read on demand only."""
    procfs = Procfs(proc)
    environ = procfs.environ(4242)
    assert environ is not None
    assert environ[b"RAW"] == b"\xff\xfe"
    assert environ[b"SECRET"] == b"do-not-export"
    assert procfs.fds(4242) == {0: "/dev/pts/3", 1: "/home/alice/out.log", 3: "pipe:[55510]", 4: "socket:[55501]"}
    assert procfs.fdinfo(4242, 1) == FdInfo(4096, 0o102001, 29)
    limits = procfs.limits(4242)
    assert limits is not None
    assert limits["max open files"] == Limit(1024, 524288)
    assert limits["max cpu time"] == Limit(None, None)


def test_kernel_thread(proc):
    """Recognised by its flag, not by its name."""
    facts = Procfs(proc).facts(2)
    assert facts is not None
    assert facts.kernel_thread
    assert facts.argv == ()
    assert facts.exe is None


def test_vanished_process_is_none(proc):
    """No question about a process that ended raises."""
    procfs = Procfs(proc)
    answers = [
        question(77777)
        for question in (
            procfs.facts, procfs.stat, procfs.statm, procfs.status, procfs.io, procfs.argv, procfs.cgroups,
            procfs.limits, procfs.environ, procfs.fds,
        )
    ]  # fmt: skip
    assert answers == [None] * 10
    assert procfs.fdinfo(77777, 0) is None
    assert procfs.inet_sockets(77777) == ()


def test_reused_pid_gives_no_mixed_facts(proc, monkeypatch):
    """When the pid changes hands while being read, there is no answer rather than a blend of two processes."""
    procfs = Procfs(proc)
    link = Procfs._link

    def hand_over(self, number, name):
        stat = proc / "4242" / "stat"
        stat.write_bytes(stat.read_bytes().replace(b" 50000 ", b" 50001 "))
        return link(self, number, name)

    monkeypatch.setattr(Procfs, "_link", hand_over)
    assert procfs.facts(4242) is None


def test_this_process():
    """On the real /proc: identity of the executable, boot id, own cgroups."""
    procfs = Procfs()
    facts = procfs.facts(os.getpid())
    assert facts is not None
    found = Path(f"/proc/{os.getpid()}/exe").stat()
    assert (facts.exe_device, facts.exe_inode) == (found.st_dev, found.st_ino)
    assert facts.ppid == os.getppid()
    assert len(procfs.boot_id) == 36


@pytest.mark.root
def test_denied_fields_are_none_for_an_ordinary_user():
    """Another user's process: public facts are there, private ones None, nothing raises."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    code = (
        "import os, sys; from exporter.procfs.process import Procfs;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "p = Procfs(); f = p.facts(int(sys.argv[1]));"
        "print(f.comm != '', f.exe, f.cwd, p.environ(f.pid), p.fds(f.pid), p.io(f.pid))"
    )
    run = [sys.executable, "-c", code, str(os.getpid())]
    answer = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert answer.split() == ["True", "None", "None", "None", "None", "None"]
