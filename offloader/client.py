"""The public asyncio client of the controller: what the command line itself uses.

It speaks HTTP/1.0 over the controller's unix socket with nothing but the standard library (no aiohttp, no pydantic:
the commands that people type most must start fast). The controller knows the caller by the socket's peer credentials;
there is nothing to log in with. Answers are the JSON documents of docs/api.md, as plain dicts and lists.

    async with asyncio.timeout(30):
        client = Client()
        for process in await client.scan():
            print(process["pid"], process["target"], process["reason"])

Every method raises ControllerUnavailable when nothing answers, and the exceptions of `offloader.errors` otherwise.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict, Unpack
from urllib.parse import quote, urlencode

from offloader import error_document, places
from offloader.errors import ControllerUnavailable, OffloaderError

__all__ = ["FINAL_STATES", "JOB_OPEN", "Client", "RunOptions"]

FINAL_STATES = frozenset({"done", "rolled_back", "lost"})
JOB_OPEN = frozenset({"running", "unknown"})
"""States of a job that is not over, as far as is known."""

_ANSWER_LIMIT = 64 * 1024 * 1024
_HEAD_LIMIT = 64 * 1024
_CHUNK = 64 * 1024
_ERRORS_FROM = 400

Document = dict[str, Any]


class RunOptions(TypedDict, total=False):
    """How `Client.run` is to run it.

    `env_vars` are put over the environment; `target`: that worker, or none; `restart_safe`: that running it again from
    its start is harmless; `outputs_apart`: standard error is kept apart from standard output.
    """

    env_vars: Mapping[str, str] | None
    target: str | None
    cores: float | None
    memory_bytes: int | None
    gpus: int | None
    restart_safe: bool
    outputs_apart: bool


class Client:
    """One controller. Every call is its own connection: an instance holds no resources and needs no closing."""

    def __init__(self, socket: Path | None = None, *, timeout_s: float = 30.0) -> None:
        """Args: socket: path of the controller's socket; timeout_s: for one whole answer (not for followed logs)."""
        self.socket = socket or places.socket_path()
        self.timeout_s = timeout_s

    async def status(self) -> Document:
        """The one status document (docs/api.md)."""
        return await self._one("GET", "/v1/status")

    async def auto(
        self,
        *,
        enabled: bool | None = None,
        mode: str | None = None,
        thresholds: Mapping[str, float | None] | None = None,
    ) -> Document:
        """Switch automatic moving; needs an admin.

        `thresholds` are ratios by resource; None gives the rules their own back.
        """
        given = {"enabled": enabled, "mode": mode, "thresholds": dict(thresholds) if thresholds else None}
        return await self._one("POST", "/v1/auto", body=_present(given))

    async def scan(self, *, nodes: Sequence[str] = (), everything: bool = False) -> list[Document]:
        """What could be moved; `everything` adds what cannot, with the obstacles."""
        query = [("node", node) for node in nodes] + ([("all", "1")] if everything else [])
        return await self._many("GET", "/v1/scan", query=query)

    async def why(self, subject: int | str | None = None) -> Document:
        """Why something or nothing is moved; with a pid why that job is or is not; with a move's id what became of it.

        docs/why.md describes the three documents. Of a process or move it needs its owner or an admin.
        """
        return await self._one("GET", "/v1/why" if subject is None else f"/v1/why/{quote(str(subject), safe='')}")

    async def move(
        self,
        pid: int,
        *,
        target: str | None = None,
        strategy: str | None = None,
        dry_run: bool = False,
        capture_state: bool = True,
        stage: bool | None = None,
        close_connections: bool = False,
        env_vars: Mapping[str, str] | None = None,
    ) -> Document:
        """Start one move and return at once: the move, or with `dry_run` the plan that would be carried out."""
        given = {"target": target, "strategy": strategy, "stage": stage, "env_vars": dict(env_vars or {}) or None}
        given["close_connections"] = close_connections or None
        body = {"pid": pid, "dry_run": dry_run, "capture_state": capture_state, **_present(given)}
        return await self._one("POST", "/v1/moves", body=body)

    async def moves(self, *, limit: int = 100) -> list[Document]:
        """Moves, newest first."""
        return await self._many("GET", "/v1/moves", query=[("limit", str(limit))])

    async def mine(self) -> Document:
        """What happened to your own jobs: notices, what you keep, moves with where they are and what to type."""
        return await self._one("GET", "/v1/mine")

    async def show(self, move_id: str) -> Document:
        """One move with its timeline, its job and its attempts."""
        return await self._one("GET", f"/v1/moves/{quote(move_id, safe='')}")

    async def wait(
        self,
        move_id: str,
        *,
        changed: Callable[[Document], None] | None = None,
        poll_s: float = 0.3,
        patience_s: float = 60.0,
    ) -> Document:
        """Wait until a move is final; `changed` is called with each new state.

        A controller that is away (restarted, say) is waited for, for `patience_s`: moves survive it.
        """
        clock = asyncio.get_running_loop().time
        seen, answered = None, clock()
        while True:
            try:
                move = await self.show(move_id)
            except ControllerUnavailable:
                if clock() - answered > patience_s:
                    raise
            else:
                answered = clock()
                if move["state"] != seen:
                    seen = move["state"]
                    if changed:
                        changed(move)
                if seen in FINAL_STATES:
                    return move
            await asyncio.sleep(poll_s)

    async def cancel(self, move_id: str) -> Document:
        """Before ownership: roll back. Afterwards: end the job."""
        return await self._one("POST", f"/v1/moves/{quote(move_id, safe='')}/cancel", body={})

    async def keep(self, pid: int, *, for_s: int | None = None) -> Document:
        """No rule moves the job of this process for `for_s` seconds (default: as configured)."""
        return await self._one("POST", "/v1/keeps", body={"pid": pid, **_present({"for_s": for_s})})

    async def keeps(self) -> list[Document]:
        """The jobs that you keep; for admins everybody's."""
        return await self._many("GET", "/v1/keeps")

    async def release(self, what: str) -> Document:
        """Take a keep back, by its id or pid."""
        return await self._one("POST", f"/v1/keeps/{quote(what, safe='')}/release", body={})

    async def proposals(self) -> list[Document]:
        """Planned moves that wait for somebody's word (mode approve)."""
        return await self._many("GET", "/v1/proposals")

    async def approve(self, proposal_id: str) -> Document:
        """Agree to one: it is decided anew and carried out as proposed, or not at all. `move`: what has begun, or null.

        Needs an admin or its owner; what waits for its owner needs him.
        """
        return await self._one("POST", f"/v1/proposals/{quote(proposal_id, safe='')}/approve", body={})

    async def decline(self, proposal_id: str) -> Document:
        """Say no: the job is not proposed again for a while."""
        return await self._one("POST", f"/v1/proposals/{quote(proposal_id, safe='')}/decline", body={})

    async def logs(self, move_id: str, *, offset: int = 0, follow: bool = False) -> AsyncIterator[bytes]:
        """The moved job's output from byte `offset` on; with `follow` until it ends."""
        query = [("offset", str(offset)), ("follow", "1" if follow else "0")]
        async for chunk in self._bytes(f"/v1/moves/{quote(move_id, safe='')}/logs", query):
            yield chunk

    async def _bytes(self, path: str, query: Sequence[tuple[str, str]]) -> AsyncIterator[bytes]:
        async with self._open("GET", path, query, None) as (status, _, reader):
            if status >= _ERRORS_FROM:
                raise error_document.decode(_parse(await reader.read(_ANSWER_LIMIT)), status)
            while chunk := await reader.read(_CHUNK):
                yield chunk

    async def run(
        self,
        argv: Sequence[str | bytes],
        *,
        environ: Mapping[bytes, bytes] | None = None,
        cwd: Path | None = None,
        **how: Unpack[RunOptions],
    ) -> Document:
        """Start a command on a worker, as yourself, and return at once: the job.

        Limits, priority and umask are those of this process. `environ` and `cwd`: this process' own unless given.

        Raises:
            CommandNotFound, CommandNotExecutable (offloader.program): here, before anything is asked.
            Refused: no worker can take it.
        """
        from offloader.program import described  # noqa: PLC0415 - it reads files; other commands start without it

        known = os.environb if environ is None else environ
        body = described([os.fsencode(part) for part in argv], known, cwd or Path())
        return await self._one("POST", "/v1/jobs", body={**body, "umask": _umask(), **_present(how)})

    async def job(self, job_id: str) -> Document:
        """One job with its attempts, by its id or by that of one of its moves."""
        return await self._one("GET", f"/v1/jobs/{quote(job_id, safe='')}")

    async def bring(self, job_id: str, target: str | None = None, *, close_connections: bool = False) -> Document:
        """Move a job that is in the controller's care on to another worker; None: home to the head. Returns the move.

        `close_connections`: its TCP connections with other hosts may be closed.

        Raises Refused: it does not run, is moving, or cannot go there.
        """
        body = _present({"target": target, "close_connections": close_connections or None})
        return await self._one("POST", f"/v1/jobs/{quote(job_id, safe='')}/bring", body=body)

    async def end_job(self, job_id: str) -> Document:
        """End a job that runs in the controller's care: TERM, then KILL."""
        return await self._one("POST", f"/v1/jobs/{quote(job_id, safe='')}/cancel", body={})

    async def output(
        self, job_id: str, *, stream: int = 1, epoch: int | None = None, offset: int = 0, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """What a job wrote from byte `offset` on, in its newest attempt or in `epoch`; with `follow` until that ends.

        `stream`: 1 output, 2 what it wrote to standard error where that is kept apart.
        """
        query = [("stream", str(stream)), ("offset", str(offset)), ("follow", "1" if follow else "0")]
        query += [("epoch", str(epoch))] if epoch is not None else []
        async for chunk in self._bytes(f"/v1/jobs/{quote(job_id, safe='')}/output", query):
            yield chunk

    async def rules(self) -> list[Document]:
        """Loaded rules with their state on every node."""
        return await self._many("GET", "/v1/rules")

    async def events(self, *, after: int = 0, limit: int = 100) -> list[Document]:
        """Events with a sequence number above `after`, oldest first."""
        return await self._many("GET", "/v1/events", query=[("after", str(after)), ("limit", str(limit))])

    async def reload(self) -> Document:
        """Read configuration and rules again. Raises ConfigError (nothing changed) when they have problems."""
        return await self._one("POST", "/v1/reload", body={})

    async def _one(self, method: str, path: str, *, body: Document | None = None) -> Document:
        document = await self._call(method, path, body=body)
        if not isinstance(document, dict):
            raise ControllerUnavailable(f"{self.socket} does not answer like a controller")
        return document

    async def _many(self, method: str, path: str, *, query: Sequence[tuple[str, str]] = ()) -> list[Document]:
        document = await self._call(method, path, query=query)
        if not isinstance(document, list):
            raise ControllerUnavailable(f"{self.socket} does not answer like a controller")
        return document

    async def _call(
        self, method: str, path: str, *, query: Sequence[tuple[str, str]] = (), body: Document | None = None
    ) -> Any:
        try:
            async with asyncio.timeout(self.timeout_s), self._open(method, path, query, body) as (status, head, reader):
                raw = await _read_body(reader, head)
        except TimeoutError as error:
            raise ControllerUnavailable(
                f"the controller at {self.socket} did not answer within {self.timeout_s:g} s"
            ) from error
        document = _parse(raw)
        if status >= _ERRORS_FROM:
            raise error_document.decode(document, status)
        return document

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, query: Sequence[tuple[str, str]], body: Document | None
    ) -> AsyncIterator[tuple[int, Mapping[str, str], asyncio.StreamReader]]:
        """Send one request; gives status, header fields (lower case) and the reader at the body."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=_HEAD_LIMIT)
        except OSError as error:
            raise _unavailable(self.socket, error) from error
        try:  # the writer must stay referenced: its collection would close the connection under the reader
            try:
                writer.write(_request(method, path, query, body))
                await writer.drain()
                status, head = await _read_head(reader)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
                raise ControllerUnavailable(f"{self.socket} does not answer like a controller: {error}") from error
            yield status, head, reader
        finally:
            writer.close()


def _umask() -> int:
    """By umask(2) alone there is no looking without setting; proc_pid_status(5) since Linux 4.7."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1], 8) for line in status.splitlines() if line.startswith("Umask:"))


