"""Lines out of bytes, however these arrive."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from offloader.adapters.lines import LineInbox


async def _all(inbox: LineInbox) -> list[bytes]:
    return [line async for line in inbox.lines()]


@given(data=st.lists(st.binary(max_size=5).map(lambda part: part.replace(b"x", b"\n"))))
def test_lines_do_not_depend_on_where_the_stream_was_cut(data):
    async def check() -> None:
        inbox = LineInbox()
        for piece in data:
            inbox.feed(piece)
        inbox.end()
        expected = b"".join(data).split(b"\n")
        assert await _all(inbox) == (expected if expected[-1] else expected[:-1])

    asyncio.run(check())


async def test_a_line_without_end_comes_in_pieces_and_does_not_grow_without_limit():
    inbox = LineInbox(line_limit=10)
    inbox.feed(b"a" * 25 + b"\nb\n")
    inbox.end()
    assert await _all(inbox) == [b"a" * 10, b"a" * 10, b"a" * 5, b"b"]


async def test_the_sender_is_stopped_when_nobody_reads_and_goes_on_when_somebody_does():
    calls: list[str] = []
    inbox = LineInbox(on_full=lambda: calls.append("full"), on_room=lambda: calls.append("room"), full_bytes=100)
    inbox.feed(b"x" * 49 + b"\n")
    assert calls == []
    inbox.feed((b"x" * 49 + b"\n") * 4)
    assert calls == ["full"]
    inbox.end()
    assert len(await _all(inbox)) == 5
    assert calls == ["full", "room"]


async def test_a_reader_that_came_first_gets_the_line_as_soon_as_it_arrives():
    inbox = LineInbox()
    reading = asyncio.create_task(anext(inbox.lines()))
    await asyncio.sleep(0)
    inbox.feed(b"now\n")
    assert await asyncio.wait_for(reading, 1) == b"now"
