"""The controller and what it leaves behind, seen and held from outside: by its journal, its processes, the witness."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from _testbed import controller, leftovers, nodes, services, witness_report
from _testbed.settings import Settings

from offloader.client import Client

Answer = TypeVar("Answer")
FINAL = ("done", "rolled_back", "lost")
SLICE_S = 0.0002  # shorter than one fsync: no journalled state passes unseen between two slices


def journal_states(settings: Settings, move_id: str) -> list[str]:
    """The states that a move has been in, as the controller's journal has them on disk, whether it lives or not."""
    return _journal(settings, "SELECT state FROM transitions WHERE move = ? ORDER BY seq", move_id)


def why(settings: Settings, move_id: str) -> str:
    """The last thing that the journal says about a move."""
    return _journal(settings, "SELECT detail FROM transitions WHERE move = ? ORDER BY seq DESC", move_id)[0]


def _journal(settings: Settings, query: str, move_id: str) -> list[str]:
    path = controller.outside(settings, settings.head) / "state/journal.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        return [str(row[0]) for row in database.execute(query, (move_id,))]


def wait_for_end(settings: Settings, move_id: str, seconds: float = 120) -> None:
    """Until the journal says that the move is over."""
    deadline = time.monotonic() + seconds
    while (states := journal_states(settings, move_id))[-1] not in FINAL:
        assert time.monotonic() < deadline, f"not over within {seconds:g} s: {states}: {why(settings, move_id)}"
        time.sleep(0.05)


def wait_for_state(settings: Settings, move_id: str, state: str, seconds: float = 90) -> None:
    """Until the journal has it; fails when the move ended without."""
    deadline = time.monotonic() + seconds
    while state not in (states := journal_states(settings, move_id)):
        assert states[-1] not in FINAL, f"it went {states} and never was {state}: {why(settings, move_id)}"
        assert time.monotonic() < deadline, f"{state} not within {seconds:g} s: {states}"
        time.sleep(0.002)


@contextmanager
def stopped_in(settings: Settings, move_id: str, state: str, before: str, seconds: float = 90) -> Iterator[str]:
    """Hold the controller's processes still (SIGSTOP) while `state` is the last that it journalled.

    Some states last for about a millisecond. From `before` on, an earlier state, the controller runs in slices, with a
    look at its journal after each. Gives the state it was stopped in: `state`, or a later one if even
    so it was too quick. Inside the block it may be killed, or spoken to: it will hear that when the block ends.
    """
    group = services.group_of(settings, settings.head, controller.NAME)
    assert group is not None, "the controller does not run"
    members = _inside(settings, group)
    wait_for_state(settings, move_id, before, seconds)
    deadline = time.monotonic() + seconds
    try:
        with _ahead_of_others():
            while True:
                _signal(members, signal.SIGSTOP)
                _wait_until_stopped(members)
                states = journal_states(settings, move_id)
                if state in states or states[-1] in FINAL:
                    break
                assert time.monotonic() < deadline, f"{state} not within {seconds:g} s: {states}"
                _signal(members, signal.SIGCONT)
                time.sleep(SLICE_S)
        yield states[-1]
    finally:
        if services.group_of(settings, settings.head, controller.NAME) == group:
            os.killpg(group, signal.SIGCONT)


@contextmanager
def _ahead_of_others() -> Iterator[None]:
    """On a busy machine a slice would last until it is our turn again: be first then, where that is allowed."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _wait_until_stopped(members: Sequence[int]) -> None:
    """Every thread: one that is in the kernel finishes that first, and may be writing the journal."""
    deadline = time.monotonic() + 10
    for pid in members:
        while not all(leftovers.process_state(thread) in "TZX" for thread in Path(f"/proc/{pid}/task").glob("*")):
            assert time.monotonic() < deadline, f"process {pid} of the controller did not stop"


def _inside(settings: Settings, group: int) -> list[int]:
    """The group's processes but for its leader: nsenter(1), which continues its child whenever itself is continued."""
    found = []
    for pid in nodes.group(settings, settings.head).pids():
        with suppress(ProcessLookupError):
            if pid != group and os.getpgid(pid) == group:
                found.append(pid)
    return found


def _signal(members: Sequence[int], signum: int) -> None:
    for pid in members:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


class Cancel:
    """A `cancel` that can be sent to a stopped controller, which answers when it runs again."""

    def __init__(self, settings: Settings, move_id: str) -> None:
        self._request = f"POST /v1/moves/{move_id}/cancel HTTP/1.0\r\n"
        self._path = str(controller.socket(settings))
        self._socket = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        self._socket.settimeout(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self) -> None:
        """Send it."""
        self._socket.connect(self._path)
        self._socket.sendall(f"{self._request}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode())

    def answer(self) -> dict[str, Any]:
        """The answer's document, and its HTTP status as `status`."""
        with self._socket.makefile("rb") as stream:
            head, _, body = stream.read().partition(b"\r\n\r\n")
        return {**json.loads(body), "status": int(head.split()[1])}


def kill_guard(settings: Settings, move_id: str) -> None:
    """Kill -9 the process on the head that keeps the original frozen."""
    moves = controller.outside(settings, settings.head) / "node/moves"
    document = moves / move_id / "state.json"
    state = json.loads(document.read_text(encoding="utf-8"))
    inside = state["pid"]
    guards = [pid for pid in nodes.group(settings, settings.head).pids() if leftovers.inner_pid(pid) == inside]
    assert len(guards) == 1, f"no guard with pid {inside} on the head"
    os.kill(guards[0], signal.SIGKILL)


def copy_again_after(settings: Settings, load: str, t: float) -> float:
    """Seconds from a fault at `t` to the first sign of life of the copy that runs in the end, as the witness saw it."""
    seen = witness_report.read(settings.root / "witness/log.jsonl")
    mine = [record for record in seen if record["load"] == load]
    return float(next(one["t"] for one in mine if one["t"] >= t and one["start_id"] == mine[-1]["start_id"]) - t)


def ask(settings: Settings, question: Callable[[Client], Coroutine[Any, Any, Answer]]) -> Answer:
    """Ask the controller from this machine: much faster than its command line inside a node."""
    return asyncio.run(question(Client(controller.socket(settings))))
