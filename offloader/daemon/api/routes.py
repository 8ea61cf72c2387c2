"""The routes of the unix socket and of the status page: check what was sent, call the controller, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.typedefs import Middleware

from offloader.daemon.api.answers import BODY_LIMIT, answer, errors_as_documents
from offloader.daemon.api.body import (
    Field,
    boolean,
    environment,
    flag,
    number_map,
    one_of,
    parse_body,
    parse_query,
    text,
    texts,
    whole,
)
from offloader.daemon.api.caller import Caller, caller_of
from offloader.daemon.api.control import AutoRequest, Control, KeepRequest, MoveRequest, OutputRequest
from offloader.daemon.api.gate import Gate
from offloader.daemon.api.run_body import RUN_BODY_LIMIT, parse_run
from offloader.daemon.api.stream import Feed
from offloader.errors import OffloaderError, UsageError
from offloader.model import Mode, Resource, StrategyName

__all__ = ["control_app", "remote_app"]

T = TypeVar("T")

_PID_MAX = 2**22  # PID_MAX_LIMIT, include/linux/threads.h
_LIMIT_MAX = 1000
_LONGEST_S = 10 * 365 * 86400
_NEWEST = 20
_CONTROL = web.AppKey("control", Control)
_GATE = web.AppKey("gate", Gate)
_ACTIONS = web.AppKey("actions", set[asyncio.Task[Any]])

_AUTO = {
    "enabled": Field(boolean),
    "mode": Field(one_of(Mode)),
    "thresholds": Field(number_map(Resource, 0.0, 1.0)),
}
_MOVE = {
    "pid": Field(whole(1, _PID_MAX), required=True),
    "target": Field(text),
    "strategy": Field(one_of(StrategyName)),
    "dry_run": Field(boolean, default=False),
    "capture_state": Field(boolean, default=True),
    "stage": Field(boolean),
    "close_connections": Field(boolean, default=False),
    "env_vars": Field(environment, default={}),
}
_PID = {"pid": Field(whole(1, _PID_MAX), required=True)}
_KEEP = {"pid": Field(whole(1, _PID_MAX), required=True), "for_s": Field(whole(1, _LONGEST_S))}
_SCAN = {"node": Field(texts, default=()), "all": Field(flag, default=False)}
_MOVES = {"limit": Field(whole(1, _LIMIT_MAX), default=100)}
_LOGS = {"offset": Field(whole(0), default=0), "follow": Field(flag, default=False)}
_OUTPUT = {"stream": Field(whole(1, 2), default=1), "epoch": Field(whole(1)), **_LOGS}
_BRING = {"target": Field(text), "close_connections": Field(boolean, default=False)}
_EVENTS = {"after": Field(whole(0), default=0), "limit": Field(whole(1, _LIMIT_MAX), default=100)}


def control_app(control: Control) -> web.Application:
    """The application that is served on the unix socket."""
    app = _app(control, errors_as_documents)
    app.add_routes(
        [
            web.get("/v1/status", _status),
            web.post("/v1/auto", _auto),
            web.get("/v1/scan", _scan),
            web.get("/v1/why", _why),
            web.get("/v1/why/{subject}", _why),
            web.post("/v1/moves", _move),
            web.get("/v1/moves", _moves),
            web.get("/v1/moves/{id}", _show),
            web.post("/v1/moves/{id}/cancel", _cancel),
            web.get("/v1/moves/{id}/logs", _logs),
            web.post("/v1/jobs", _run),
            web.get("/v1/jobs/{id}", _job),
            web.post("/v1/jobs/{id}/bring", _bring),
            web.post("/v1/jobs/{id}/cancel", _end_job),
            web.get("/v1/jobs/{id}/output", _output),
            web.get("/v1/mine", _mine),
            web.post("/v1/keeps", _keep),
            web.get("/v1/keeps", _keeps),
            web.post("/v1/keeps/{id}/release", _release),
            web.get("/v1/proposals", _proposals),
            web.post("/v1/proposals/{id}/approve", _approve),
            web.post("/v1/proposals/{id}/decline", _decline),
            web.get("/v1/rules", _rules),
            web.get("/v1/events", _events),
            web.post("/v1/reload", _reload),
        ]
    )
    return app


def remote_app(control: Control, gate: Gate) -> web.Application:
    """The part of it that is served on TCP below /v1, to whoever holds the token: what the status page needs."""
    app = _app(control, gate.known(), gate.authorized())
    app[_GATE] = gate
    app.add_routes(
        [
            web.get("/status", _status),
            web.post("/auto", _auto),
            web.get("/scan", _scan),
            web.post("/moves", _move),
            web.get("/moves", _moves),
            web.get("/moves/{id}", _show),
            web.post("/moves/{id}/cancel", _cancel),
            web.get("/proposals", _proposals),
            web.post("/proposals/{id}/approve", _approve),
            web.post("/proposals/{id}/decline", _decline),
            web.get("/rules", _rules),
            web.get("/events", _events),
        ]
    )
    caller = gate.caller()

    async def shown() -> dict[str, Any]:
        return {"status": await control.status(caller), "events": await control.events(caller, 0, _NEWEST)}

    feed = Feed(shown)
    app.router.add_get("/stream", feed.serve)
    app.on_shutdown.append(feed.close)
    return app


def _app(control: Control, *middlewares: Middleware) -> web.Application:
    app = web.Application(middlewares=middlewares, client_max_size=BODY_LIMIT)
    app[_CONTROL] = control
    app[_ACTIONS] = set()
    return app


async def _status(request: web.Request) -> web.StreamResponse:
    parse_query(request.query.items(), {})
    return answer(await _control(request).status(_caller(request)))


async def _auto(request: web.Request) -> web.StreamResponse:
    asked = AutoRequest(**parse_body(await request.read(), _AUTO))
    if asked == AutoRequest():
        raise UsageError(f"nothing to change: give at least one of {', '.join(_AUTO)}")
    if asked.enabled is False and asked.mode is not None:
        raise UsageError("'mode' goes with enabling, not with disabling")
    return answer(await _to_its_end(request, _control(request).auto(_caller(request), asked)))


async def _scan(request: web.Request) -> web.StreamResponse:
    asked = parse_query(request.query.items(), _SCAN)
    return answer(await _control(request).scan(_caller(request), asked["node"], asked["all"]))


async def _why(request: web.Request) -> web.StreamResponse:
    """Digits are a pid, anything else names a move."""
    parse_query(request.query.items(), {})
    subject = request.match_info.get("subject")
    if subject is not None and subject.isdigit():
        subject = parse_query([("pid", subject)], _PID)["pid"]
    return answer(await _control(request).why(_caller(request), subject))


async def _move(request: web.Request) -> web.StreamResponse:
    asked = MoveRequest(**parse_body(await request.read(), _MOVE))
    document = await _to_its_end(request, _control(request).move(_caller(request), asked))
    return answer(document, 200 if asked.dry_run else 202)


async def _moves(request: web.Request) -> web.StreamResponse:
    asked = parse_query(request.query.items(), _MOVES)
    return answer(await _control(request).moves(_caller(request), asked["limit"]))


async def _show(request: web.Request) -> web.StreamResponse:
    parse_query(request.query.items(), {})
    return answer(await _control(request).show(_caller(request), request.match_info["id"]))


async def _cancel(request: web.Request) -> web.StreamResponse:
    parse_body(await request.read(), {})
    return answer(await _to_its_end(request, _control(request).cancel(_caller(request), request.match_info["id"])))


async def _logs(request: web.Request) -> web.StreamResponse:
    """Errors that show before the first byte are answered as documents; afterwards the stream just ends."""
    asked = parse_query(request.query.items(), _LOGS)
    chunks = await _control(request).logs(
        _caller(request), request.match_info["id"], offset=asked["offset"], follow=asked["follow"]
    )
    return await _streamed(request, chunks)


async def _streamed(request: web.Request, chunks: AsyncIterator[bytes]) -> web.StreamResponse:
    first = await anext(chunks, b"")
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    await response.prepare(request)
    await response.write(first)
    async for chunk in chunks:
        await response.write(chunk)
    await response.write_eof()
    return response


async def _run(request: web.Request) -> web.StreamResponse:
    asked = parse_run(await _large_body(request))
    return answer(await _to_its_end(request, _control(request).run(_caller(request), asked)), 202)


async def _large_body(request: web.Request) -> bytes:
    """Larger than what other routes take: it holds a whole environment."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > RUN_BODY_LIMIT:
            raise UsageError(f"the body is larger than {RUN_BODY_LIMIT} bytes: pass large data in files")
    return bytes(body)


