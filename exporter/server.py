"""HTTP for the exporter: /metrics, /-/healthy and a landing page, over a listener that TLS can wrap."""

import gzip
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import ClassVar

from exporter import __version__

log = logging.getLogger(__name__)

_GZIP_LEVEL = 1  # a third of the CPU time of level 9 for 20 % more bytes
_GZIP_FROM_BYTES = 1400  # one packet
_MOST_CONNECTIONS = 32
_IDLE_SECONDS = 30.0
_LAST_REQUESTS_SECONDS = 5.0

_LANDING = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>grid-exporter</title></head>
<body><h1>grid-exporter {__version__}</h1>
<p>How loaded this node is, and by which processes, for Prometheus.</p>
<ul><li><a href="/metrics">Metrics</a></li><li><a href="/-/healthy">Health</a></li></ul>
</body></html>
"""

Page = Callable[[str], tuple[bytes, str]]
"""Accept header → body and content type."""


class ExporterServer(ThreadingHTTPServer):
    """A bounded number of connections, each with a time-out; further ones are closed at once."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, scrape: Page) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._busy = 0
        self._idle = threading.Condition()
        self.pages: dict[str, Page] = {
            "/metrics": scrape,
            "/-/healthy": lambda _: (b"grid-exporter is healthy.\n", "text/plain; charset=utf-8"),
            "/": lambda _: (_LANDING.encode(), "text/html; charset=utf-8"),
        }
        super().__init__((host, port), _Handler)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """A thread per connection, while there are slots."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Gives the slot back whatever happens."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 -- signature of the base
        """A client that went away is not worth a stack trace on stderr."""
        error = sys.exception()
        level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
        log.log(level, "request of %s: %r", client_address, error)

    @property
    def url(self) -> str:
        """Of the metrics, with the port that was really taken."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}/metrics" if ":" in str(host) else f"http://{host!s}:{port}/metrics"

    def enter(self) -> None:
        """A request is being answered."""
        with self._idle:
            self._busy += 1

    def leave(self) -> None:
        """It is answered."""
        with self._idle:
            self._busy -= 1
            self._idle.notify_all()

    def drain(self) -> None:
        """Wait for answers under way, not for idle connections."""
        with self._idle:
            self._idle.wait_for(lambda: self._busy == 0, _LAST_REQUESTS_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "grid-exporter"
    sys_version = ""
    timeout = _IDLE_SECONDS
    server: ExporterServer
    wbufsize: ClassVar[int] = -1  # headers and body in one write

    def do_GET(self) -> None:
        """The pages."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- signature of the base
        """To the log, where debug shows it."""
        log.debug(format, *args)

    def _answer(self, *, body: bool) -> None:
        self.server.enter()
        try:
            page = self.server.pages.get(self.path.partition("?")[0])
            if page is None:
                self._send(HTTPStatus.NOT_FOUND, b"There is /metrics, /-/healthy and /.\n", "text/plain", body)
                return
            content, content_type = page(self.headers.get("Accept", ""))
            self._send(HTTPStatus.OK, content, content_type, body)
        finally:
            self.server.leave()

    def _send(self, status: HTTPStatus, content: bytes, content_type: str, body: bool) -> None:
        self.send_response(status)
        if len(content) > _GZIP_FROM_BYTES and "gzip" in self.headers.get("Accept-Encoding", ""):
            content = gzip.compress(content, _GZIP_LEVEL)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)
        self.wfile.flush()


def serve(server: ExporterServer) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests under way."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- signature of signal handlers
        # shutdown() waits for the loop that this very thread runs
        threading.Thread(target=server.shutdown, name="shutdown").start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    log.info("grid-exporter %s listens on %s", __version__, server.url)
    with server:
        server.serve_forever(poll_interval=0.2)
        server.socket.close()
        server.drain()
