"""What every command that talks to the controller needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from offloader.client import Client

__all__ = ["client", "format_option", "run"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def client(timeout_s: float = 30.0) -> Client:
    """The client of the controller that this command line means."""
    chosen = click.get_current_context().find_root().obj
    return Client(Path(chosen) if chosen else None, timeout_s=timeout_s)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Carry out the command's asynchronous part; Ctrl-C cancels it and ends the command."""
    return asyncio.run(work)


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
