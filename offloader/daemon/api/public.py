"""The TCP listener: metrics and health for all; with the token also the status page, Alertmanager and reloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from offloader.daemon.api.alert_body import Notification, parse_notification
from offloader.daemon.api.answers import BODY_LIMIT, answer, errors_as_documents
from offloader.daemon.api.control import Control
from offloader.daemon.api.gate import Gate
from offloader.daemon.api.page_files import page_routes
from offloader.daemon.api.routes import remote_app
from offloader.errors import NotPermitted, UsageError

__all__ = ["METRICS_TYPE", "Webhook", "public_app"]

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Webhook(Protocol):
    """Who is told of alerts (daemon.alerts.Alerts)."""

    def receive(self, notification: Notification) -> dict[str, int]:
        """One delivery; how many of its alerts were what. Raises JournalError."""

    def refused(self, why: str) -> None:
        """A delivery was not taken: unauthorized or malformed."""


def public_app(
    control: Control,
    *,
    webhook: Webhook,
    metrics: Callable[[], bytes],
    ready: Callable[[], str | None],
    gate: Gate,
) -> web.Application:
    """The application that is served on TCP.

    Args:
        control: for the page, its actions, and reloading.
        webhook: takes what Alertmanager delivers.
        metrics: the exposition, text format 0.0.4.
        ready: None when decisions can be made, else the sentence that says what is missing.
        gate: who may see and act.
    """

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": METRICS_TYPE})

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="healthy\n")

    async def is_ready(_: web.Request) -> web.Response:
        missing = ready()
        return web.Response(text=f"{missing}\n", status=503) if missing else web.Response(text="ready\n")

    async def reload(request: web.Request) -> web.Response:
        gate.check(request)
        return answer(await control.reload(by=f"token from {request.remote}"))

    async def alerts(request: web.Request) -> web.Response:
        try:
            gate.check(request)
            notification = parse_notification(await request.read())
        except NotPermitted:
            webhook.refused("unauthorized")
            raise
        except UsageError:
            webhook.refused("malformed")
            raise
        return answer(webhook.receive(notification))

    app = web.Application(middlewares=[errors_as_documents], client_max_size=BODY_LIMIT)
    app.add_routes(
        [
            web.get("/metrics", show_metrics),
            web.get("/-/healthy", healthy),
            web.get("/-/ready", is_ready),
            web.post("/-/reload", reload),
            web.post("/api/v1/alerts", alerts),
            *page_routes(gate),
        ]
    )
    app.add_subapp("/v1/", remote_app(control, gate))
    return app
