"""Prometheus through prometheus-api-client, with bounds on time and size, and with its warnings kept."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from prometheus_api_client import PrometheusConnect

from offloader.adapters import promql_answer
from offloader.adapters.bounded_http import BoundedSession, Call, pooled_adapter
from offloader.errors import PrometheusError
from offloader.ports import VectorResult

__all__ = ["PrometheusSource"]

_THREADS = 8
_CONNECT_S = 2.0


class PrometheusSource:
    """A MetricsSource on Prometheus' HTTP API.

    Args:
        url: where Prometheus answers, `http://127.0.0.1:9090`, with its path prefix if it has one.
        token_file: holds a bearer token for the API; read again for every request.
        ca_file: certificates to trust instead of the system's.
        deadline_s: for all queries of one call together, to the last byte.
        max_bytes: for one answer.
    """

    def __init__(
        self,
        url: str,
        *,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        deadline_s: float = 4.0,
        max_bytes: int = 16 << 20,
    ) -> None:
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._ca_file = ca_file
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes
        self._adapter = pooled_adapter(_THREADS)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="prometheus")

    async def query(self, *exprs: str, at: float | None = None) -> tuple[VectorResult, ...]:
        """All at once; whatever goes wrong with one of them is in its `error`."""
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        return tuple(await asyncio.gather(*(self._one(expr, deadline, at) for expr in exprs)))

    async def close(self) -> None:
        """Drops connections; queries under way end at their deadline."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._adapter.close()

    async def _one(self, expr: str, deadline: float, at: float | None) -> VectorResult:
        call = Call()
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._ask, expr, at, call)
        except TimeoutError:
            return VectorResult(error=f"Prometheus at {self._url} did not answer within {self._deadline_s:g} s")
        except (PrometheusError, requests.RequestException, OSError, UnicodeError) as error:
            return VectorResult(error=f"Prometheus at {self._url}: {error}")
        finally:
            call.abort()  # no effect on a call that ended; one that was given up must not hold its thread

    def _ask(self, expr: str, at: float | None, call: Call) -> VectorResult:
        """In a thread."""
        when = {} if at is None else {"time": at}
        with call:
            session = BoundedSession(
                self._adapter, connect_s=_CONNECT_S, read_s=self._deadline_s, max_bytes=self._max_bytes
            )
            session.verify = str(self._ca_file) if self._ca_file else True
            PrometheusConnect(self._url, headers=self._headers(), session=session).custom_query(expr, when)
        return VectorResult(promql_answer.samples(session.document), promql_answer.warnings(session.document))

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        return {"Authorization": f"Bearer {self._token_file.read_text('ascii').strip()}"}
