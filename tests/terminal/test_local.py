"""`run --local` at a real terminal, from real bash with job control: what a user would miss if it were otherwise."""

import os
import shlex
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from terminals import STUB, marked, named, state_of, wait_for

pytestmark = pytest.mark.slow

PYTHON = sys.executable
ASKS = "import sys\nprint('ready', flush=True)\nfor line in sys.stdin: print('heard', line.strip(), flush=True)"


def stub(*command: str) -> bytes:
    return shlex.join([*STUB, "run", "--local", "--", *command]).encode()


def test_the_job_has_a_terminal_of_its_own_of_the_same_size_and_modes_and_its_exit_code_comes_back(desk):
    screen = desk.local("sh", "-c", "stty size; tty; ps -o pgid= -o tpgid= -p $$; exit 7")
    outer = os.ttyname(0) if os.isatty(0) else None
    screen.until(b"24 80\r\n")
    inner = screen.until(b"\r\n").decode()
    assert inner.startswith("/dev/pts/")
    assert inner != outer
    group, foreground = screen.until(b"\r\n").split()
    assert group == foreground
    assert screen.code() == 7
    assert screen.now == screen.attributes


def test_interrupt_reaches_the_job_and_not_us(desk):
    program = "import os, signal, sys, time\nsignal.signal(2, lambda *_: (os.write(1, b'got\\n'), sys.exit(3)))\n"
    screen = desk.local(PYTHON, "-c", program + "print('ready', flush=True)\nwhile True: time.sleep(1)")
    screen.until(b"ready\r\n")
    screen.type(b"\x03")
    screen.until(b"got\r\n")
    assert screen.code() == 3


def test_a_signal_that_ends_the_job_is_told_as_shells_do(desk):
    screen = desk.local("sleep", "600")
    os.kill(desk.job("sleep"), signal.SIGTERM)
    assert screen.code() == 128 + signal.SIGTERM
    assert screen.now == screen.attributes


def test_end_of_input_and_a_change_of_size_reach_it(desk):
    program = (
        "import os, signal, sys\nsignal.signal(28, lambda *_: os.write(1, b'%d by %d' % os.get_terminal_size()))\n"
        + ASKS
    )
    screen = desk.local(PYTHON, "-c", program)
    screen.until(b"ready\r\n")
    screen.resize(33, 101)
    screen.until(b"101 by 33")
    screen.type(b"one\n")
    screen.until(b"heard one\r\n")
    screen.type(b"\x04")
    assert screen.code() == 0


def test_ctrl_z_gives_the_shell_its_prompt_and_fg_goes_on(desk):
    screen = desk.shell()
    before = screen.now
    screen.type(stub(PYTHON, "-u", "-c", ASKS, "asks") + b"\n")
    screen.until(b"ready\r\n")
    job = desk.job("asks")
    screen.type(b"\x1a")
    screen.until(b"Stopped")
    screen.until(b"prompt> ")
    assert (state_of(job), screen.now) == ("T", before)
    screen.type(b"echo at-$((1+1))-shell\n")
    screen.until(b"at-2-shell\r\n")
    screen.until(b"prompt> ")
    screen.resize(40, 120)
    screen.type(b"fg\n")
    wait_for(lambda: state_of(job) == "S", "going on")
    screen.until(b"asks")
    wait_for(lambda: not screen.now[3] & termios.ICANON, "keys are the job's again")
    screen.type(b"two\n")
    screen.until(b"heard two\r\n")
    screen.type(b"\x04")
    screen.until(b"prompt> ")
    screen.type(b"echo code-$?\n")
    screen.until(b"code-0\r\n")
    assert screen.now == before


def test_in_the_background_it_goes_on_and_leaves_the_keys_alone(desk):
    screen, go = desk.shell(), desk.folder / "go"
    os.mkfifo(go)  # a shell that waits by forking is not seen stopped when its child is stopped within vfork(2)
    screen.type(stub("sh", "-c", "echo begun; read _ < go; echo more; cat") + b"\n")
    screen.until(b"begun\r\n")
    screen.type(b"\x1a")
    screen.until(b"prompt> ")
    screen.type(b"bg\n")
    screen.until(b"prompt> ")
    go.write_text("\n", encoding="ascii")
    screen.until(b"more")
    screen.type(b"echo mine-$((1+1))\n")
    screen.until(b"mine-2\r\n")
    screen.type(b"fg\n")
    wait_for(lambda: not screen.now[3] & termios.ICANON, "keys are the job's")
    screen.type(b"hello\n")
    screen.until(b"hello\r\nhello\r\n")
    screen.type(b"\x03")
    screen.until(b"prompt> ")
    screen.type(b"echo code-$?\n")
    screen.until(b"code-130\r\n")


def test_where_no_shell_could_continue_it_ctrl_z_does_what_it_does_there_without_us(desk):
    """Nothing: the kernel throws it away, and the job is not left stopped for ever."""
    screen = desk.local(PYTHON, "-c", ASKS)
    screen.until(b"ready\r\n")
    screen.type(b"\x1a")
    screen.type(b"three\n")
    screen.until(b"heard three\r\n")
    screen.type(b"\x04")
    assert screen.code() == 0


