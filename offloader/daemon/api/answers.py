"""JSON answers, and the one place where exceptions become answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from offloader import error_document
from offloader.errors import NotAuthenticated, NotFound, OffloaderError, UsageError

__all__ = ["BODY_LIMIT", "answer", "errors_as_documents"]

BODY_LIMIT = 256 * 1024
_TOO_LARGE = 413

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(document: Any, status: int = 200) -> web.Response:
    """A JSON document, one line, with a newline at the end so that `curl` looks right."""
    text = json.dumps(document, ensure_ascii=True, allow_nan=False)
    return web.Response(text=text + "\n", status=status, content_type="application/json")


@web.middleware
async def errors_as_documents(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors of ours with their status and code; HTTP's own in the same form; the rest is logged and hidden."""
    try:
        return await handler(request)
    except OffloaderError as error:
        told = answer(error_document.encode(error), error_document.status_of(error))
        if isinstance(error, NotAuthenticated):
            told.headers["WWW-Authenticate"] = "Bearer"  # RFC 6750, 3
        return told
    except web.HTTPRequestEntityTooLarge:
        return answer(error_document.encode(UsageError(f"the body is larger than {BODY_LIMIT} bytes")), _TOO_LARGE)
    except web.HTTPException as error:
        kind = NotFound if error.status == web.HTTPNotFound.status_code else UsageError
        return answer(error_document.encode(kind(f"{error.reason}: {request.method} {request.path}")), error.status)
    except Exception:  # the loop boundary of requests: one failing request must not end the controller
        log.exception("request failed", extra={"method": request.method, "path": request.path})
        hidden = OffloaderError("the controller failed to answer this request; its log says why")
        return answer(error_document.encode(hidden), error_document.status_of(hidden))
