"""Submissions as Ray jobs, each pinned to its node, through Ray's job server (the dashboard) with token authentication.

Ray's client blocks, so it runs in threads, and it has no time-out of its own, so its one method that makes requests
is replaced. Ray is imported when first used: it takes over a second, and login nodes may have none.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from offloader.backends import ray_jobs
from offloader.backends.base import Submission, SubmissionState, SubmissionStatus
from offloader.errors import BackendError

__all__ = ["RayBackend"]

T = TypeVar("T")

_CONNECT_S, _READ_S = 2.0, 10.0
_THREADS = 4
_UNAUTHENTICATED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_NODES = "/api/v0/nodes?limit=10000"


class RayBackend:
    """Ray's job server at `url`.

    Args:
        url: the dashboard, `http://10.0.0.1:8265`.
        token_file: a file only its owner can read that holds Ray's token; read again at every request.
        timeout_s: for a whole call, connecting and reading included.
    """

    name = "ray"

    def __init__(self, url: str, token_file: Path, *, timeout_s: float = 15.0) -> None:
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy or ~/.netrc must not see or replace the token
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="ray-client")
        self._client: Any = None

    async def submit(self, submission: Submission) -> str:
        """A job under the submission's id; one that exists already, also an ended one, is left as it is."""
        keywords = ray_jobs.arguments(submission)
        try:
            await self._call(lambda client: client.submit_job(**keywords))
        except _Answer as answer:
            if "already exists" not in answer.text:
                raise BackendError(f"Ray did not accept {submission.id}: {answer}") from answer
        return submission.id

    async def status(self, submission_id: str) -> SubmissionStatus:
        """The job's state in our words."""
        path = f"/api/jobs/{quote(submission_id, safe='')}"
        try:
            return ray_jobs.parse_status(await self._call(lambda client: _get(client, path)))
        except _Answer as answer:
            if answer.code == _NOT_FOUND:
                return SubmissionStatus(SubmissionState.NOT_FOUND)
            raise BackendError(f"Ray did not say how {submission_id} is: {answer}") from answer

    async def stop(self, submission_id: str) -> None:
        """TERM, then KILL after Ray's three seconds, to every process of the job's tree."""
        try:
            await self._call(lambda client: client.stop_job(quote(submission_id, safe="")))
        except _Answer as answer:
            if answer.code != _NOT_FOUND:
                raise BackendError(f"Ray did not stop {submission_id}: {answer}") from answer

    async def alive_nodes(self) -> frozenset[str]:
        """Node addresses by Ray's State API."""
        try:
            return ray_jobs.parse_nodes(await self._call(lambda client: _get(client, _NODES)))
        except _Answer as answer:
            raise BackendError(f"Ray did not list its nodes: {answer}") from answer

    async def close(self) -> None:
        """Waits for no request that is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    async def _call(self, act: Callable[[Any], T]) -> T:
        """`act` with Ray's client, in a thread. Raises BackendError, or _Answer when Ray did not say 200."""
        loop = asyncio.get_running_loop()
        client_class = await loop.run_in_executor(self._pool, _client_class)  # the import may take longer than a call
        try:
            async with asyncio.timeout(self._timeout_s):
                return await loop.run_in_executor(self._pool, self._with_client, client_class, act)
        except TimeoutError:
            raise BackendError(f"Ray's dashboard at {self._url} did not answer within {self._timeout_s:g} s") from None

    def _with_client(self, client_class: Callable[..., Any], act: Callable[[Any], T]) -> T:
        try:
            if self._client is None:
                self._client = client_class(self._request, self._url)
            return act(self._client)
        except (_Answer, BackendError):
            raise
        except (RuntimeError, ValueError, TypeError, KeyError) as error:  # what Ray's client makes of odd answers
            raise BackendError(f"Ray's dashboard at {self._url} gave an answer that makes no sense: {error}") from error

    def _request(self, method: str, endpoint: str, json_data: Any) -> requests.Response:
        """One request, in time and authenticated. Raises BackendError, or _Answer for anything but success."""
        headers = {"Authorization": f"Bearer {_token(self._token_file)}"}
        bounds: dict[str, Any] = {"timeout": (_CONNECT_S, _READ_S), "allow_redirects": False}
        try:
            response = self._session.request(method, self._url + endpoint, json=json_data, headers=headers, **bounds)
        except requests.RequestException as error:
            raise BackendError(f"Ray's dashboard at {self._url} does not answer: {error}") from error
        if response.status_code in {_UNAUTHENTICATED, _FORBIDDEN}:
            raise BackendError(
                f"Ray at {self._url} refuses our token ({response.status_code}): "
                f"{self._token_file} must hold the token that Ray's nodes were started with"
            )
        if not response.ok or response.is_redirect:
            raise _Answer(response)
        return response


class _Answer(Exception):
    """Ray answered, but not with what was asked for."""

    def __init__(self, response: requests.Response) -> None:
        self.code = response.status_code
        self.text = response.text[-2000:]
        super().__init__(f"{self.code}: {self.text.strip()[-300:]}")


def _get(client: Any, path: str) -> Any:
    return client._do_request("GET", path).json()  # noqa: SLF001 -- ours, see _client_class


def _client_class() -> Callable[..., Any]:
    """Ray's job client with its requests made by a function of ours: (request, url) → client."""
    try:
        from ray.job_submission import JobSubmissionClient  # noqa: PLC0415 -- a heavy, optional extra
    except ImportError as error:
        raise BackendError(f"Ray is not installed here ({error}): pip install 'grid-offloader[ray]'") from error

    class Client(JobSubmissionClient):
        def __init__(self, request: Callable[[str, str, Any], requests.Response], url: str) -> None:
            self._request = request
            super().__init__(url)

        def _do_request(self, method: str, endpoint: str, *, json_data: Any = None, **_: Any) -> requests.Response:
            return self._request(method, endpoint, json_data)

    return Client


def _token(path: Path) -> str:
    """The token. Raises BackendError when it cannot be read, is empty, or others can read it too."""
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BackendError(f"others can read Ray's token in {path}: chmod 600 {path}")
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BackendError(f"Ray's token cannot be read: {error}") from error
    if not token:
        raise BackendError(f"{path} is empty: it must hold Ray's token")
    return token
