"""Short questions over HTTP to what should be running on the head: Ray's dashboard, controller, Alertmanager."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

from offloader.backends.ray_jobs import parse_nodes
from offloader.config.secrets import read_secret
from offloader.errors import BackendError, ConfigError

__all__ = ["ray_alive", "ready"]

_LIMIT_BYTES = 8 << 20
_NODES = "/api/v0/nodes?limit=10000"


async def ray_alive(url: str, token_file: Path, *, timeout_s: float) -> frozenset[str] | str:
    """Addresses of the nodes that Ray calls alive (State API), or the words of why that is not known."""
    try:
        headers = {"Authorization": f"Bearer {await asyncio.to_thread(read_secret, token_file)}"}
        answer = await asyncio.to_thread(_get, f"{url}{_NODES}", headers, timeout_s)
        return parse_nodes(json.loads(answer))
    except (OSError, ValueError) as error:
        return f"Ray's dashboard at {url} does not answer: {_words(error)}"
    except (BackendError, ConfigError) as error:
        return str(error)


async def ready(what: str, listen: str, *, timeout_s: float) -> str | None:
    """None where a controller or an Alertmanager is ready to work, else why not. `what`: what to call it."""
    try:
        await asyncio.to_thread(_get, f"http://{listen}/-/ready", {}, timeout_s)
    except (OSError, ValueError) as error:
        return f"{what} at {listen}: {_words(error)}"
    return None


def _get(url: str, headers: dict[str, str], timeout_s: float) -> bytes:
    """Past any proxy: the token is for nobody else. Raises OSError."""
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - configuration checks the scheme
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout_s) as response:
        return bytes(response.read(_LIMIT_BYTES))


def _words(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        said = error.read(500).decode("utf-8", "replace").strip()
        return f"{error.code} {said}".strip()
    if isinstance(error, urllib.error.URLError):
        return str(getattr(error.reason, "strerror", None) or error.reason)
    return str(error) or type(error).__name__
