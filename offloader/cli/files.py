"""Files that commands write for other programs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from offloader.cli import render

__all__ = ["put", "replace"]


def put(text: str, output: Path | None) -> None:
    """Into that file, or on stdout."""
    if output is None:
        click.echo(text, nl=False)
    else:
        replace(output, text)


def replace(path: Path, text: str) -> None:
    """Write beside it, flush to disk, rename over it; readable by other programs whatever our umask."""
    try:
        _replace(path, text)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
    render.say(f"wrote {path}")


def _replace(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fchmod(out.fileno(), 0o644)
            os.fsync(out.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
