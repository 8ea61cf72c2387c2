"""Running the controller until somebody ends it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from importlib.metadata import version
from pathlib import Path

from offloader.config.models import Cluster
from offloader.config.secrets import read_secret
from offloader.daemon.api.gate import Gate
from offloader.daemon.api.public import public_app
from offloader.daemon.api.routes import control_app
from offloader.daemon.api.server import Server
from offloader.daemon.assembly import Assembled, assemble, load_setup
from offloader.daemon.logs import log_to_stderr
from offloader.daemon.notify import sd_notify
from offloader.jobs.events import EventKind

__all__ = ["serve"]

log = logging.getLogger(__name__)

_LATE_TICKS = 3


async def serve(config: Path | None, *, record_only: bool, log_level: str) -> None:
    """Load, listen, tick; SIGTERM and SIGINT end it in the middle of anything, SIGHUP reloads.

    Raises:
        ConfigError: problems in files; nothing was started.
        JournalError: the state directory is unusable or taken.
        OffloaderError: another controller answers, or a port is taken.
    """
    log_to_stderr(log_level)
    setup = await asyncio.to_thread(load_setup, config)
    token_file = setup.cluster.controller.webhook_token_file
    token = read_secret(token_file) if token_file else None
    assembled = await assemble(setup, record_only=record_only)
    async with assembled.stack:
        stopping = _signals(assembled)
        server = Server()
        try:
            await _listen(server, assembled, token)
            await assembled.controller.parts.acting.recover()
            await _run(assembled, stopping)
        finally:
            sd_notify("STOPPING=1")
            await server.close()
            _told(assembled, "stop", "controller stops")


async def _run(assembled: Assembled, stopping: asyncio.Event) -> None:
    """Tick until told to stop. The loop itself never ends; if it did, so would the controller, with the reason."""
    ticking = asyncio.create_task(assembled.ticker.run(), name="ticker")
    receipts = asyncio.create_task(assembled.receipts.run(), name="receipts")
    stop = asyncio.create_task(stopping.wait(), name="stop")
    cluster, rules = assembled.setup.cluster, assembled.setup.rules
    words = f"controller {version('grid-offloader')} watches {cluster.head.name}: {len(rules)} rules"
    _told(assembled, "start", words)
    sd_notify("READY=1")
    try:
        await asyncio.wait({ticking, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (ticking, receipts, stop):
            task.cancel()
        await asyncio.gather(receipts, stop, return_exceptions=True)
    try:
        await ticking
    except asyncio.CancelledError:
        log.info("ticks ended")


async def _listen(server: Server, assembled: Assembled, token: str | None) -> None:
    section = assembled.setup.cluster.controller
    await server.listen_unix(control_app(assembled.desk), section.socket)
    host, _, port = section.listen.rpartition(":")
    app = public_app(
        assembled.desk,
        webhook=assembled.alerts,
        metrics=assembled.metrics.exposition,
        ready=lambda: _missing(assembled),
        gate=Gate(token, _names(assembled.setup.cluster)),
    )
    bound = await server.listen_tcp(app, host.strip("[]"), int(port))
    log.info("listening", extra={"socket": section.socket, "tcp": f"{host}:{bound}"})


def _names(cluster: Cluster) -> frozenset[str]:
    """By which names browsers may call us."""
    head, listen = cluster.head, cluster.controller.listen.rpartition(":")[0]
    names = ("localhost", socket.gethostname(), listen, head.name, head.address, *head.aliases)
    return frozenset(name.lower() for name in (*names, *cluster.controller.host_names))


def _missing(assembled: Assembled) -> str | None:
    """What keeps the controller from deciding; None: nothing."""
    beat, clock = assembled.ticker.beat, assembled.controller.parts.clock
    if beat.finished_t is None:
        return "the first check is still to come"
    if beat.error is not None:
        return f"the last check failed: {beat.error}"
    silent = clock.time() - beat.finished_t
    if silent > _LATE_TICKS * assembled.controller.setup.tick_interval_s + beat.took_s:
        return f"the last check ended {silent:.0f} s ago"
    return None


def _signals(assembled: Assembled) -> asyncio.Event:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    reloads: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = loop.create_task(assembled.reloader.on_hangup())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    return stopping


def _told(assembled: Assembled, subject: str, words: str) -> None:
    parts = assembled.controller.parts
    parts.decisions.told(EventKind.CONTROLLER, subject, words, parts.clock.time())
