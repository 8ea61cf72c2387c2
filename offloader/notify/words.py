"""A message in words: what, why, where to, and what to type to follow it, undo it, or not to be asked again."""

from __future__ import annotations

from typing import Any, assert_never

from offloader.engine.meanings import MEANINGS
from offloader.notify.message import Message, MessageKind

__all__ = ["document", "headline", "lines"]

_NEVER = "start it with GRID_OFFLOAD=never"


def lines(message: Message) -> tuple[str, ...]:
    """The headline and what belongs to it. Names of processes are as their users chose them: channels clean them."""
    return (headline(message), *_because(message), *_commands(message))


def document(message: Message) -> dict[str, Any]:
    """What `notify.owner` gets."""
    return message.to_json(lines(message))


def headline(message: Message) -> str:
    """What happened, in one sentence that everybody may read."""
    job = f"{message.name} (pid {message.pid}, {message.user})"
    match message.kind:
        case MessageKind.NOTICE:
            return f"{job} is going to be moved from {message.source} to {message.target} in {message.left_s:.0f} s"
        case MessageKind.WITHDRAWN:
            return f"{job} stays on {message.source}: it is not moved after all"
        case MessageKind.DONE:
            return f"{job} was moved from {message.source} to {message.target} and runs there"
        case MessageKind.ROLLED_BACK:
            return f"{job} stays on {message.source}: its move to {message.target} was taken back"
        case MessageKind.LOST:
            return f"{job} was lost on its way from {message.source} to {message.target}: it runs nowhere for certain"
        case _:
            assert_never(message.kind)


def _because(message: Message) -> tuple[str, ...]:
    told = []
    if message.why is not None and message.kind in (MessageKind.NOTICE, MessageKind.DONE):
        why, value = message.why, message.why.value
        seen = f"{value:.0%}" if value is not None else "unknown"
        told.append(f"why: rule {why.rule} read {seen}, its threshold is {why.threshold:.0%} ({why.query})")
        told.append(_how(message))
    if message.reason is not None:
        detail = f" ({message.detail})" if message.detail else ""
        told.append(f"why: {message.reason}: {MEANINGS.get(message.reason, '')}{detail}")
    return tuple(told)


def _how(message: Message) -> str:
    ways = {
        "restart": "it starts again from the beginning; the original is ended only once that is proven to run",
        "checkpoint": "it saves, ends here and resumes there",
        "live": "it goes on there from where it is",
    }
    return f"how: {message.strategy}: {ways.get(message.strategy, '')}"


def _commands(message: Message) -> tuple[str, ...]:
    follow = f"to follow it: grid-offloader logs -f {message.move}" if message.move else ""
    match message.kind:
        case MessageKind.NOTICE:
            return (
                f"to keep it here: grid-offloader keep {message.pid}   (for always: {_NEVER})",
                "to follow: grid-offloader status --mine",
            )
        case MessageKind.WITHDRAWN:
            return ()
        case MessageKind.DONE:
            return (
                follow,
                f"to end it: grid-offloader cancel {message.move}",
                "to bring it back there is no command: end it, and start it here again",
                f"not to be moved next time: {_NEVER}",
            )
        case MessageKind.ROLLED_BACK:
            return (f"more: grid-offloader why {message.move}",)
        case MessageKind.LOST:
            return (f"more: grid-offloader why {message.move}", "look at its output, and start it again if it must be")
        case _:
            assert_never(message.kind)
