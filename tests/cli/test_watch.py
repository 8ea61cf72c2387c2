"""`watch`: what it opens, and a summary that fits any terminal and stays plain in a pipe."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import webbrowser
from contextlib import contextmanager

import pytest

from offloader.cli import watch
from offloader.errors import ControllerUnavailable

SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
STATUS = {
    "t": 1_700_000_000.0,
    "controller": {"cluster": "lab"},
    "ceiling": "auto",
    "kill_switch": False,
    "data": {"age_s": 1.0, "tick_t": 1_700_000_000.0, "interval_s": 5.0},
    "next": {"text": "nothing, RULE_FALSE: " + "far below the threshold, " * 12, "remedy": "", "command": None},
    "last_decision": None,
    "head": {
        "name": "head1",
        "pressure": {
            "cpu": {"value": 0.93, "threshold": 0.8, "relief": 0.65, "problem": None, "detail": ""},
            "memory": {"value": None, "threshold": None, "relief": None, "problem": "NO_DATA", "detail": "nothing"},
        },
    },
    "rules": [],
    "workers": [
        {
            "name": f"gpu{number}",
            "up": True,
            "draining": False,
            "pressure": {"cpu": {"value": 0.1}},
            "offer": {"cores": 6.0, "memory_bytes": 24e9, "gpus": 1},
            "reserved": {"cores": 0.0, "memory_bytes": 0, "gpus": 0},
            "offer_reason": "",
        }
        for number in range(30)
    ],
    "notices": [],
    "proposals": [],
    "jobs": [],
    "moves_in_flight": [],
    "moves_recent": [],
    "problems": [],
}


@contextmanager
def watching(tmp_path, *options, **how):
    """`watch OPTIONS` as its own process; INT at the end must end it with code 0."""
    environment = {
        **os.environ,
        "GRID_OFFLOADER_SOCKET": str(tmp_path / "control.sock"),
        "GRID_OFFLOADER_CONFIG": str(tmp_path / "none"),
        "TERM": "xterm",
    }
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    argv = [sys.executable, "-m", "offloader.cli", "watch", *options]
    process = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, **how)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def read_until(descriptor, enough, seconds=30.0):
    seen, deadline = b"", time.monotonic() + seconds
    while not enough(seen):
        assert time.monotonic() < deadline, seen
        if select.select([descriptor], [], [], 0.2)[0]:
            try:
                part = os.read(descriptor, 65536)
            except OSError:  # the other end of the terminal is closed
                return seen
            if not part:
                return seen
            seen += part
    return seen


def test_into_a_pipe_it_is_plain_whole_and_repeated(controller, tmp_path) -> None:
    controller.answers["status"] = STATUS
    with watching(tmp_path, "--interval", "0.2", stdout=subprocess.PIPE) as process:
        seen = read_until(process.stdout.fileno(), lambda text: text.count(b"lab  ") >= 3).decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()
    assert "\x1b" not in seen
    assert STATUS["next"]["text"].strip() in seen, "nothing is shortened"
    assert "gpu29" in seen


@pytest.mark.parametrize(("columns", "lines"), [(20, 8), (40, 12), (80, 24), (200, 60)])
def test_on_a_terminal_of_any_size_it_stays_within(controller, tmp_path, columns, lines) -> None:
    controller.answers["status"] = STATUS
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
    with watching(tmp_path, "--interval", "0.2", stdout=theirs) as process:
        os.close(theirs)
        seen = read_until(ours, lambda text: text.count(b"\x1b[H") >= 3)
        process.send_signal(signal.SIGINT)
        rest = read_until(ours, lambda text: b"\x1b[?1049l" in text)
        assert process.wait(30) == 0
    os.close(ours)
    assert rest.rstrip().endswith(b"\x1b[?1049l"), "the terminal is as it was"
    screen = seen.decode().split("\x1b[H")[1].replace("\r\n", "\n")
    shown = SEQUENCE.sub("", screen).split("\n")
    assert max(len(line) for line in shown) <= columns
    assert len(shown) <= lines
    assert shown[0].startswith("lab")


def test_a_controller_that_goes_away_is_waited_for(controller, tmp_path) -> None:
    controller.answers["status"] = STATUS
    with watching(tmp_path, "--interval", "0.2", stdout=subprocess.PIPE) as process:
        read_until(process.stdout.fileno(), lambda text: b"lab  " in text)
        controller.answers["status"] = ControllerUnavailable("restarting")
        read_until(process.stdout.fileno(), lambda text: b"still trying" in text)
        controller.answers["status"] = STATUS
        read_until(process.stdout.fileno(), lambda text: b"lab  " in text)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()


def test_one_that_was_never_there_is_an_error(command) -> None:
    assert command("watch", "--interval", "1").code == 3


@pytest.mark.parametrize("interval", ["0", "-1", "soon"])
def test_an_interval_that_makes_no_sense_is_refused(command, interval) -> None:
    assert command("watch", "--interval", interval).code == 2


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster file; `write(more)` adds to it."""
    file = tmp_path / "cluster.yaml"
    monkeypatch.setenv("GRID_OFFLOADER_CONFIG", str(file))

    def write(more=""):
        nodes = "nodes:\n  - {name: head1, role: head, address: 10.0.0.1}\n"
        file.write_text(f"cluster: lab\n{nodes}controller: {{state_dir: {tmp_path}}}\n{more}")

    write()
    return write


@pytest.mark.parametrize(
    ("more", "url"),
    [("", "http://127.0.0.1:9778/"), ("grafana: {url: 'https://g.lab/d/grid'}", "https://g.lab/d/grid")],
)
def test_with_a_desktop_the_browser_opens_grafana_or_the_status_page(command, cluster, monkeypatch, more, url) -> None:
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setenv("GRID_OFFLOADER_CONFIG", os.environ["GRID_OFFLOADER_CONFIG"])
    cluster(more)
    ran = command("watch")
    assert (ran.code, opened) == (0, [url])


def test_over_ssh_it_says_how_to_get_there_and_prints_the_summary(command, cluster, monkeypatch) -> None:
    """No controller answers here; the hint comes first."""
    monkeypatch.setenv("SSH_CONNECTION", "1 2 3 4")
    monkeypatch.setenv("DISPLAY", "localhost:10.0")
    ran = command("watch")
    assert ran.code == 3
    assert "ssh -L 9778:127.0.0.1:9778 10.0.0.1, then http://localhost:9778/" in ran.err


@pytest.mark.parametrize(
    ("line", "width", "shown"),
    [
        ("plain", 3, "pla"),
        ("\x1b[31mred\x1b[0m text", 5, "\x1b[31mred\x1b[0m t\x1b[0m"),
        ("\x1b[31mlong red\x1b[0m", 4, "\x1b[31mlong\x1b[0m\x1b[0m"),
    ],
)
def test_styles_take_no_room(line, width, shown) -> None:
    assert watch._cut(line, width) == shown
