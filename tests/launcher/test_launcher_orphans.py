"""A frozen job whose shell goes away: its process group is an orphan then, and the kernel continues stopped orphans."""

import os
import pty
import signal
import time

import pytest

from offloader.launcher import cgroups, proc

pytestmark = pytest.mark.slow

USABLE = [one.how for one in cgroups.find() if os.access(one.mount, os.W_OK)]

COUNTING = """
import sys, time
n = 0
while True:
    n += 1
    with open(sys.argv[1], "r+") as stream:
        stream.write(f"{n:12}")
    time.sleep(0.002)
"""


@pytest.mark.skipif(not USABLE, reason="no freezer hierarchy may be written; stopping is refused below a shell")
def test_a_nohup_job_whose_shell_exits_while_it_is_frozen_stays_frozen(bench):
    counted, program = bench.root / "counted", bench.root / "count.py"
    counted.write_text("0")
    program.write_text(COUNTING)
    shell, terminal = pty.fork()
    if shell == 0:
        os.closerange(3, 1024)
        os.execve("/bin/bash", ["bash", "--norc", "-i"], {**bench.environment(), "PS1": ""})
    try:
        os.write(terminal, f"nohup /usr/bin/python3 {program} {counted} >/dev/null 2>&1 </dev/null &\n".encode())
        _until(lambda: counted.read_text() != "0")
        (job,) = [one.pid for one in proc.all_stats() if one.ppid == shell and not one.dead]
        directory, _ = bench.guard([job], ways=USABLE)
        link = bench.link(directory, hello="armed")
        link.send(do="freeze")
        link.expect("frozen")
        os.write(terminal, b"disown -a; exit\n")
        os.waitpid(shell, 0)
        shell = 0
        _until(lambda: proc.read_stat(job).ppid != shell)
        before = counted.read_text()
        time.sleep(0.5)
        assert counted.read_text() == before, "it executed"
        link.send(do="thaw")
        link.expect("thawed")
        _until(lambda: counted.read_text() != before)
    finally:
        if shell:
            os.kill(shell, signal.SIGKILL)
            os.waitpid(shell, 0)
        os.close(terminal)


def _until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
