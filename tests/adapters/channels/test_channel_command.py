"""`notify.owner`: a real command with arguments as they are, the document on stdin, no secrets, and an end."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from offloader.adapters.channels.command import CommandChannel
from offloader.errors import ExternalError
from offloader.notify.message import Message, MessageKind, Origin
from offloader.notify.words import document

MESSAGE = Message(
    MessageKind.NOTICE, 1.7e9, 1000, "alice", 42, "$(reboot)", "head1", "gpu1", "restart", Origin(1, "/home/a/x.log")
)
SAVE = "import json,os,sys; json.dump([sys.argv[2:], dict(os.environ), sys.stdin.read()], open(sys.argv[1], 'w'))"


def owner_channel(argv, timeout_s):
    return CommandChannel("notify.owner", argv, timeout_s, document)


async def test_it_gets_its_arguments_as_written_and_the_message_on_stdin(tmp_path, monkeypatch):
    monkeypatch.setenv("GRID_SECRET_TOKEN", "hunter2")
    out = tmp_path / "out"
    argv = (sys.executable, "-c", SAVE, str(out), "a b", "$HOME; rm -rf /")
    assert await owner_channel(argv, 10.0).send(MESSAGE)
    arguments, environment, given = json.loads(out.read_text())
    assert arguments == ["a b", "$HOME; rm -rf /"]
    assert set(environment) <= {"PATH", "HOME", "LANG", "LC_CTYPE"}
    document = json.loads(given)
    assert (document["kind"], document["name"], document["uid"]) == ("notice", "$(reboot)", 1000)
    assert "x.log" not in given
    assert any("grid-offloader keep 42" in line for line in document["lines"])


@pytest.mark.parametrize(
    "argv",
    [("/no/such/program",), (sys.executable, "-c", "import sys; sys.exit('no mail server')"), ("/etc/passwd",)],
)
async def test_one_that_fails_or_cannot_be_started_is_a_failure_with_its_words(argv):
    with pytest.raises(ExternalError, match=r"notify\.owner ended with"):
        await owner_channel(argv, 10.0).send(MESSAGE)


async def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    pids = tmp_path / "pids"
    script = f"sleep 300 & echo $$ $! >{pids}; wait"
    began = time.monotonic()
    with pytest.raises(ExternalError):
        await owner_channel(("/bin/sh", "-c", script), 1.0).send(MESSAGE)
    assert time.monotonic() - began < 5.0
    deadline = time.monotonic() + 5.0
    for pid in map(int, pids.read_text().split()):
        while runs(pid):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_one_that_does_not_read_its_stdin_is_fine():
    assert await owner_channel(("/bin/true",), 10.0).send(MESSAGE)
