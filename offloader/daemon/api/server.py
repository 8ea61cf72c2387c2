"""Serving both applications: the unix socket (everybody may connect, the kernel says who it is) and TCP."""

from __future__ import annotations

import asyncio
import socket
import stat
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from aiohttp import web

from offloader.errors import OffloaderError

__all__ = ["Server"]

_CONNECT_S = 1.0
_SHUTDOWN_S = 2.0


class Server:
    """Listeners that are closed together, in reverse order."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def listen_unix(self, app: web.Application, path: Path) -> None:
        """Serve on a socket file, mode 0666.

        Raises:
            OffloaderError: another controller answers there, or the place cannot be used.
        """
        if _is_left_over(path):
            await _make_room(path)
        runner = await self._runner(app)
        listener, inode = _bind(path)
        await web.SockSite(runner, listener).start()
        self._stack.callback(_remove, path, inode)

    async def listen_tcp(self, app: web.Application, host: str, port: int) -> int:
        """Serve on TCP; returns the port (another one than asked for when that is 0). Raises OffloaderError."""
        runner = await self._runner(app)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise OffloaderError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        return int(runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening; requests under way get two seconds."""
        await self._stack.aclose()

    async def _runner(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        return runner


def _is_left_over(path: Path) -> bool:
    """Whether a socket is there already. Anything else is not ours to remove."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OffloaderError(f"cannot use {path.parent}: {error.strerror}") from error
    if not stat.S_ISSOCK(kind):
        raise OffloaderError(f"{path} exists and is no socket; remove it or choose another place")
    return True


def _bind(path: Path) -> tuple[socket.socket, int]:
    """The listening end and the inode of its file."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    try:
        listener.bind(str(path))
        path.chmod(0o666)  # anyone may look; what else he may do follows from his credentials
        return listener, path.stat().st_ino
    except OSError as error:
        listener.close()
        raise OffloaderError(f"cannot listen on {path}: {error.strerror or error}") from error


async def _make_room(path: Path) -> None:
    """A socket on which nobody listens is left over from a crash."""
    if await _answers(path):
        raise OffloaderError(f"another controller answers on {path}; stop it first")
    _remove(path)


async def _answers(path: Path) -> bool:
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_unix_connection(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except TimeoutError:
        return True  # it listens, if slowly
    writer.close()
    return True


def _remove(path: Path, inode: int | None = None) -> None:
    """Remove a socket; with `inode` only if it is that one: a successor may have put its own there already."""
    with suppress(FileNotFoundError):
        if inode is None or path.stat().st_ino == inode:
            path.unlink()
