"""One answer of a child that became the job's owner: the launcher keeps its rights, the answer has none of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from . import owner
from .errors import LauncherError
from .wire import Document, encode

__all__ = ["answered"]


def answered(who: owner.Owner, answer: Callable[[], Document]) -> Document:
    """What `answer` says, asked with the rights of that account.

    Raises:
        LauncherError: what `answer` raised (an OSError as OS_ERROR); LAUNCH_FAILED: the child could not become it.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer_from_child(who, answer, writing)
    os.close(writing)
    with open(reading, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    if not data:
        raise LauncherError("LAUNCH_FAILED", "the launcher could not become the job's owner")
    said: Document = json.loads(data)
    if "error" in said:
        raise LauncherError(said["error"], said["detail"])
    document: Document = said["answer"]
    return document


def _answer_from_child(who: owner.Owner, answer: Callable[[], Document], writing: int) -> None:
    """Never returns; an unforeseen exception shows as an empty answer."""
    try:
        owner.become(who)
        try:
            said: Document = {"answer": answer()}
        except LauncherError as error:
            said = {"error": error.code, "detail": error.detail}
        except OSError as error:
            said = {"error": "OS_ERROR", "detail": str(error)}
        with open(writing, "wb") as stream:
            stream.write(encode(said))
    finally:
        os._exit(0)
