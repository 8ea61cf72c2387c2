"""The controller as people run it, but a hand-off can be stopped in any state, from outside, by files.

Usage: serve.py DIRECTORY serve …; the rest are the arguments of `grid-offloader`. While DIRECTORY/hold/PID holds the
name of a state, the move of that process stays where it is once that state is its last journalled one; DIRECTORY/at/PID
then holds the move's id. The rest of the controller, other moves, and this one's lease and watchdog, go on. The product
knows nothing of this: its coroutines are wrapped here.
"""

import asyncio
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from offloader.backends.ray import RayBackend
from offloader.cli.main import main
from offloader.moves.guarding import Guard
from offloader.moves.handoff import Handoff
from offloader.moves.successor import Successor

POLL_S = 0.02
FLIGHT: ContextVar[tuple[Handoff, object] | None] = ContextVar("FLIGHT", default=None)
"""The hand-off on whose behalf a task acts, and that task: those it starts (contact, leases) inherit this and go on."""

Step = Callable[..., Coroutine[Any, Any, Any]]
Gate = Callable[[Handoff], Awaitable[None]]


def gate(directory: Path) -> Gate:
    """A coroutine function that returns when the hand-off may go on."""

    async def wait(flight: Handoff) -> None:
        number = str(flight.move.identity.pid)
        asked = directory / "hold" / number
        if _text(asked) != flight.move.state:
            return
        (directory / "at" / number).write_text(flight.move.id, encoding="ascii")
        while asked.exists():  # noqa: ASYNC110 - removed by another process: there is no event to wait for
            await asyncio.sleep(POLL_S)

    return wait


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii")
    except FileNotFoundError:
        return None


def of_handoff(step: Step, wait: Gate) -> Step:
    """A step of the hand-off itself, with a gate before and after it."""

    @functools.wraps(step)
    async def gated(self: Handoff, *args: Any, **kwargs: Any) -> Any:
        FLIGHT.set((self, asyncio.current_task()))
        await wait(self)
        result = await step(self, *args, **kwargs)
        await wait(self)
        return result

    return gated


def of_another(step: Step, wait: Gate) -> Step:
    """What a hand-off asks of the outside, with a gate before it: *queued* and *go* are journalled within a step."""

    @functools.wraps(step)
    async def gated(*args: Any, **kwargs: Any) -> Any:
        mine = FLIGHT.get()
        if mine is not None and mine[1] is asyncio.current_task():
            await wait(mine[0])
        return await step(*args, **kwargs)

    return gated


def install(directory: Path) -> None:
    """Put gates into the controller's classes."""
    wait = gate(directory)
    for kind, wrapped in ((Handoff, of_handoff), (Successor, of_another), (Guard, of_another)):
        for name, method in tuple(vars(kind).items()):
            if inspect.iscoroutinefunction(method):
                setattr(kind, name, wrapped(method, wait))
    RayBackend.submit = of_another(RayBackend.submit, wait)  # type: ignore[method-assign]


if __name__ == "__main__":
    install(Path(sys.argv[1]))
    sys.argv = ["grid-offloader", *sys.argv[2:]]
    main()
