"""A job that counts in a file, in the world of hand-offs: a gap, a repetition or a second writer shows."""

import asyncio
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from moves_world import candidate_of

from offloader.launcher import proc
from offloader.model import Capacity, StrategyName

COUNTS = """
import os, sys, time
witness, stop, code = sys.argv[1], sys.argv[2], int(sys.argv[3])
memory = os.urandom(1 << 20) * 20
with open(witness, "a") as stream:
    n = 0
    while not os.path.exists(stop):
        n += 1
        stream.write(f"{n} {os.getpid()}\\n")
        stream.flush()
        time.sleep(0.002)
sys.exit(code if memory[:9] == memory[1 << 20:(1 << 20) + 9] else 99)
"""


class Counting:
    """A job that counts until it is told to stop, and what is left of it anywhere."""

    def __init__(self, world) -> None:
        self.world = world
        self.witness, self.stop = world.root / "witness.txt", world.root / "stop"
        self.witness.touch()
        self.process = self._start()

    def close(self) -> None:
        """No copy of it is left, wherever it went."""
        self.stop.touch()
        for pid in self.copies():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _start(self) -> subprocess.Popen[bytes]:
        program = self.world.root / "counts.py"
        program.write_text(COUNTS)
        with (self.world.root / "counts.out").open("ab") as out:
            process = subprocess.Popen(
                ["/usr/bin/python3", str(program), str(self.witness), str(self.stop), "7"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.world.root,
                start_new_session=True,
            )
        self.world.children.append(process)
        self.counts_on()
        return process

    def count(self) -> int:
        return self.witness.read_bytes().count(b"\n")

    def counts_on(self) -> None:
        before, deadline = self.count(), time.monotonic() + 20
        while self.count() < before + 5:
            assert time.monotonic() < deadline, "it does not count on"
            time.sleep(0.01)

    def contiguous(self) -> None:
        numbers = [int(line.split()[0]) for line in self.witness.read_text().splitlines()]
        assert numbers == list(range(1, len(numbers) + 1))

    def plan(self, **changes):
        candidate = replace(
            candidate_of(self.process.pid), needs=Capacity(cores=0.2, memory_bytes=50 << 20), restart_safe=False
        )
        return self.world.plan(self.process.pid, **{"candidate": candidate, "strategy": StrategyName.LIVE, **changes})

    def images(self) -> list[Path]:
        """Image directories, on whichever side."""
        return [path for path in self.world.root.rglob("image") if path.is_dir()]

    async def images_go(self) -> None:
        """None stays. A launcher that died leaves its own to whoever fences it."""
        deadline = time.monotonic() + 20
        while left := self.images():
            assert time.monotonic() < deadline, left
            await asyncio.sleep(0.02)

    def copies(self) -> list[int]:
        """Processes that run the program, wherever."""
        mark = os.fsencode(self.world.root / "counts.py")
        return [stat.pid for stat in proc.all_stats() if not stat.dead and mark in _arguments(stat.pid)]


def _arguments(pid: int) -> list[bytes]:
    try:
        return proc.read_bytes(f"/proc/{pid}/cmdline").split(b"\0")
    except OSError:
        return []
