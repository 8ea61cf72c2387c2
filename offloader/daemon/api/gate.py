"""Who may come in over TCP: the token in the header, and a Host that is really this controller's.

Whoever holds the token acts as the controller's own account. A browser may be made to ask for another site's page here
(DNS rebinding), hence the check of Host; it never sends the token by itself, hence no other protection of actions.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from offloader.daemon.api.caller import Caller
from offloader.errors import NotAuthenticated, NotPermitted
from offloader.model import Reason

__all__ = ["HEADERS", "Gate"]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of everything that a browser may get (W3C: Content Security Policy Level 3, Trusted Types)."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Gate:
    """`token`: None: closed for all; `hosts`: names (lower case) by which this controller is known, besides numbers."""

    token: str | None
    hosts: frozenset[str] = frozenset()

    def caller(self) -> Caller:
        """As whom whoever holds the token acts."""
        return Caller(0, os.geteuid(), os.getegid(), frozenset(), via="with the token")

    def known(self) -> Middleware:
        """Refuse what was meant for another host, or comes from another site's page."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.check_host(request)
            return await handler(request)

        return check

    def check_host(self, request: web.Request) -> None:
        """A name that an attacker made to point here is not among ours; a number cannot. Raises NotPermitted."""
        host = _name(request.host)
        if not _is_number(host) and host not in self.hosts:
            raise NotPermitted(Reason.NOT_YOURS, f"this controller is not known as {host:.60} (controller.host_names)")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != request.host.lower():
            raise NotPermitted(Reason.NOT_YOURS, "another site's page asks")

    def check(self, request: web.Request) -> None:
        """Raises NotPermitted: the listener is closed for all; NotAuthenticated: it comes without the token."""
        if self.token is None:
            raise NotPermitted(
                Reason.NOT_YOURS,
                "no token is configured (controller.webhook_token_file): use the socket, or `grid-offloader`",
            )
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            raise NotAuthenticated(Reason.NOT_YOURS, "missing or wrong bearer token")

    def authorized(self) -> Middleware:
        """Refuse what comes without the token."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.check(request)
            return await handler(request)

        return check


def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
