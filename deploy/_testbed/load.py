#!/usr/bin/python3
"""A sample load: computes, holds memory, writes lines, and tells the witness that it does, 20 times a second or so.

While it is frozen it sends nothing. A start id drawn at every exec tells copies apart. It needs nothing but the
system's Python, so every account on every node can run it.
"""

import argparse
import fcntl
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn, TextIO

PERIOD_S = 0.05
WITNESS = Path(__file__).resolve().parent.parent / "witness/socket"


class Reporter:
    """Sends this process's signs of life; a missing or full witness never disturbs the load."""

    def __init__(self, options: argparse.Namespace, start_id: str, *, leader: bool, seq: int = 0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._witness = str(options.witness)
        self._period_s = options.period
        self._message: dict[str, object] = {"load": options.name, "start_id": start_id, "leader": leader}
        self.seq = seq
        self._next = 0.0

    def report(self) -> None:
        """Send if it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._period_s
        self.seq += 1
        self._send(now)

    def saved(self) -> None:
        """Say that it has saved how far it is: whoever goes on from there may not be further back."""
        self._message["saved"] = self.seq
        self._send(time.monotonic())

    def _send(self, now: float) -> None:
        fresh = {"node": os.uname().nodename, "pid": os.getpid(), "seq": self.seq, "mono": now}
        try:
            self._socket.sendto(json.dumps(self._message | fresh).encode(), self._witness)
        except OSError:
            return


class Checkpoint:
    """How far it got, in a file: read at the start, written now and then, and when SIGUSR1 asks for it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._asked: float | None = None
        self._saved = time.monotonic()
        if options.lock:
            self._lock = options.state.with_suffix(".lock").open("w", encoding="ascii")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        signal.signal(signal.SIGUSR1, self._ask)

    def restored(self) -> int:
        """Where a run before this one got to."""
        return int(self._options.state.read_text(encoding="ascii")) if self._options.state.exists() else 0

    def look(self, reporter: Reporter) -> None:
        """Save if it is time to; ends the process if it was asked to."""
        now = time.monotonic()
        if self._asked is not None and now >= self._asked + self._options.save_after:
            self._save(reporter)
            os._exit(self._options.save_exit)
        if self._options.save_every and now >= self._saved + self._options.save_every:
            self._saved = now
            self._save(reporter)

    def _ask(self, *_: object) -> None:
        self._asked = time.monotonic()

    def _save(self, reporter: Reporter) -> None:
        partial = self._options.state.with_suffix(".partial")
        partial.write_text(str(reporter.seq), encoding="ascii")
        partial.rename(self._options.state)
        reporter.saved()


def compute(seconds: float, fraction: float) -> None:
    """Use `fraction` of a core for `seconds`."""
    end = time.monotonic() + seconds * fraction
    value = 1
    while time.monotonic() < end:
        for _ in range(200):
            value = (value * 1103515245 + 12345) & 0x7FFFFFFF
    if fraction < 1:
        time.sleep(seconds * (1 - fraction))


def hold(mebibytes: int) -> bytearray:
    """Memory whose pages are really there."""
    memory = bytearray(mebibytes << 20)
    for offset in range(0, len(memory), 4096):
        memory[offset] = 1 + offset % 255
    return memory


def tell_ready(file: Path) -> None:
    """Leave this process's id there, whole or not at all."""
    partial = file.with_suffix(".partial")
    partial.write_text(str(os.getpid()), encoding="ascii")
    partial.rename(file)


def work(options: argparse.Namespace, reporter: Reporter, out: TextIO | None, saved: Checkpoint | None = None) -> None:
    """Compute until the duration is over, the end file appears, or all lines are written."""
    start = time.monotonic()
    lines = 0
    while not _over(options, start):
        reporter.report()
        if saved is not None:
            saved.look(reporter)
        compute(options.period / 5, options.cpu)
        if out is not None and time.monotonic() - start >= lines * options.interval:
            lines += 1
            print(f"{options.name} line {lines} on {os.uname().nodename}", file=out, flush=True)
            if options.count and lines >= options.count:
                return


def _over(options: argparse.Namespace, start: float) -> bool:
    if options.end_file and options.end_file.exists():
        return True
    return bool(options.duration and time.monotonic() - start >= options.duration)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--name", default="load", help="what the witness files it under")
    parser.add_argument("--cpu", type=float, default=1.0, help="cores each process uses, 0 to 1")
    parser.add_argument("--children", type=int, default=0, help="processes forked that do the same")
    parser.add_argument("--memory", type=int, default=0, metavar="MIB", help="memory to hold")
    parser.add_argument("--duration", type=float, default=0, metavar="S", help="end after so long (0: never)")
    parser.add_argument("--end-file", type=Path, metavar="PATH", help="end once this file exists")
    parser.add_argument("--count", type=int, default=0, help="end after so many lines (0: never)")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="time from line to line")
    parser.add_argument("--exit-code", type=int, default=0)
    parser.add_argument("--output", type=Path, help="append the lines to this file, not to standard output")
    parser.add_argument(
        "--ready-file", type=Path, help="write our process id here once memory is held and children run"
    )
    parser.add_argument("--state", type=Path, help="go on from this file, and save to it when SIGUSR1 asks for it")
    parser.add_argument("--save-after", type=float, default=0, metavar="S", help="how long after it was asked")
    parser.add_argument("--save-every", type=float, default=0, metavar="S", help="save without being asked (0: never)")
    parser.add_argument("--save-exit", type=int, default=85, help="exit code of one that was asked to save")
    parser.add_argument("--lock", action="store_true", help="hold a lock beside the state file")
    parser.add_argument("--ignore-term", action="store_true", help="do not end on TERM")
    parser.add_argument("--period", type=float, default=PERIOD_S, metavar="S", help="from one sign of life to the next")
    parser.add_argument("--witness", type=Path, default=WITNESS, help="the witness's socket")
    parser.add_argument("unused", nargs="*", help="arguments for their own sake: they change nothing")
    return parser.parse_args()


def main() -> NoReturn:
    """Run the load."""
    options = parse_args()
    start_id = os.urandom(8).hex()
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    memory = hold(options.memory)
    children = []
    for _ in range(options.children):
        if not (pid := os.fork()):
            work(options, Reporter(options, start_id, leader=False), None)
            os._exit(0)
        children.append(pid)
    if options.ready_file:
        tell_ready(options.ready_file)
    saved = Checkpoint(options) if options.state else None
    reporter = Reporter(options, start_id, leader=True, seq=saved.restored() if saved else 0)
    if options.output:
        with options.output.open("a", encoding="utf-8") as out:
            work(options, reporter, out, saved)
    else:
        work(options, reporter, sys.stdout, saved)
    for pid in children:
        os.kill(pid, signal.SIGTERM if options.count else 0)
        os.waitpid(pid, 0)
    del memory
    sys.exit(options.exit_code)


if __name__ == "__main__":
    main()
