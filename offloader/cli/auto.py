"""`grid-offloader auto`: automatic moves on, off, and how they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from offloader.cli import render, screens
from offloader.cli.session import client, format_option, run
from offloader.cli.thresholds import parse_thresholds
from offloader.errors import ControllerUnavailable

__all__ = ["auto"]

SHOWN = ("running", "ceiling", "enabled", "kill_switch", "thresholds", "rules", "moves_in_flight", "last_decision")
"""What of the status document `auto --status` shows."""


@click.command()
@click.option("--enable", is_flag=True, help="Raise the ceiling: rules may act up to --mode.")
@click.option("--disable", is_flag=True, help="Observe only; automatic moves not committed are rolled back.")
@click.option("--status", is_flag=True, help="Show ceiling, thresholds, rules, moves in flight.")
@click.option(
    "--mode",
    type=click.Choice(["observe", "advise", "approve", "auto"]),
    help="The ceiling for --enable: advise tells, approve asks, auto acts.  [default: auto]",
)
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="[RESOURCE=]PERCENT",
    help="Pressure that triggers: cpu=80, memory=65, gpu=90, or a bare number for memory; `cpu=default` takes "
    "the rule's own again. May be repeated, or followed by several.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Where the journal is, for --disable and --status without a running controller.",
)
@click.argument("more_thresholds", nargs=-1, metavar="")
@format_option
def auto(
    *,
    enable: bool,
    disable: bool,
    status: bool,
    mode: str | None,
    thresholds: tuple[str, ...],
    state_dir: Path | None,
    more_thresholds: tuple[str, ...],
    form: str,
) -> None:
    """Switch automatic moves: exactly one of --enable, --disable, --status.

    Changes take effect on the running controller at once and survive restarts. Needs an admin: root, the
    controller's own account, or a member of its admin group.

    \b
    Examples:
      grid-offloader auto --enable --threshold cpu=80 --threshold memory=65
      grid-offloader auto --enable --threshold cpu=80 memory=65 gpu=90
      grid-offloader auto --enable --threshold 70
      grid-offloader auto --enable --mode advise
      grid-offloader auto --disable
    """
    if enable + disable + status != 1:
        raise click.UsageError("give exactly one of --enable, --disable, --status")
    if not enable and (mode or thresholds):
        raise click.UsageError("--mode and --threshold go with --enable")
    if more_thresholds and not thresholds:
        raise click.UsageError(f"unexpected argument {more_thresholds[0]!r}")
    if enable:
        wanted = parse_thresholds((*thresholds, *more_thresholds))
        document = run(client().auto(enabled=True, mode=mode, thresholds=wanted))
    else:
        document = _status(state_dir) if status else _disable(state_dir)
    for note in document.get("notes", ()):
        render.say(f"note: {render.clean(note)}")
    shown = {key: document[key] for key in SHOWN}
    render.show_json(shown) if form == "json" else _show(shown)


def _status(state_dir: Path | None) -> dict[str, Any]:
    try:
        return run(client().status())
    except ControllerUnavailable as error:
        from offloader.cli import offline

        document = offline.stored_status(offline.state_dir(state_dir), error)
        render.say("no controller is running; this is what its journal holds")
        return document


def _disable(state_dir: Path | None) -> dict[str, Any]:
    try:
        return run(client().auto(enabled=False))
    except ControllerUnavailable:
        from offloader.cli import offline

        path = offline.write_kill_switch(offline.state_dir(state_dir))
        render.say(f"no controller is running; wrote the kill-switch {path}: a controller that starts moves nothing")
        render.say("once one runs, `grid-offloader auto --enable` takes it away again")
        return offline.status_without_journal(kill_switch=True)


def _show(document: dict[str, Any]) -> None:
    render.show_pairs(
        [
            ("automatic moves", screens.ceiling_words(document)),
            ("thresholds", screens.threshold_words(document["thresholds"])),
            ("moves in flight", ", ".join(move["id"] for move in document["moves_in_flight"]) or "none"),
            ("last decision", screens.decision_words(document["last_decision"])),
        ]
    )
    if document["rules"]:
        click.echo()
        screens.show_rules(document["rules"])
