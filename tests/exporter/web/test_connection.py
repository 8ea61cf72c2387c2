"""What clients can do to a server, with bounds short enough to wait for."""

import asyncio
import errno
import logging
import resource
import socket
import struct
import threading
import time
from contextlib import suppress

import pytest

GET = b"GET /%b HTTP/1.1\r\nHost: node\r\n\r\n"
METRICS = GET % b"metrics"
HEALTHY = GET % b"-/healthy"


async def connect(server, sent=b""):
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(sent)
    return reader, writer


async def rest(reader):
    """All until the server closes, which it has to do soon; a reset counts."""
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""


async def close(*writers):
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def reset(writer):
    """Closes the connection so that the server notices at once."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.01)


async def status(server, request):
    """Of the answer to a request on a connection of its own."""
    reader, writer = await connect(server, request)
    line = await asyncio.wait_for(reader.readline(), 10)
    await close(writer)
    return int(line.split()[1])


class Stuck:
    """A scrape that takes until it is let go."""

    def __init__(self):
        self.let_go = threading.Event()
        self.calls = []

    def __call__(self, accept):
        self.calls.append(accept)
        self.let_go.wait(20)
        return b"metrics " * 1000, "text/plain"


@pytest.fixture
def stuck():
    scrape = Stuck()
    yield scrape
    scrape.let_go.set()


async def test_half_a_request_is_waited_for_only_so_long(serving):
    """However often another byte comes: the whole has its time, and the client is told."""
    async with serving(request_seconds=0.5) as server:
        begin = time.monotonic()
        reader, writer = await connect(server, METRICS[:20])

        async def trickle():
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert b" 408 " in await rest(reader)
        trickling.cancel()
        assert time.monotonic() - begin >= 0.5
        await close(writer)


async def test_the_late_body_of_a_head_is_refused_without_one(serving):
    """The answer is in time, is a head alone, and the connection ends."""
    async with serving(request_seconds=0.2) as server:
        reader, writer = await connect(server, HEALTHY.replace(b"GET", b"HEAD")[:-2] + b"Content-Length: 5\r\n\r\n")
        got = await rest(reader)
        assert got.startswith(b"HTTP/1.1 408 ")
        assert got.endswith(b"\r\n\r\n")
        await close(writer)
        await until(lambda: not server._open)


@pytest.mark.parametrize("sent", [b"", HEALTHY, HEALTHY + b"GET"])
async def test_idle_connections_are_closed(serving, sent):
    """New ones that never ask, kept ones that ask no more, and those that stop in the next request."""
    async with serving(request_seconds=0.2, idle_seconds=0.3) as server:
        reader, writer = await connect(server, sent)
        got = await rest(reader)
        assert (got.count(b" 200 OK"), b" 408 " in got) == (int(bool(sent)), sent.endswith(b"GET"))
        await close(writer)


@pytest.mark.slow
async def test_kept_connections_outlive_many_requests(serving):
    """The time for a request and between them counts anew with each."""
    async with serving(request_seconds=2, idle_seconds=2, answer_seconds=2) as server:
        reader, writer = await connect(server)
        begin = time.monotonic()
        while time.monotonic() - begin < 3:
            writer.write(METRICS)
            assert (await reader.readuntil(b"metrics\n")).startswith(b"HTTP/1.1 200 OK")
            await asyncio.sleep(0.2)
        await close(writer)


async def test_a_client_that_never_reads(serving):
    """It costs a bounded part of the answer, for a bounded time."""
    async with serving(lambda _: (b"x" * (32 << 20), "text/plain"), write_seconds=0.5) as server:
        _, writer = await connect(server)
        writer.transport.pause_reading()
        writer.write(METRICS)
        await until(lambda: server._waiting and next(iter(server._waiting))._choked)
        (connection,) = server._open
        assert connection._transport.get_write_buffer_size() < 1 << 20
        await until(lambda: not server._open)
        await close(writer)


async def test_the_time_to_read_is_for_the_whole_answer(serving):
    """A client that takes it in crumbs holds its place no longer than one that takes nothing."""
    body, got = b"x" * (32 << 20), 0
    async with serving(lambda _: (body, "text/plain"), write_seconds=0.5) as server:
        reader, writer = await connect(server, METRICS)
        with suppress(ConnectionError):
            while got < len(body) and (crumb := await reader.read(100_000)):
                got += len(crumb)
                await asyncio.sleep(0.005)
        assert got < len(body)
        await close(writer)


async def test_a_slow_reader_gets_all_of_it(serving):
    """A large answer arrives complete, in pieces as the client takes them."""
    body = b"0123456789abcdef" * (1 << 18)
    async with serving(lambda _: (body, "text/plain")) as server:
        reader, writer = await connect(server, METRICS)
        await reader.readuntil(b"\r\n\r\n")
        got = b""
        while len(got) < len(body):
            got += await asyncio.wait_for(reader.read(100_000), 10)
            await asyncio.sleep(0)
        assert got == body
        await close(writer)


async def test_a_stuck_scrape_holds_up_nothing_else(serving, stuck):
    """Health is answered meanwhile, who waits too long is told, and who comes afterwards gets metrics."""
    async with serving(stuck, answer_seconds=0.5) as server:
        waiting = await connect(server, METRICS)
        await until(lambda: stuck.calls)
        assert await status(server, HEALTHY) == 200
        assert b" 503 " in await rest(waiting[0])
        stuck.let_go.set()
        assert await status(server, METRICS) == 200
        await close(waiting[1])


async def test_one_scrape_for_all_who_ask_meanwhile(serving, stuck):
    """Who wants the same format shares one, however that is said; one that nobody waits for any more is not asked."""
    async with serving(stuck) as server:
        texts = [f"Accept: text/plain;q=0.{number}\r\n\r\n".encode() for number in range(10, 60)]
        same = [await connect(server, METRICS)] + [await connect(server, METRICS[:-2] + text) for text in texts[1:]]
        await until(lambda: len(stuck.calls) == 1 and len(server._open) == 50 and not server._waiting)
        other = await connect(server, METRICS[:-2] + b"Accept: application/openmetrics-text\r\n\r\n")
        gone = await connect(server, METRICS[:-2] + b"Accept-Encoding: gzip\r\n\r\n")
        await until(lambda: len(server._open) == 52 and not server._waiting)
        reset(gone[1])
        await until(lambda: len(server._open) == 51)
        stuck.let_go.set()
        for reader, _ in [*same, other]:
            assert b" 200 " in await reader.readline()
        await close(*[writer for _, writer in [*same, other, gone]])
    assert len(stuck.calls) == 2
    assert stuck.calls[1] == "application/openmetrics-text"


async def test_who_may_have_gone_makes_room(serving, stuck):
    """A client whose end has come while it waited: Prometheus after its time-out. It keeps nobody out."""
    async with serving(stuck, connections=2, patience_seconds=0.0) as server:
        clients = [await connect(server, METRICS) for _ in range(2)]
        await until(lambda: len(server._open) == 2 and not server._waiting)
        clients[0][1].write_eof()
        assert await status(server, HEALTHY) == 200
        assert await rest(clients[0][0]) == b""
        stuck.let_go.set()
        assert b" 200 " in await clients[1][0].readline()
        await close(*[writer for _, writer in clients])


async def test_a_scrape_that_fails_is_500_and_a_line_in_the_log(serving, caplog):
    """No trace, neither there nor to the client; the next one is tried again."""

    def broken(accept):
        raise ValueError("secret detail")

    async with serving(broken) as server:
        for _ in range(2):
            reader, writer = await connect(server, METRICS.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            got = await rest(reader)
            assert b" 500 " in got
            assert b"secret" not in got
            await close(writer)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "scrape failed: ValueError: secret detail"
    ] * 2
    assert not any(record.exc_info for record in caplog.records)


async def test_who_waits_for_its_client_the_longest_makes_room(serving, stuck):
    """A new connection takes the place of the one idle for longest, never of one whose client waits for an answer."""
    async with serving(stuck, connections=3, patience_seconds=0.0) as server:
        working = await connect(server, METRICS)
        await until(lambda: stuck.calls)
        oldest = await connect(server)
        await until(lambda: len(server._open) == 2)
        newer = await connect(server)
        await until(lambda: len(server._open) == 3)
        assert await status(server, HEALTHY) == 200
        assert await rest(oldest[0]) == b""
        stuck.let_go.set()
        assert b" 200 " in await working[0].readline()
        newer[1].write(HEALTHY)
        assert b" 200 " in await newer[0].readline()
        await close(working[1], oldest[1], newer[1])


@pytest.mark.parametrize(("limit", "places"), [(1024, 512), (300, 150), (resource.RLIM_INFINITY, 512)])
async def test_descriptors_are_left_for_the_collectors(serving, monkeypatch, limit, places):
    """Connections take half of those that the process may have."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    async with serving() as server:
        assert server._places == places


