"""The TCP listener: what Prometheus and health checks ask for without a token, and reloading with one."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from aiohttp import web

from offloader.daemon.api.answers import BODY_LIMIT, answer, errors_as_documents
from offloader.daemon.api.control import Control
from offloader.errors import NotPermitted
from offloader.model import Reason

__all__ = ["METRICS_TYPE", "public_app"]

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def public_app(
    control: Control, *, metrics: Callable[[], bytes], ready: Callable[[], str | None], token: str | None
) -> web.Application:
    """The application that is served on TCP.

    Args:
        control: for reloading.
        metrics: the exposition, text format 0.0.4.
        ready: None when decisions can be made, else the sentence that says what is missing.
        token: bearer token of actions; None: there are no actions on this listener.
    """

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": METRICS_TYPE})

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="healthy\n")

    async def is_ready(_: web.Request) -> web.Response:
        missing = ready()
        return web.Response(text=f"{missing}\n", status=503) if missing else web.Response(text="ready\n")

    async def reload(request: web.Request) -> web.Response:
        _check_token(request, token)
        return answer(await control.reload(by=f"token from {request.remote}"))

    app = web.Application(middlewares=[errors_as_documents], client_max_size=BODY_LIMIT)
    app.add_routes(
        [
            web.get("/metrics", show_metrics),
            web.get("/-/healthy", healthy),
            web.get("/-/ready", is_ready),
            web.post("/-/reload", reload),
        ]
    )
    return app


def _check_token(request: web.Request, token: str | None) -> None:
    if token is None:
        raise NotPermitted(
            Reason.NOT_YOURS, "this listener takes no actions: no token is configured; send SIGHUP or use the socket"
        )
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise NotPermitted(Reason.NOT_YOURS, "missing or wrong bearer token")