def test_a_stop_that_is_not_the_terminals_is_left_to_whoever_did_it(desk):
    screen = desk.shell()
    screen.type(stub(PYTHON, "-u", "-c", ASKS, "asks") + b"\n")
    screen.until(b"ready\r\n")
    job = desk.job("asks")
    os.kill(job, signal.SIGSTOP)
    wait_for(lambda: state_of(job) == "T")
    screen.type(b"four\n")
    os.kill(job, signal.SIGCONT)
    screen.until(b"heard four\r\n")
    screen.type(b"\x04")
    screen.until(b"prompt> ")


def test_killed_by_term_it_passes_that_on_and_restores_the_terminal(desk):
    screen = desk.shell()
    before = screen.now
    screen.type(stub("sleep", "600") + b"\n")
    job = desk.job("sleep")
    wait_for(lambda: not screen.now[3] & termios.ICANON)
    held = next(pid for pid in marked("TERMINAL_TEST", desk.mark) if _is_stub(pid))
    os.kill(held, signal.SIGTERM)
    screen.until(b"prompt> ")
    wait_for(lambda: state_of(job) in ("", "Z"))
    screen.type(b"echo code-$?\n")
    screen.until(b"code-143\r\n")
    assert screen.now == before


def _is_stub(pid: int) -> bool:
    return named(pid, "--local") and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4] != "0"


def test_output_that_goes_into_a_pipe_goes_there_as_it_is(desk):
    screen = desk.shell()
    command = stub("sh", "-c", "test -t 0 && printf 'a\\nb\\n'; echo to-you >&2")
    screen.type(command + b" | od -c | head -1\n")
    screen.until(b"to-you\r\n")
    screen.until(b"0000000   a  \\n   b  \\n\r\n")


def test_without_a_terminal_the_streams_are_the_jobs_own(desk):
    argv = [*STUB, "run", "--local", "--env", "X=1", "--", "sh", "-c", "cat; echo $X >&2; exit 9"]
    done = subprocess.run(
        argv, input=b"\0bytes\xff", capture_output=True, env=desk.env, cwd=desk.folder, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (9, b"\0bytes\xff", b"1\n")


@pytest.mark.parametrize(("command", "code"), [("no-such-program", 127), ("./plain", 126)])
def test_what_cannot_be_executed_says_so(desk, command, code):
    (desk.folder / "plain").write_text("no program")
    argv = [*STUB, "run", "--local", "--", command]
    options = {"env": desk.env, "cwd": desk.folder, "timeout": 60, "check": False, "capture_output": True}
    assert subprocess.run(argv, stdin=subprocess.DEVNULL, **options).returncode == code  # noqa: PLW1510 - in options
    assert desk.local(command).code() == code


def test_without_a_terminal_term_is_passed_on(desk):
    argv = [
        *STUB,
        "run",
        "--local",
        "--",
        "sh",
        "-c",
        "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.1; done",
    ]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=desk.env, cwd=desk.folder
    ) as held:
        assert held.stdout.readline() == b"ready\n"
        held.send_signal(signal.SIGTERM)
        assert (held.stdout.readline(), held.wait(30)) == (b"bye\n", 4)


def test_much_output_and_much_input_arrive_whole(desk):
    screen = desk.local("sh", "-c", "seq 1 100000; stty -echo; echo ready; wc -c")
    assert screen.until(b"ready\r\n") == b"".join(b"%d\r\n" % number for number in range(1, 100001))
    for _ in range(300):
        screen.type((b"x" * 59 + b"\n") * 10)
    screen.type(b"\x04")
    screen.until(b"180000\r\n")
    assert screen.code() == 0


def test_a_lost_terminal_leaves_the_job_running_and_attach_brings_it_back(desk):
    screen = desk.local(PYTHON, "-u", "-c", ASKS, "asks")
    screen.until(b"ready\r\n")
    job = desk.job("asks")
    screen.hang_up()
    wait_for(lambda: list((desk.folder / "state").rglob("sock")), "a place to come back to")
    assert state_of(job) == "S"
    again = desk.open(*STUB, "attach")
    again.type(b"five\n")
    again.until(b"heard five\r\n")
    again.hang_up()
    wait_for(lambda: again.process.poll() is not None, "attach ends with its terminal")
    third = desk.open(*STUB, "attach")
    third.until(b"heard five\r\n")
    third.type(b"\x03")
    assert third.code() == 130
    assert not list((desk.folder / "state").rglob("output"))
    assert screen.code() == 130


def test_a_job_that_loses_its_terminal_goes_on_also_where_nothing_can_be_kept(desk):
    (desk.folder / "state").write_text("no directory")
    script = "echo ready; while [ ! -e go ]; do sleep 0.1; done; seq 1 100000; touch came-here; exit 6"
    screen = desk.local("sh", "-c", script)
    screen.until(b"ready\r\n")
    screen.hang_up()
    (desk.folder / "go").touch()
    assert screen.code() == 6
    assert (desk.folder / "came-here").exists()


def test_of_a_job_that_ended_unseen_output_and_exit_code_are_kept(desk):
    screen = desk.local("sh", "-c", "echo ready; while [ ! -e go ]; do sleep 0.1; done; echo last words; exit 6")
    screen.until(b"ready\r\n")
    screen.hang_up()
    wait_for(lambda: list((desk.folder / "state").rglob("sock")))
    (desk.folder / "go").touch()
    assert screen.code() == 6
    again = desk.open(*STUB, "attach")
    again.until(b"last words")
    assert again.code() == 6
    assert desk.open(*STUB, "attach").code() == 2