async def test_nobody_is_sent_away_at_once(serving):
    """Young connections are safe for a moment, and newcomers wait for that."""
    async with serving(connections=2, patience_seconds=0.5) as server:
        begin = time.monotonic()
        young = [await connect(server) for _ in range(2)]
        assert await status(server, HEALTHY) == 200
        assert time.monotonic() - begin >= 0.5
        await close(*[writer for _, writer in young])


async def test_who_asks_again_and_again_keeps_nobody_out(serving):
    """An answer makes no connection young again: one of those that talk all the time makes room."""
    async with serving(connections=2, patience_seconds=0.5) as server:
        talkers = [await connect(server) for _ in range(2)]

        async def talk(reader, writer):
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    writer.write(HEALTHY)
                    await reader.readuntil(b"healthy.\n")
                    await asyncio.sleep(0.05)

        talking = [asyncio.create_task(talk(*talker)) for talker in talkers]
        try:
            assert await status(server, HEALTHY) == 200
        finally:
            for task in talking:
                task.cancel()
            await asyncio.gather(*talking, return_exceptions=True)
            await close(*[writer for _, writer in talkers])


async def test_a_full_house_at_work_lets_newcomers_wait(serving, stuck):
    """They are answered when there is room again."""
    async with serving(stuck, connections=2, patience_seconds=0.0) as server:
        first = [await connect(server, METRICS) for _ in range(2)]
        await until(lambda: len(server._open) == 2 and not server._waiting)
        late = asyncio.create_task(status(server, HEALTHY))
        done, _ = await asyncio.wait({late}, timeout=0.2)
        assert not done
        stuck.let_go.set()
        assert await late == 200
        await close(*[writer for _, writer in first])