def _present(given: Mapping[str, Any]) -> Document:
    return {key: value for key, value in given.items() if value is not None}


def _request(method: str, path: str, query: Sequence[tuple[str, str]], body: Document | None) -> bytes:
    target = f"{path}?{urlencode(query)}" if query else path
    lines = [f"{method} {target} HTTP/1.0", "Host: localhost"]
    payload = b""
    if body is not None:
        payload = json.dumps(body).encode()
        lines += ["Content-Type: application/json", f"Content-Length: {len(payload)}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + payload


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str]]:
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *fields = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, status, *_ = first.split(" ", 2)
    if not version.startswith("HTTP/1."):
        raise ValueError(f"{first[:40]!r} is no HTTP answer")
    pairs = (field.partition(":") for field in fields)
    return int(status), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read_body(reader: asyncio.StreamReader, head: Mapping[str, str]) -> bytes:
    """The whole body. An answer cut short (the controller died meanwhile) is no answer."""
    chunks, size = [], 0
    while chunk := await reader.read(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > _ANSWER_LIMIT:
            raise OffloaderError(f"the controller's answer is larger than {_ANSWER_LIMIT} bytes")
    expected = head.get("content-length", "")
    if expected.isdigit() and int(expected) != size:
        raise ControllerUnavailable("the controller went away in the middle of its answer")
    return b"".join(chunks)


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise OffloaderError(f"the controller's answer is no JSON: {raw[:80]!r}") from error


def _unavailable(socket: Path, error: OSError) -> ControllerUnavailable:
    if isinstance(error, PermissionError):
        return ControllerUnavailable(f"no permission to reach the controller's socket {socket}")
    return ControllerUnavailable(
        f"no controller answers on {socket} ({error.strerror or error})\n"
        "start one with: grid-offloader serve   (another place: --socket PATH or GRID_OFFLOADER_SOCKET)"
    )
