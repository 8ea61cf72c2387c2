"""The command `grid-offloader`: a table of commands that are imported when they are used, and how errors end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

__all__ = ["COMMANDS", "cli", "main", "run_command"]

PROGRAM = "grid-offloader"
_INTERRUPTED = 130  # 128 + SIGINT, as shells count
_BROKEN_PIPE = 141  # 128 + SIGPIPE


class Entry(NamedTuple):
    """One command: its section of the help, where it is, and its line in the help (kept here to import nothing)."""

    section: str
    module: str
    attribute: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "status": Entry("Look", "status", "status", "The one screen: mode, pressure, what happens next or why not."),
    "watch": Entry("Look", "watch", "watch", "Open Grafana or the status page; or a summary that refreshes."),
    "scan": Entry("Look", "scan", "scan", "Which processes could be moved, where to, and why the others could not."),
    "why": Entry("Look", "why", "why", "Why something, nothing, or one process is moved, and what mends that."),
    "logs": Entry("Look", "logs", "logs", "The output of a job that was moved, or started by run."),
    "rules": Entry("Look", "rules", "rules_group", "Check and list offload rules."),
    "run": Entry("Run", "run", "run_command", "Run a command on the best worker, and show its output here."),
    "attach": Entry("Run", "attach", "attach", "Show the output of a job again, until it ends."),
    "move": Entry("Move", "move", "move", "Move processes to a worker now."),
    "bring": Entry("Move", "bring", "bring", "Bring a moved job home, or on to another worker."),
    "approve": Entry("Move", "approve", "approve", "Agree to moves that rules ask about, or decline them."),
    "keep": Entry("Move", "keep", "keep", "Keep your jobs here for a while: no rule moves them."),
    "cancel": Entry("Move", "cancel", "cancel", "Roll a move back, or end a job."),
    "auto": Entry("Control", "auto", "auto", "Switch automatic moves on and off, set thresholds."),
    "serve": Entry("Control", "serve", "serve", "Run the controller."),
    "up": Entry("Cluster", "up", "up", "From nothing to a running cluster: check, install, start."),
    "config": Entry("Cluster", "config", "config_group", "Create, check and show the cluster configuration."),
    "cluster": Entry("Cluster", "cluster", "cluster_group", "Check, install, start and stop the nodes' services."),
}
ALIASES = {"execute": "move"}


class LazyGroup(click.Group):
    """A group whose commands are imported one by one, on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the command's module."""
        entry = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if entry is None:
            return None
        command = getattr(import_module(f"offloader.cli.{entry.module}"), entry.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"offloader.cli.{entry.module}.{entry.attribute} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Grouped by section, from the table alone."""
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                rows = [(name, entry.summary) for name, entry in COMMANDS.items() if entry.section == section]
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With a suggestion for a name that is nearly one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], [*COMMANDS, *ALIASES], n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(error.message + hint, ctx) from None


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"{PROGRAM} {version(PROGRAM)}")
        ctx.exit()


_EPILOG = """\b
Exit codes: 0 done, 1 configuration or other error, 2 wrong arguments,
3 no controller answers, 4 refused (with the reason), 5 not permitted,
6 not found, 7 the move was rolled back or lost, 8 state directory unusable,
9 another system failed. `run` and `attach` return the job's own.

\b
Shell completion, for bash (or zsh, fish):
  eval "$(_GRID_OFFLOADER_COMPLETE=bash_source grid-offloader)"
"""


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.option("--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Show the version.")
@click.option(
    "--socket",
    metavar="PATH",
    envvar="GRID_OFFLOADER_SOCKET",
    help="The controller's socket. [default: that of your own controller, else of this machine's]",
)
@click.pass_context
def cli(ctx: click.Context, socket: str | None) -> None:
    """Keeps a head node responsive: moves running work to idle workers.

    Start with `grid-offloader status`. Times are seconds, percentages mean the share of a node's resource in use.
    """
    ctx.obj = socket


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Data goes to stdout, messages to stderr, and every error to its documented exit code."""
    sys.exit(run_command(argv))


def run_command(argv: Sequence[str] | None) -> int:
    """Carry out one command line and give its exit code."""
    try:
        result: Any = cli.main(args=argv, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    except BrokenPipeError:
        # Who read us has gone. Nothing more can be said, and the flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:
        from offloader.errors import OffloaderError

        if not isinstance(error, OffloaderError):
            raise
        from offloader.cli.render import show_error

        show_error(error)
        return error.exit_code
    return result if isinstance(result, int) else 0