async def test_pipelined_requests_wait_outside(serving, stuck):
    """While an answer is under way no more is read than fits the bound."""
    async with serving(stuck) as server:
        _, writer = await connect(server, METRICS)
        await until(lambda: stuck.calls)
        writer.write(HEALTHY * 200_000)
        (connection,) = server._open
        await until(lambda: not connection._transport.is_reading())
        assert len(connection._http._h11.trailing_data[0]) <= len(server.buffer)
        writer.transport.abort()
        stuck.let_go.set()
        await until(lambda: not server._open)


async def test_the_end_comes_after_answers_under_way(serving, stuck):
    """Who waits gets its answer, with the word that it is the last; idle ones are closed at once."""
    async with serving(stuck) as server:
        waiting = await connect(server, METRICS)
        idle = await connect(server)
        await until(lambda: stuck.calls and len(server._open) == 2)
        ending = asyncio.create_task(server.end())
        assert await rest(idle[0]) == b""
        stuck.let_go.set()
        got = await rest(waiting[0])
        assert b"HTTP/1.1 200 OK" in got
        assert b"Connection: close" in got
        await ending
        await close(waiting[1], idle[1])


async def test_the_end_comes_after_an_answer_that_is_being_read(serving):
    """Its client gets all of it, and is then not waited for as one that may ask again."""
    body = b"x" * (32 << 20)
    async with serving(lambda _: (body, "text/plain"), stop_seconds=60) as server:
        reader, writer = await connect(server)
        writer.transport.pause_reading()
        writer.write(METRICS)
        await until(lambda: server._waiting and next(iter(server._waiting))._choked)
        ending = asyncio.create_task(server.end())
        await until(lambda: server._stopping)
        writer.transport.resume_reading()
        assert (await rest(reader)).endswith(body)
        await asyncio.wait_for(ending, 10)
        await close(writer)


async def test_an_accept_that_fails_at_once_holds_up_nobody(serving, monkeypatch):
    """As under a firewall that forbids connections: those that are there go on."""
    loop = asyncio.get_running_loop()
    accept, failed, turns = loop.sock_accept, [], []

    async def fail(listener):
        if len(failed) < 20:
            failed.append(len(turns))
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return await accept(listener)

    async def turn():
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    monkeypatch.setattr(loop, "sock_accept", fail)
    turning = asyncio.create_task(turn())
    async with serving() as server:
        assert await status(server, HEALTHY) == 200
    turning.cancel()
    assert failed == sorted(set(failed))


async def test_the_end_waits_only_so_long(serving, stuck):
    """A stuck scrape does not keep the exporter from ending."""
    async with serving(stuck, stop_seconds=0.2) as server:
        reader, writer = await connect(server, METRICS)
        await until(lambda: stuck.calls)
        await asyncio.wait_for(server.end(), 5)
        assert await rest(reader) == b""
        await close(writer)
