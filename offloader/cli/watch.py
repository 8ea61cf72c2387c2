"""`grid-offloader watch`: the dashboards in a browser, or a summary that refreshes in the terminal."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import click

from offloader.cli import render
from offloader.cli.session import client, configured, run
from offloader.client import Client
from offloader.errors import ControllerUnavailable

if TYPE_CHECKING:
    from offloader.config.models import Cluster

__all__ = ["watch"]

_INTERVAL_S = 2.0
_HOME, _CLEAR_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[E\x1b[J"
_ALTERNATE, _BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # xterm, Control Sequences: screen, cursor
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_PLAIN = "\x1b[0m"


@click.command()
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0.2),
    metavar="SECONDS",
    help="Print a summary again every so often, instead of opening anything.",
)
def watch(*, interval_s: float | None) -> None:
    """Watch the cluster: open its dashboard, or print a summary that refreshes.

    With a desktop the browser opens Grafana (`grafana.url` in the cluster file) or else the controller's status page.
    Without one, as over plain SSH, and with --interval, the summary of `status` is printed again and again: on a
    terminal in its place, cut to its size; into a pipe one after the other, plain and whole. Ctrl-C ends it.
    """
    if interval_s is None and _opened():
        return
    try:
        run(_refresh(client(), _INTERVAL_S if interval_s is None else interval_s))
    except KeyboardInterrupt:
        return  # that is how it is left


def _opened() -> bool:
    """Whether a browser shows it; where none can, what to type on the machine at which one sits."""
    cluster = configured()
    if cluster is None:
        return False
    url = cluster.grafana.url or _page(cluster)
    if _has_desktop():
        import webbrowser

        if webbrowser.open(url):
            render.say(f"opened {url}")
            return True
    render.say(f"no browser here; elsewhere: {_elsewhere(cluster, url)}")
    return False


def _page(cluster: Cluster) -> str:
    """The status page as it is reached on this machine."""
    host, _, port = cluster.controller.listen.rpartition(":")
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{port}/"  # noqa: S104 - only compared


def _elsewhere(cluster: Cluster, url: str) -> str:
    """How somebody at another machine gets there."""
    if cluster.grafana.url is not None:
        return url
    port = cluster.controller.listen.rpartition(":")[2]
    return f"ssh -L {port}:{url.split('/')[2]} {cluster.head.address}, then http://localhost:{port}/"


def _has_desktop() -> bool:
    """A display of this machine; one that SSH forwards is no place for a browser."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


async def _refresh(controller: Client, interval_s: float) -> None:
    """Until interrupted. A controller that goes away is waited for; one that was never there is an error."""
    document: Mapping[str, Any] | None = await controller.status()
    with _screen():
        while True:
            text = _summary(document) if document is not None else _away(controller)
            _on_terminal(text) if sys.stdout.isatty() else click.echo(f"{text}\n")
            await asyncio.sleep(interval_s)
            try:
                document = await controller.status()
            except ControllerUnavailable:
                document = None


def _away(controller: Client) -> str:
    return f"{time.strftime('%H:%M:%S')}  no controller answers on {controller.socket}; still trying"


def _summary(document: Mapping[str, Any]) -> str:
    """The screen of `status` as text, styled where the terminal is."""
    from offloader.cli.status import show

    lead = f"{document['controller']['cluster']}  {time.strftime('%H:%M:%S', time.localtime(document['t']))}"
    text = _Captured(terminal=sys.stdout.isatty())
    with redirect_stdout(text):
        click.echo(render.style(lead, bold=True))
        show(document)
    return text.getvalue().rstrip("\n")


class _Captured(StringIO):
    """Takes text as the terminal would, or as a pipe."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        """What is written decides by this whether to fit and to style."""
        return self._terminal


@contextmanager
def _screen() -> Iterator[None]:
    """A screen of its own where there is a terminal, so that what was on it comes back at the end."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    sys.stdout.write(_ALTERNATE)
    try:
        yield
    finally:
        sys.stdout.write(_BACK)
        sys.stdout.flush()


def _on_terminal(text: str) -> None:
    """In place of what was there, no line longer than the terminal is wide, no more lines than it is high."""
    width, height = shutil.get_terminal_size()
    lines = text.split("\n")
    if len(lines) > height:
        lines = [*lines[: max(0, height - 1)], f"... {len(lines) - height + 1} more lines: grid-offloader status"]
    if os.environ.get("TERM") == "dumb":
        click.echo("\n".join(_cut(line, width) for line in lines))
        return
    # Cleared before it is written: after its last column the cursor still stands on that, and clearing would take it.
    shown = "\n".join(f"{_CLEAR_LINE}{_cut(line, width)}" for line in lines[:height])
    sys.stdout.write(f"{_HOME}{shown}{_BELOW if len(lines) < height else ''}")
    sys.stdout.flush()


def _cut(line: str, width: int) -> str:
    """The first `width` visible characters; styles take no room."""
    kept, room, at = [], width, 0
    for style in _STYLE.finditer(line):
        piece = line[at : style.start()][:room]
        kept += [piece, style[0]]
        room, at = room - len(piece), style.end()
    kept.append(line[at:][:room])
    return "".join(kept) + (_PLAIN if at else "")