async def _job(request: web.Request) -> web.StreamResponse:
    parse_query(request.query.items(), {})
    return answer(await _control(request).job(_caller(request), request.match_info["id"]))


async def _bring(request: web.Request) -> web.StreamResponse:
    asked = parse_body(await request.read(), _BRING)
    bringing = _control(request).bring(
        _caller(request), request.match_info["id"], asked["target"], close_connections=asked["close_connections"]
    )
    return answer(await _to_its_end(request, bringing), 202)


async def _end_job(request: web.Request) -> web.StreamResponse:
    parse_body(await request.read(), {})
    return answer(await _to_its_end(request, _control(request).end_job(_caller(request), request.match_info["id"])))


async def _output(request: web.Request) -> web.StreamResponse:
    asked = OutputRequest(**parse_query(request.query.items(), _OUTPUT))
    return await _streamed(request, await _control(request).output(_caller(request), request.match_info["id"], asked))


async def _mine(request: web.Request) -> web.StreamResponse:
    parse_query(request.query.items(), {})
    return answer(await _control(request).mine(_caller(request)))


async def _keep(request: web.Request) -> web.StreamResponse:
    asked = KeepRequest(**parse_body(await request.read(), _KEEP))
    return answer(await _to_its_end(request, _control(request).keep(_caller(request), asked)))


