"""The body of `POST /v1/jobs`: a command with its environment. Byte strings are base64, as argv may hold any byte."""

from __future__ import annotations

import base64
import re
from typing import Any

from offloader.daemon.api.body import Check, Field, boolean, environment, parse_body, text, whole
from offloader.daemon.api.control import RunRequest
from offloader.model import Capacity
from offloader.moves.starting import Program

__all__ = ["RUN_BODY_LIMIT", "parse_run"]

RUN_BODY_LIMIT = 4 * 1024 * 1024
"""execve(2) takes 2 MiB of arguments and environment at most; that is 2.7 MiB in base64."""

_MOST = 100_000
_DIGEST = re.compile(r"[0-9a-f]{64}")


def parse_run(raw: bytes) -> RunRequest:
    """Checked field by field. Raises UsageError that lists every problem."""
    given = parse_body(raw, _RUN)
    return RunRequest(
        program=Program(
            argv=given["argv"],
            environ=given["environ"],
            cwd=given["cwd"],
            umask=given["umask"],
            path=given["path"],
            digest=given["digest"],
            size=given["size"],
            files=given["files"],
        ),
        needs=Capacity(given["cores"], given["memory_bytes"], given["gpus"]),
        target=given["target"],
        restart_safe=given["restart_safe"],
        outputs_apart=given["outputs_apart"],
        env=given["env_vars"],
    )


def _packed(value: Any) -> bytes:
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise ValueError("must be base64") from None
    if b"\0" in data:
        raise ValueError("must not hold a NUL")
    return data


def _path(value: Any) -> bytes:
    path = _packed(value)
    if not path.startswith(b"/"):
        raise ValueError("must be an absolute path")
    return path


def _list(least: int) -> Check:
    def check(value: Any) -> tuple[bytes, ...]:
        if not isinstance(value, list) or not least <= len(value) <= _MOST:
            raise ValueError(f"must be a list of {least} to {_MOST} strings in base64")
        return tuple(_packed(item) for item in value)

    return check


def _variables(value: Any) -> tuple[bytes, ...]:
    found: tuple[bytes, ...] = _list(0)(value)
    if not all(entry.partition(b"=")[1] for entry in found):
        raise ValueError("must hold NAME=VALUE")
    return found


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError("must be a SHA-256, 64 hexadecimal digits")
    return value


def _files(value: Any) -> tuple[tuple[bytes, str | None], ...]:
    if not isinstance(value, list) or len(value) > _MOST:
        raise ValueError("must be a list of [path, digest or null]")
    found = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2:  # noqa: PLR2004 - a pair
            raise ValueError("must hold pairs of path and digest")
        found.append((_path(item[0]), None if item[1] is None else _digest(item[1])))
    return tuple(found)


def _cores(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1 << 16:
        raise ValueError("must be a number of cores above 0")
    return float(value)


_RUN = {
    "argv": Field(_list(1), required=True),
    "environ": Field(_variables, required=True),
    "cwd": Field(_path, required=True),
    "umask": Field(whole(0, 0o777), required=True),
    "path": Field(_path, required=True),
    "digest": Field(_digest, required=True),
    "size": Field(whole(0), required=True),
    "files": Field(_files, default=()),
    "env_vars": Field(environment, default={}),
    "target": Field(text),
    "cores": Field(_cores, default=1.0),
    "memory_bytes": Field(whole(0), default=1 << 30),
    "gpus": Field(whole(0, 1024), default=0),
    "restart_safe": Field(boolean, default=False),
    "outputs_apart": Field(boolean, default=False),
}
