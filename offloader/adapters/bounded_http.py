"""A requests session for one query that cannot be held up: size limit, no redirects, no retries, and `abort`.

requests' time-outs are per read, so a server that sends a byte now and then is never too slow for it. Here the one
who waits aborts: that closes the socket under the reading thread, which then ends at once.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from contextvars import ContextVar
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.retry import Retry

from offloader.adapters import promql_answer
from offloader.errors import PrometheusError

__all__ = ["BoundedSession", "Call", "pooled_adapter"]

_CHUNK = 65536
_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


class Call:
    """One request as its waiter sees it: `abort` may come from any thread, before, while and after it is made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._aborted = False

    def __enter__(self) -> Self:
        _CALL.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """From here on the connection may serve another call: `abort` must not touch it."""
        _CALL.set(None)
        with self._lock:
            self._socket = None

    def attach(self, connection: socket.socket | None) -> None:
        """The connection on which the answer is awaited."""
        with self._lock:
            self._socket = connection
            if self._aborted:
                self._shut()

    def abort(self) -> None:
        """End the request: whoever reads gets an error."""
        with self._lock:
            self._aborted = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed already
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # below TLS, whose own state is another thread's


class _Connection(HTTPConnection):
    def getresponse(self) -> Any:
        _attach(self.sock)
        return super().getresponse()


class _TlsConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        _attach(self.sock)
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **keywords: Any) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **keywords)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def pooled_adapter(connections: int) -> HTTPAdapter:
    """Connections that sessions share, so that each query does not open its own."""
    return _Adapter(pool_connections=1, pool_maxsize=connections, max_retries=Retry(0))


class BoundedSession(requests.Session):
    """Makes one request; the answer's whole document is then in `document`, with the warnings."""

    def __init__(self, adapter: HTTPAdapter, *, connect_s: float, read_s: float, max_bytes: int) -> None:
        super().__init__()
        self.trust_env = False  # no proxy, no ~/.netrc
        self._adapter = adapter
        self._timeouts = (connect_s, read_s)
        self._max_bytes = max_bytes
        self.document: dict[str, Any] = {}

    def get_adapter(self, url: str | bytes) -> HTTPAdapter:
        """The shared one, whatever else was mounted (PrometheusConnect mounts one that retries)."""
        del url
        return self._adapter

    def request(self, method: str | bytes, url: str | bytes, *_: Any, **keywords: Any) -> requests.Response:
        """As requests.Session.request, within the bounds. Raises PrometheusError, requests.RequestException."""
        bounds: dict[str, Any] = {"timeout": self._timeouts, "stream": True, "allow_redirects": False}
        with super().request(method, url, **(keywords | bounds)) as response:
            if response.is_redirect:
                raise PrometheusError(f"redirects to {response.headers.get('Location')!r:.200}: configure that address")
            self.document = promql_answer.envelope(response.status_code, self._body(response))
        return _Answer(self.document)

    def _body(self, response: requests.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise PrometheusError(f"answered with more than {self._max_bytes} bytes")
        return bytes(body)


class _Answer(requests.Response):
    """Already read and parsed."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__()
        self.status_code = 200
        self._document = document

    def json(self, **_: Any) -> Any:
        return self._document


def _attach(connection: Any) -> None:
    call = _CALL.get()
    if call is not None:
        call.attach(connection)
