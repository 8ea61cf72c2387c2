"""What every command that talks to the controller needs."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from offloader import places
from offloader.client import Client

if TYPE_CHECKING:
    from offloader.config.models import Cluster

__all__ = ["client", "configured", "format_option", "is_move", "local_home", "run"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def client(timeout_s: float = 30.0) -> Client:
    """The client of the controller that this command line means."""
    chosen = click.get_current_context().find_root().obj
    return Client(Path(chosen) if chosen else _socket(), timeout_s=timeout_s)


def configured() -> Cluster | None:
    """The cluster file, where there is a good one. Loading it takes longer than the rest of a command: ask last."""
    if not any(path.exists() for path in places.config_files()):
        return None
    from offloader.config.load import load_cluster
    from offloader.errors import ConfigError

    try:
        return load_cluster()
    except ConfigError:
        return None


def _socket() -> Path:
    """The usual place; where nothing is there, what the cluster file says."""
    usual = places.socket_path()
    if usual.exists() or places.SOCKET_ENV in os.environ:
        return usual
    cluster = configured()
    return cluster.controller.socket if cluster else usual


def run(work: Coroutine[Any, Any, T]) -> T:
    """Carry out the command's asynchronous part; Ctrl-C cancels it and ends the command."""
    return asyncio.run(work)


def local_home() -> Path:
    """Where jobs of `run --local` are that lost their terminal. By host: a home directory may be shared by several.

    Not the session's runtime directory, which goes with its last login.
    """
    return places.state_dir() / "local" / platform.node()


def is_move(name: str) -> bool:
    """Whether an id is that of a move, as people type it; else of a job."""
    return name.startswith("offload_")


def format_option(command: F) -> F:
    """`--format table|json`, the same for every command."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="table for people, json for programs.",
    )(command)
