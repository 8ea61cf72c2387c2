"""Messages on real pseudo terminals: only the owner's own, only if it takes messages, nothing that it would obey."""

import fcntl
import os
import pty
import termios
import time
from dataclasses import replace
from pathlib import Path

import pytest

from offloader.adapters.channels.terminal import TerminalChannel, device_of, tell
from offloader.notify.message import Message, MessageKind, Origin

DEV = Path("/dev")
UID = os.geteuid()


class Terminal:
    """A pseudo terminal as a login would leave it."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self.slave)
        Path(self.path).chmod(0o620)
        device = os.fstat(self.slave).st_rdev
        minor = os.minor(device)
        self.number = os.major(device) << 8 | (minor & 0xFF) | (minor & ~0xFF) << 12

    def read(self):
        try:
            return os.read(self.master, 65536).decode("latin-1")
        except BlockingIOError:
            return ""

    def close(self):
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    one = Terminal()
    yield one
    one.close()


def test_the_owner_reads_it(terminal):
    assert tell(DEV, terminal.number, UID, ("going to move", "keep it"))
    assert terminal.read() == "\r\ngrid-offloader: going to move\r\ngrid-offloader: keep it\r\n".replace(
        "\r\n", "\r\r\n"
    )


def test_mesg_n_is_respected(terminal):
    Path(terminal.path).chmod(0o600)
    assert not tell(DEV, terminal.number, UID, ("x",))
    assert terminal.read() == ""


def test_a_terminal_of_somebody_else_is_left_alone(terminal):
    """The number may have been given to another user's login meanwhile."""
    assert not tell(DEV, terminal.number, UID + 1, ("x",))
    assert terminal.read() == ""


@pytest.mark.parametrize("name", ["x\x1b]0;owned\x07", "\x9b2J", "ab\rcd\nef", "\u202egnp.exe", "caf\xe9", "\udcff"])
def test_nothing_that_a_terminal_would_obey_gets_there(terminal, name):
    assert tell(DEV, terminal.number, UID, (f"job {name} is going to move",))
    shown = terminal.read()
    inner = shown.strip("\r\n")
    assert inner.startswith("grid-offloader: job ")
    assert inner.isascii()
    assert inner.isprintable()


def test_a_stopped_terminal_holds_nobody_up(terminal):
    """Ctrl-S, or a window that nobody reads: the kernel's buffer is full."""
    termios.tcflow(terminal.slave, termios.TCOOFF)
    began = time.monotonic()
    for _ in range(50):
        tell(DEV, terminal.number, UID, ("x" * 2000,))
    assert time.monotonic() - began < 2.0


def test_it_never_becomes_our_controlling_terminal(terminal):
    """A session leader that opens a terminal without O_NOCTTY acquires it."""
    child = os.fork()
    if not child:
        os.setsid()
        tell(DEV, terminal.number, UID, ("x",))
        try:
            os.close(os.open("/dev/tty", os.O_RDONLY))
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_no_terminal_of_that_number_is_not_written_to(tmp_path, terminal):
    """A file, a link or another device under the terminal's name."""
    minor = os.minor(os.fstat(terminal.slave).st_rdev)
    (tmp_path / "pts").mkdir()
    fake = tmp_path / "pts" / str(minor)
    fake.write_text("")
    fake.chmod(0o620)
    assert not tell(tmp_path, terminal.number, UID, ("x",))
    assert fake.read_text() == ""
    fake.unlink()
    fake.symlink_to(terminal.path)
    assert not tell(tmp_path, terminal.number, UID, ("x",))
    fake.unlink()
    os.mkfifo(fake, 0o620)
    assert not tell(tmp_path, terminal.number, UID, ("x",))
    assert terminal.read() == ""


@pytest.mark.parametrize("number", [0, 1 << 8 | 3, 4 << 8 | 64, 5 << 8, 137 << 8, 8 << 8, -1])
def test_only_pseudo_terminals_and_consoles_are_terminals(number):
    """Not serial lines (which may block), /dev/mem, /dev/tty or disks."""
    assert device_of(number) is None
    assert not tell(DEV, number, UID, ("x",))


def test_numbers_are_decoded_as_the_kernel_encodes_them():
    assert device_of(136 << 8 | 5) == ("pts/5", os.makedev(136, 5))
    assert device_of(0x1088_2C) == ("pts/300", os.makedev(136, 300))
    assert device_of(4 << 8 | 1) == ("tty1", os.makedev(4, 1))


def test_a_terminal_that_hung_up_is_no_error(terminal):
    os.close(terminal.master)
    assert not tell(DEV, terminal.number, UID, ("x",))
    terminal.master = os.open("/dev/null", os.O_RDONLY)


async def test_the_channel_writes_all_lines_of_a_message(terminal):
    message = Message(MessageKind.NOTICE, 0.0, UID, "alice", 42, "train.py", "head1", "gpu1", "restart", left_s=60.0)
    assert not await TerminalChannel().send(message)  # of a job without a terminal
    assert await TerminalChannel().send(replace(message, origin=Origin(terminal.number)))
    assert "grid-offloader keep 42" in terminal.read()


def test_a_real_process_reports_this_number(terminal):
    """tty_nr of proc(5) for a process whose controlling terminal it is."""
    child = os.fork()
    if not child:
        os.setsid()
        fcntl.ioctl(terminal.slave, termios.TIOCSCTTY, 0)
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        os._exit(0 if int(fields[4]) == terminal.number else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