async def _keeps(request: web.Request) -> web.StreamResponse:
    parse_query(request.query.items(), {})
    return answer(await _control(request).keeps(_caller(request)))


async def _release(request: web.Request) -> web.StreamResponse:
    parse_body(await request.read(), {})
    return answer(await _to_its_end(request, _control(request).release(_caller(request), request.match_info["id"])))


async def _proposals(request: web.Request) -> web.StreamResponse:
    parse_query(request.query.items(), {})
    return answer(await _control(request).proposals(_caller(request)))


async def _approve(request: web.Request) -> web.StreamResponse:
    return await _answered(request, agreed=True)


async def _decline(request: web.Request) -> web.StreamResponse:
    return await _answered(request, agreed=False)


async def _answered(request: web.Request, *, agreed: bool) -> web.StreamResponse:
    parse_body(await request.read(), {})
    answering = _control(request).answer(_caller(request), request.match_info["id"], agreed=agreed)
    return answer(await _to_its_end(request, answering))


async def _rules(request: web.Request) -> web.StreamResponse:
    parse_query(request.query.items(), {})
    return answer(await _control(request).rules(_caller(request)))


async def _events(request: web.Request) -> web.StreamResponse:
    asked = parse_query(request.query.items(), _EVENTS)
    return answer(await _control(request).events(_caller(request), asked["after"], asked["limit"]))


async def _reload(request: web.Request) -> web.StreamResponse:
    parse_body(await request.read(), {})
    caller = _caller(request)
    _control(request).may_reload(caller)
    return answer(await _to_its_end(request, _control(request).reload(by=caller.name)))


def _control(request: web.Request) -> Control:
    return request.app[_CONTROL]


def _caller(request: web.Request) -> Caller:
    gate = request.app.get(_GATE)
    if gate is not None:
        return gate.caller()
    connection = request.get_extra_info("socket")
    if connection is None:
        raise OffloaderError("the connection is gone")
    return caller_of(connection)


async def _to_its_end(request: web.Request, action: Coroutine[Any, Any, T]) -> T:
    """A client that hangs up cancels its request; what it asked for is then still done wholly, never in half."""
    task = asyncio.ensure_future(action)
    actions = request.app[_ACTIONS]
    actions.add(task)
    task.add_done_callback(actions.discard)
    return await asyncio.shield(task)
