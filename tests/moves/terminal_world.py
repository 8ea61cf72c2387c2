"""A job of `run --local` at a real terminal, in the world of hand-offs: what it writes and reads shows every gap."""

import asyncio
import re
import sys
from dataclasses import replace

from moves_world import candidate_of
from terminals import wait_for

from offloader.launcher import proc
from offloader.model import Capacity, MoveState, StrategyName
from offloader.moves.plan import Bring
from offloader.moves.submitted import LOCAL

ON = Bring("spare", "fake", 0)
HOME = Bring("head", LOCAL, 0)

TALKS = """
import os, signal, sys, threading, time
end = threading.Event()
turn = threading.Lock()
def write(data):  # by turns, and all of it: what is held still in the middle of it has written a part
    with turn:
        while data:
            data = data[os.write(1, data) :]
def interrupted(*_):
    os.write(1, b"interrupted\\n")
    end.set()
    os._exit(3)
def resized(*_):
    os.write(1, b"size %d by %d\\n" % os.get_terminal_size()[::-1])
signal.signal(signal.SIGINT, interrupted)
signal.signal(signal.SIGWINCH, resized)
def count():
    n = 0
    while not end.is_set():
        n += 1
        write(b"<%d>\\n" % n)
        time.sleep(0.01)
threading.Thread(target=count, daemon=True).start()
if sys.argv[2:]:
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
for line in sys.stdin:
    if line == "burst\\n":
        write(b"".join(b"(%d)\\n" % number for number in range(1, 50001)))
    write(b"heard " + line.encode())
sys.exit(5)
"""


class Talking:
    """The job, its user's terminal, and the stub between them."""

    def __init__(self, world, desk) -> None:
        self.world, self.desk = world, desk
        self.screen = None
        self.pid = 0

    def start(self, *arguments, shell=False):
        """Directly on a terminal, or in a shell with job control."""
        program = self.world.root / "talks.py"
        program.write_text(TALKS)
        command = (sys.executable, str(program), "talks", *map(str, arguments))
        if shell:
            self.screen = self.desk.shell()
            self.screen.type(self.desk.line(*command))
        else:
            self.screen = self.desk.local(*command)
        self.screen.until(b"<3>")
        self.pid = self.desk.job("talks")
        return self.screen

    async def until(self, text):
        return await asyncio.to_thread(self.screen.until, text)

    async def says(self, line):
        """Typed, and heard."""
        self.screen.type(line + b"\n")
        await self.until(b"heard " + line)

    def plan(self, pid=None):
        """To move it to the worker, or another process."""
        needs = Capacity(cores=0.2, memory_bytes=50 << 20)
        candidate = replace(candidate_of(pid or self.pid), needs=needs, restart_safe=False)
        return self.world.plan(pid or self.pid, candidate=candidate, strategy=StrategyName.LIVE)

    @property
    def mark(self):
        """By which a job of `run --local` knows its stub."""
        (found,) = [one for one in proc.environ(self.pid) if one.startswith(b"GRID_OFFLOAD_RUN=")]
        return found.decode()

    async def away(self):
        """Moved to the worker, which its user is told. Returns the move."""
        move = await self.world.mover.start(self.plan())
        done = await self.world.final(move)
        assert done.state is MoveState.DONE, (done.reason, done.detail)
        await self.until(b"[grid-offloader: now on worker]\r\n")
        return move

    async def brought(self, job, wish):
        async with asyncio.timeout(20):
            while (custody := self.world.mover._custodies.get(job)) is None or custody.followed is None:
                await asyncio.sleep(0.02)
        done = await self.world.final(await self.world.mover.bring(job, wish))
        assert done.state is MoveState.DONE, (done.reason, done.detail)
        await self.until(b"[grid-offloader: now on %s]\r\n" % wish.target.encode())
        return done

    async def code(self):
        """The exit code of `run --local`, with all that was on the terminal read."""
        await asyncio.to_thread(self.screen.rest)
        return await asyncio.to_thread(self.screen.code)

    def contiguous(self):
        """Everything that it wrote was shown, once, in order."""
        numbers = self.numbers(rb"<(\d+)>")
        assert numbers == list(range(1, len(numbers) + 1))

    def numbers(self, pattern):
        """In what was shown, without the lines of the stub's own."""
        shown = re.sub(rb"\r\n\[grid-offloader: [^]]*\]\r\n", b"", self.screen.shown)
        return [int(found) for found in re.findall(pattern, shown)]

    def alone(self):
        """No copy of it is left but the one that its user is connected with, if any."""
        return len([stat for stat in proc.all_stats() if not stat.dead and _is_job(stat.pid)])

    async def gone(self):
        await asyncio.to_thread(wait_for, lambda: self.alone() == 0, "no copy is left")


def _is_job(pid):
    try:
        words = proc.read_bytes(f"/proc/{pid}/cmdline").split(b"\0")
    except OSError:
        return False
    return b"talks" in words and b"--local" not in words
