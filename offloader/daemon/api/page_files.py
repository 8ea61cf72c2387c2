"""The status page: files that are served as they are, without a build step and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from offloader.daemon.api.gate import HEADERS, Gate

__all__ = ["page_routes"]

_FOLDER = Path(__file__).parent / "page"
_START = "index.html"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def page_routes(gate: Gate) -> list[web.RouteDef]:
    """The page and what it loads. They hold no data; the page asks for the token with which it gets them."""
    paths = sorted(path for path in _FOLDER.iterdir() if path.suffix in _TYPES)
    return [web.get("/" if path.name == _START else f"/page/{path.name}", _serving(path, gate)) for path in paths]


def _serving(path: Path, gate: Gate) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    text = path.read_text(encoding="utf-8")

    async def serve(request: web.Request) -> web.StreamResponse:
        gate.check_host(request)
        return web.Response(
            text=text,
            content_type=_TYPES[path.suffix],
            charset="utf-8",
            headers={**HEADERS, "Cache-Control": "no-cache"},
        )

    return serve
