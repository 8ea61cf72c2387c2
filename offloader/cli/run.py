"""`grid-offloader run`: start work on the best worker, and show what it writes until it ends."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import click

from offloader.cli import following, render
from offloader.cli.session import client, local_home, run
from offloader.errors import OffloaderError, UsageError

__all__ = ["NEVER_RAN", "run_command"]

NEVER_RAN = 125
"""The exit code that says: yours did not run, or how it ended is not known (as of env(1), timeout(1), docker run)."""

_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]i?)?B?")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def _amount(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Bytes: 512M, 2Gi, or a plain number. Raises click.BadParameter."""
    if value is None:
        return None
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no amount such as 512M or 2Gi")
    return int(float(match[1]) * _UNITS[match[2] or ""])


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("command", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--target-node", "-t", "target", metavar="NODE", help="Only there. [default: the worker it fits best]")
@click.option("--detach", is_flag=True, help="Print the job's id and return.")
@click.option("--local", is_flag=True, help="Start it here, where a rule may move it later; it keeps your terminal.")
@click.option("--env", "env", metavar="NAME[=VALUE]", multiple=True, help="Set a variable, or take along your own.")
@click.option("--cwd", metavar="DIR", type=click.Path(path_type=Path), help="Run it there. [default: where you are]")
@click.option("--cores", type=click.FloatRange(min=0, min_open=True), help="Cores that it needs. [default: 1]")
@click.option("--memory", metavar="SIZE", callback=_amount, help="Memory that it needs: 512M, 2Gi. [default: 1Gi]")
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs that it needs. [default: 0]")
@click.option(
    "--restart-safe", is_flag=True, help="Running it again from its start is harmless: do so if its node dies."
)
def run_command(
    *,
    command: tuple[str, ...],
    target: str | None,
    detach: bool,
    local: bool,
    env: tuple[str, ...],
    cwd: Path | None,
    cores: float | None,
    memory: int | None,
    gpus: int | None,
    restart_safe: bool,
) -> None:
    """Run CMD on a worker, with your environment, directory, umask and limits, and show its output.

    With --local it starts here, on a terminal of its own where yours gives the input: keys, Ctrl-Z and fg, window
    size and exit code as without us; if your terminal is lost it goes on, and `attach` brings it back.

    No shell parses CMD. Its input is /dev/null, unless yours is a file. Output and errors stay apart unless yours go
    to the same place. Twice Ctrl-C ends it, TERM too; closing the terminal leaves it running: `attach ID`.

    \b
    Exit code: the job's own; 128 + N where signal N ended it; 125 where it never ran or was lost,
    126 where CMD may not be executed, 127 where there is none; 130 where you left it running.

    \b
    Examples:
      grid-offloader run -- python train.py --epochs 3
      grid-offloader run -t gpu1 --gpus 1 --memory 8Gi --env CUDA_CACHE_DISABLE=1 -- ./simulate in.dat
      grid-offloader run --detach -- sh -c 'sort big > sorted'
    """
    if local:
        needs = {"-t": target, "--detach": detach, "--cores": cores, "--memory": memory, "--gpus": gpus}
        _refuse([name for name, value in needs.items() if value] + (["--restart-safe"] if restart_safe else []))
        click.get_current_context().exit(_here(command, _variables(env), cwd))
    asked: dict[str, Any] = {
        "cwd": cwd,
        "env_vars": _variables(env) or None,
        "target": target,
        "cores": cores,
        "memory_bytes": memory,
        "gpus": gpus,
        "restart_safe": restart_safe,
        "outputs_apart": not following.outputs_together(),
    }
    argv = [os.fsencode(part) for part in command]
    if detach:
        click.echo(run(client().run(argv, **asked))["id"])
        return
    try:
        following.note_unread_input()
        code = run(following.run_and_follow(client(), argv, asked))
    except UsageError as error:  # 126, 127: see offloader.program
        render.show_error(error)
        code = max(NEVER_RAN, error.exit_code)
    except OffloaderError as error:
        render.show_error(error)
        code = NEVER_RAN
    click.get_current_context().exit(code)


def _refuse(names: list[str]) -> None:
    if names:
        raise click.UsageError(f"{', '.join(names)}: not with --local, which starts it here and in front of you")


def _here(command: tuple[str, ...], variables: dict[str, str], cwd: Path | None) -> int:
    from offloader.terminal.local_pty import NotStarted
    from offloader.terminal.stub import run_local

    try:
        if cwd is not None:
            os.chdir(cwd)
        environ = {**os.environb, **{os.fsencode(name): os.fsencode(value) for name, value in variables.items()}}
        return run_local([os.fsencode(part) for part in command], environ, local_home()).status
    except NotStarted as error:
        render.show_error(UsageError(str(error)))
        return _NOT_FOUND if error.number == errno.ENOENT else _NOT_EXECUTABLE
    except OSError as error:
        render.show_error(UsageError(f"{error.filename or command[0]}: {error.strerror}"))
        return NEVER_RAN


def _variables(given: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE, or NAME for one's own. Raises click.BadParameter."""
    found = {}
    for entry in given:
        name, separator, value = entry.partition("=")
        if not _NAME.fullmatch(name):
            raise click.BadParameter(f"{name!r} is no name of a variable", param_hint="--env")
        if not separator and name not in os.environ:
            raise click.BadParameter(f"{name} is not set here", param_hint="--env")
        found[name] = value if separator else os.environ[name]
    return found
