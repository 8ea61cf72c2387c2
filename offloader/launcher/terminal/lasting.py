"""Messages that arrive once each and in their order, over connections that come and go.

Both ends number what they say and keep it until the other end has it. A frame: one byte of kind, eight of number, four
of length (network order), payload.

| kind | number |
| --- | --- |
| `H` | first on every connection: the message that is expected next; whoever hears it goes on from there |
| `A` | the message that is expected next: what is before it may be forgotten |
| any other | the message's own |
"""

from __future__ import annotations

import base64
import struct

from ..wire import Document

__all__ = ["LIMIT_BYTES", "Lasting", "Message"]

LIMIT_BYTES = 1 << 16
"""Of what waits to be heard: whoever says more than that should stop and wait."""

_HEAD = struct.Struct("!cQI")
_GREETING, _HEARD = b"H", b"A"
_PAYLOAD_BYTES = 1 << 17
_PORTION_BYTES = 1 << 16

Message = tuple[bytes, bytes]
"""Kind, one lower-case letter; payload."""


class Lasting:
    """One end of the conversation, as it is kept between connections."""

    def __init__(self) -> None:
        self._waiting: list[Message] = []
        self._first = 0  # number of the first that waits
        self._expected = 0
        self._next: int | None = None  # what is written next; None: the other end has not said what it has
        self._owes = False  # word of what was heard
        self._incoming = bytearray()
        self.waiting_bytes = 0

    @classmethod
    def of(cls, document: Document) -> Lasting:
        """Go on from where `document` was made. Raises ValueError, KeyError, TypeError."""
        made = cls()
        made._first, made._expected = int(document["first"]), int(document["expected"])
        for kind, payload in document["waiting"]:
            made.say(kind.encode("ascii"), base64.b64decode(payload, validate=True))
        return made

    def document(self) -> Document:
        """All of it, for somebody who goes on in our place."""
        waiting = [[kind.decode("ascii"), base64.b64encode(payload).decode("ascii")] for kind, payload in self._waiting]
        return {"first": self._first, "expected": self._expected, "waiting": waiting}

    @property
    def greeted(self) -> bool:
        """Whether the other end of the conversation is at the other end of the present connection."""
        return self._next is not None

    @property
    def silent(self) -> bool:
        """Whether everything that was said has been heard."""
        return not self._waiting

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing should be added."""
        return self.waiting_bytes >= LIMIT_BYTES

    def say(self, kind: bytes, payload: bytes = b"") -> None:
        """One message, at most 128 KiB."""
        self._waiting.append((kind, payload))
        self.waiting_bytes += _HEAD.size + len(payload)

    def greeting(self) -> bytes:
        """What is written first on a new connection."""
        self._next, self._owes = None, False
        self._incoming.clear()
        return _HEAD.pack(_GREETING, self._expected, 0)

    def hear(self, data: bytes) -> list[Message]:
        """What the other end says that was not heard before.

        Raises:
            ValueError: that is not the other end of this conversation.
        """
        self._incoming += data
        found = []
        while len(self._incoming) >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(self._incoming)
            if length > _PAYLOAD_BYTES:
                raise ValueError(f"a message of {length} bytes")
            if len(self._incoming) < _HEAD.size + length:
                break
            payload = bytes(self._incoming[_HEAD.size : _HEAD.size + length])
            del self._incoming[: _HEAD.size + length]
            if kind in (_GREETING, _HEARD):
                self._forget(number, greeted=kind == _GREETING)
            elif self._is_new(number):
                found.append((kind, payload))
        return found

    def unsaid(self) -> bytes:
        """What is to be written next on the present connection; empty: nothing just now."""
        found = bytearray()
        if self._owes:
            self._owes = False
            found += _HEAD.pack(_HEARD, self._expected, 0)
        if self._next is not None:
            while self._next < self._first + len(self._waiting) and len(found) < _PORTION_BYTES:
                kind, payload = self._waiting[self._next - self._first]
                found += _HEAD.pack(kind, self._next, len(payload)) + payload
                self._next += 1
        return bytes(found)

    def _is_new(self, number: int) -> bool:
        if number > self._expected:
            raise ValueError(f"message {number} came when {self._expected} was expected")
        self._owes = True
        if number < self._expected:
            return False
        self._expected += 1
        return True

    def _forget(self, heard: int, *, greeted: bool) -> None:
        count = heard - self._first
        if not (0 <= count <= len(self._waiting)) or (self._next is None) is not greeted:
            raise ValueError(f"it has {heard} messages of {self._first + len(self._waiting)}")
        self.waiting_bytes -= sum(_HEAD.size + len(payload) for _, payload in self._waiting[:count])
        del self._waiting[:count]
        self._first = heard
        if greeted:
            self._next = heard
