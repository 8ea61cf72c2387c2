"""The listener: /metrics, /-/healthy and a landing page, for clients that behave and for those that do not."""

import asyncio
import errno
import logging
import resource
import signal
import socket
import ssl
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Protocol

from exporter import __version__, systemd
from exporter.exposition import Format, negotiate
from exporter.web.answers import Answer, Asked, Client, Headers, text
from exporter.web.connection import Connection, Limits
from exporter.web.seldom import Seldom
from exporter.web.shared_work import SharedWork
from exporter.web.tls import TlsStream

log = logging.getLogger(__name__)

Scrape = Callable[[str], tuple[bytes, str]]
"""Accept header → body and content type of the metrics. Called from one thread, never twice at a time."""

_BACKLOG = 1024
_BUFFER_BYTES = 4 << 10
_GZIP_LEVEL = 1  # a third of the CPU time of level 9 for 20 % more bytes
_GZIP_WINDOW = 16 + 13  # gzip's format (16) with 8 KiB, and a table of the size that goes with them: less memory is
_GZIP_TABLE = 7  # less CPU time, page faults being most of the rest, and metrics repeat themselves within a few lines
_GZIP_FROM_BYTES = 1400  # one packet
_OUT_OF_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_OUT_OF_ROOM_SECONDS = 0.1

_LANDING = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>grid-exporter</title></head>
<body><h1>grid-exporter {__version__}</h1>
<p>How loaded this node is, and by which processes, for Prometheus.</p>
<ul><li><a href="/metrics">Metrics</a></li><li><a href="/-/healthy">Health</a></li></ul>
</body></html>
"""

_PAGES = {
    b"/": Answer(HTTPStatus.OK, _LANDING.encode(), ((b"Content-Type", b"text/html; charset=utf-8"),)),
    b"/-/healthy": text(HTTPStatus.OK, "grid-exporter is healthy."),
}
_NOT_FOUND = text(HTTPStatus.NOT_FOUND, "There is /metrics, /-/healthy and /.")
_NOT_ALLOWED = text(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD are all there is.", (b"Allow", b"GET, HEAD"))
_FAILED = text(HTTPStatus.INTERNAL_SERVER_ERROR, "The metrics could not be put together; the exporter's log says more.")


class Web(Protocol):
    """What a web configuration file adds (exporter.web.live)."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Of connections that come now; None: plain HTTP."""

    @property
    def headers(self) -> Headers:
        """For every answer."""

    def stream(self) -> TlsStream | None:
        """For a connection that comes now."""

    def admit(self, client: Client, request: Asked, enter: Callable[[], None]) -> None:
        """Calls `enter`, at once or later, or has the client told to go away."""

    def no_tls(self, address: str, error: ssl.SSLError) -> None:
        """A handshake failed."""

    def close(self) -> None:
        """Ends what runs for it."""


