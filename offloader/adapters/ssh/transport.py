"""A transport that says nothing more on a channel after closing it.

paramiko answers the server's CLOSE from its own thread, also when another thread is just about to send on that channel.
sshd hangs up on a client that sends on a closed channel ("ieof packet referred to nonexistent channel"), and every
other command on the connection is lost with it: paramiko issues 1115 and 1705, open since 2017.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from weakref import WeakKeyDictionary

import paramiko
from paramiko.common import MSG_CHANNEL_CLOSE

__all__ = ["OrderlyTransport"]

# paramiko's own table, message type → what its thread does: there is no public way between a CLOSE and its answer.
_HANDLERS: Mapping[int, Callable[[paramiko.Channel, paramiko.Message], None]] = vars(paramiko.Transport)[
    "_channel_handler_table"
]


def _answer_close(channel: paramiko.Channel, message: paramiko.Message) -> None:
    transport = channel.get_transport()
    assert isinstance(transport, OrderlyTransport)
    transport.answer_close(channel, message)


class OrderlyTransport(paramiko.Transport):
    """Whoever sends on a channel or closes it takes its turn; the answer to a CLOSE of the server's waits for it."""

    def __init__(self, sock: paramiko.transport._SocketLike) -> None:
        super().__init__(sock)
        self._turns: WeakKeyDictionary[paramiko.Channel, threading.Lock] = WeakKeyDictionary()
        self._making_turns = threading.Lock()

    @contextlib.contextmanager
    def turn(self, channel: paramiko.Channel) -> Iterator[None]:
        """For sending one message on the channel, or closing it. Blocks while somebody else does."""
        with self._turn_of(channel):
            yield

    def _turn_of(self, channel: paramiko.Channel) -> threading.Lock:
        with self._making_turns:
            return self._turns.setdefault(channel, threading.Lock())

    def answer_close(self, channel: paramiko.Channel, message: paramiko.Message) -> None:
        """In paramiko's thread, which must not wait for a sender: during a key exchange the sender waits for it."""
        turn = self._turn_of(channel)

        def answer() -> None:
            try:
                _HANDLERS[MSG_CHANNEL_CLOSE](channel, message)
            finally:
                turn.release()

        if turn.acquire(blocking=False):
            answer()
            return

        def wait_and_answer() -> None:
            turn.acquire()
            answer()

        threading.Thread(target=wait_and_answer, name="ssh-close", daemon=True).start()

    _channel_handler_table = {**_HANDLERS, MSG_CHANNEL_CLOSE: _answer_close}  # noqa: RUF012 - as paramiko has it
