"""Both ends of a terminal's way: what a launcher left is said by `tie`; who holds a terminal is found, or is gone."""

import contextlib
import errno
import json
import os
import socket
import subprocess
import threading

from offloader.launcher.durable import write_json
from offloader.launcher.terminal import verbs
from offloader.launcher.terminal.door import address_of
from offloader.launcher.terminal.lasting import Lasting
from offloader.launcher.terminal.screen import LEFT

PYTHON = "/usr/bin/python3"


def tie(bench, where):
    """The verb with pipes, and the other end of its conversation."""
    process = subprocess.Popen(
        [PYTHON, "-I", bench.launcher, "tie", where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=bench.environment(),
    )
    bench._started.append(process)
    return process


def test_what_nobody_had_heard_when_the_launcher_ended_is_said_by_the_verb(bench):
    launcher, stub = Lasting(), Lasting()
    for message in ((b"o", b"heard"), (b"o", b"not heard"), (b"e", b"exit 3")):
        launcher.say(*message)
    launcher.greeting()
    launcher.hear(stub.greeting())
    said = launcher.unsaid()
    assert stub.hear(said[: len(said) // 3])  # the connection broke behind the first one
    write_json(bench.root / LEFT, launcher.document())
    process = tie(bench, bench.root)
    assert json.loads(process.stderr.readline()) == {"ready": True}
    process.stdin.write(stub.greeting())
    process.stdin.flush()
    heard = []
    while (b"e", b"exit 3") not in heard:
        heard += stub.hear(os.read(process.stdout.fileno(), 65536))
    assert heard == [(b"o", b"not heard"), (b"e", b"exit 3")]
    process.stdin.write(stub.unsaid())
    process.stdin.flush()
    assert process.wait(20) == 0


def test_where_nobody_holds_a_terminal_that_is_said(bench):
    for where in (bench.root, "0/local_1_2"):
        assert bench.verb("terminal", where, stdin={"do": "look"})["error"] == "NOT_RUNNING"
    assert json.loads(tie(bench, bench.root).stderr.readline())["error"] == "NOT_RUNNING"


def test_somebody_else_at_a_stubs_address_is_nobody(bench):
    """Anybody may take it: what counts is whose account listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address_of(12345, "local_1_2"))
        listener.listen()
        assert bench.verb("terminal", "12345/local_1_2", stdin={"do": "look"})["error"] == "NOT_RUNNING"


def test_a_node_that_has_no_descriptor_left_takes_nobody_for_gone(monkeypatch, capsys):
    """The terminal of a job whose stub is gone hangs up."""

    def fails(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", fails)
    assert verbs.main_tie(["0/local_1_2", "job", "1", "gpu1"]) == 1
    assert json.loads(capsys.readouterr().err)["error"] == "NO_ANSWER"


def test_whoever_says_too_much_is_not_listened_to_for_ever(bench):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address_of(os.getuid(), "local_1_4"))
        listener.listen()

        def talk():
            guest, _ = listener.accept()
            with guest, contextlib.suppress(OSError):
                while True:
                    guest.sendall(b"x" * 65536)

        talking = threading.Thread(target=talk)
        talking.start()
        assert bench.verb("terminal", f"{os.getuid()}/local_1_4", stdin={"do": "look"})["error"] == "NO_ANSWER"
        talking.join(20)
        assert not talking.is_alive()


def test_whoever_does_not_answer_is_there_all_the_same(bench):
    """A stub that its user has stopped: its queue fills, and nobody takes it for gone."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address_of(os.getuid(), "local_1_3"))
        listener.listen(0)
        guests = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        try:
            for guest in guests:
                guest.setblocking(False)
                guest.connect_ex(address_of(os.getuid(), "local_1_3"))
            where = f"{os.getuid()}/local_1_3"
            assert bench.verb("terminal", where, stdin={"do": "look"})["error"] == "NO_ANSWER"
        finally:
            for guest in guests:
                guest.close()