class ExporterServer:
    """Listens from its construction on, and answers while it runs.

    The metrics are put together in a thread, once for all who ask meanwhile: a process stuck in the kernel holds up
    /metrics, nothing else. Connections are bounded. When there are as many as there may be, that which has waited for
    its client the longest makes room; those whose clients wait for us never do.

    Raises OSError when it cannot listen there.
    """

    def __init__(
        self, host: str, port: int, scrape: Scrape, web: Web | None = None, limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.buffer = bytearray(_BUFFER_BYTES)
        self._scrape = scrape
        self._web = web
        self._scrapes: SharedWork[tuple[Format, bool], Answer] = SharedWork("scrape", _FAILED)
        self._places = _places(self.limits.connections)
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}  # for their clients; first who has for the longest
        self._change = asyncio.Event()
        self._stopping = False
        self._crowded = Seldom(log)
        self._listener = _listen(host, port)

    @property
    def url(self) -> str:
        """Of the metrics, with the port that was really taken."""
        host, port = self._listener.getsockname()[:2]
        scheme = "http" if self._web is None or self._web.tls is None else "https"
        return f"{scheme}://[{host}]:{port}/metrics" if ":" in host else f"{scheme}://{host}:{port}/metrics"

    @property
    def headers(self) -> Headers:
        """For every answer."""
        return () if self._web is None else self._web.headers

    async def run(self, stop: asyncio.Event) -> None:
        """Answers until `stop` is set, then finishes what is under way."""
        accepting = asyncio.create_task(self._accept())
        accepting.add_done_callback(lambda _: stop.set())
        try:
            await stop.wait()
            self._stopping = True
            accepting.cancel()
            with suppress(asyncio.CancelledError):
                await accepting
        finally:
            self._listener.close()
            await self._finish()
            self._scrapes.close()
            if self._web is not None:
                self._web.close()

    def opened(self, connection: Connection) -> None:
        """A connection is there, and waits for its client."""
        self._open.add(connection)
        self.waits(connection)

    def waits(self, connection: Connection) -> None:
        """From now on it waits for its client."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None
        self._change.set()

    def works(self, connection: Connection) -> None:
        """From now on its client waits for us."""
        self._waiting.pop(connection, None)

    def gone(self, connection: Connection) -> None:
        """It is closed."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        self._change.set()

    def ends(self, connection: Connection) -> bool:
        """Whether it is to end with the next answer: we stop, or it was let in by TLS settings of the past."""
        if self._stopping:
            return True
        return self._web is not None and connection.tls is not None and connection.tls.context is not self._web.tls

    def no_tls(self, connection: Connection, error: ssl.SSLError) -> None:
        """The handshake failed."""
        if self._web is not None:
            self._web.no_tls(connection.address, error)

    def handle(self, client: Client, request: Asked) -> None:
        """Has the client's question answered."""
        if self._web is None:
            self._answer(client, request)
        else:
            self._web.admit(client, request, partial(self._answer, client, request))

    def _answer(self, client: Client, request: Asked) -> None:
        if request.method not in {b"GET", b"HEAD"}:
            client.reply(_NOT_ALLOWED)
        elif request.path == b"/metrics":
            key = (negotiate(request.accept), request.gzip)  # not the header itself: of that there are any number
            work = partial(self._metrics, request.accept, request.gzip)
            client.withdraw = self._scrapes.ask(key, work, client.reply)
        else:
            client.reply(_PAGES.get(request.path, _NOT_FOUND))

    def _metrics(self, accept: str, gzip: bool) -> Answer:
        content, content_type = self._scrape(accept)
        headers: Headers = ((b"Content-Type", content_type.encode()),)
        if gzip and len(content) >= _GZIP_FROM_BYTES:
            packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW, _GZIP_TABLE)
            content = packer.compress(content) + packer.flush()
            headers += ((b"Content-Encoding", b"gzip"),)
        return Answer(HTTPStatus.OK, content, headers)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, address = await loop.sock_accept(self._listener)
            except OSError as error:
                seconds = 0.0  # to let others work: accept may fail at once, again and again
                if error.errno in _OUT_OF_ROOM:
                    self._crowded.warning("a connection cannot be accepted: %s", error.strerror)
                    self._drop(next(iter(self._waiting), None))
                    seconds = _OUT_OF_ROOM_SECONDS
                await asyncio.sleep(seconds)
                continue
            try:
                await self._room()
                tls = None if self._web is None else self._web.stream()
                try:
                    await loop.connect_accepted_socket(partial(Connection, self, address[0], tls), client)
                except OSError:  # it has gone already
                    client.close()
            except BaseException:
                client.close()
                raise

    async def _room(self) -> None:
        """Waits until there is a place. Who has waited for its client the longest gives way, once it is not new."""
        while len(self._open) >= self._places:
            self._change.clear()
            oldest = next(iter(self._waiting), None)
            patience = None
            if oldest is not None:
                patience = oldest.since + self.limits.patience_seconds - asyncio.get_running_loop().time()
                if patience <= 0:
                    self._drop(oldest)
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._change.wait()

    def _drop(self, connection: Connection | None) -> None:
        if connection is not None:
            connection.abort()
            self.gone(connection)

    async def _finish(self) -> None:
        for connection in tuple(self._open):
            connection.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.stop_seconds):
                await self._all_gone()
        for connection in tuple(self._open):
            connection.abort()
        await self._all_gone()

    async def _all_gone(self) -> None:
        while self._open:
            self._change.clear()
            await self._change.wait()


def serve(server: ExporterServer) -> None:
    """Answers until SIGTERM or SIGINT, then finishes what is under way. The service manager is told of both."""
    asyncio.run(_until_signalled(server))


async def _until_signalled(server: ExporterServer) -> None:
    stop = asyncio.Event()

    def told() -> None:
        systemd.notify("STOPPING=1")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    log.info("grid-exporter %s listens on %s", __version__, server.url)
    systemd.notify("READY=1")
    await server.run(stop)


def _places(wanted: int) -> int:
    """For connections: at most half of the descriptors that the process may have; collectors need some too."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if descriptors == resource.RLIM_INFINITY else min(wanted, descriptors // 2)


def _listen(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # [::] means IPv4 too
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
