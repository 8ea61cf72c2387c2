"""`grid-offloader serve`: the controller."""

from __future__ import annotations

from pathlib import Path

import click

from offloader.cli.config import config_option
from offloader.cli.session import run

__all__ = ["serve"]


@click.command()
@config_option
@click.option("--record-only", is_flag=True, help="Write down what would be moved, move nothing, whatever the mode.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Of the log on stderr, one line per event.",
)
def serve(*, config: Path | None, record_only: bool, log_level: str) -> None:
    """Run the controller in the foreground until SIGTERM or Ctrl-C; SIGHUP reads configuration and rules again.

    A fresh installation observes only: `grid-offloader auto --enable` lets it act. Moves in flight survive a
    restart. systemd is told when it is ready (Type=notify).
    """
    from offloader.daemon.main import serve as run_controller

    run(run_controller(config, record_only=record_only, log_level=log_level))
