"""`grid-offloader cluster start`, `stop` and `restart`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from offloader.cli.cluster_jobs import affected, drained, in_care_on, refuse
from offloader.cli.config import config_option
from offloader.cli.fleets import chosen, exit_with, failed_code, opened, show_outcomes
from offloader.cli.session import format_option, run

__all__ = ["restart", "start", "stop"]

_SERVICES = ("exporter", "alertmanager", "prometheus", "ray", "controller")
F = TypeVar("F", bound=Callable[..., Any])

_EXITS = "Exit codes: 0 done, 9 some nodes failed or were not reached (the others are done)"


def _where(command: F) -> F:
    """Which nodes, which services."""
    only = click.option(
        "--service", "services", multiple=True, type=click.Choice(_SERVICES), help="Only this one; may be repeated."
    )
    return click.argument("nodes", nargs=-1, metavar="[NODE]...")(only(config_option(format_option(command))))


@click.command(epilog=f"{_EXITS}.")
@_where
def start(*, nodes: tuple[str, ...], services: tuple[str, ...], config: Path | None, form: str) -> None:
    """Start what is installed: exporters, Prometheus, Ray, the controller, in this order.

    What runs already is left alone; after a failure, do it again. Services are kept running: by systemd where it runs,
    else by keepers of our own.
    """
    exit_with(run(_start(nodes, services, config, form)))


@click.command(epilog=f"{_EXITS}, 4 refused: moved jobs run there.")
@_where
@click.option("--drain", is_flag=True, help="Bring moved jobs home first; wait for those that cannot be brought.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="How long --drain waits.  [default: ever]")
@click.option("--force", is_flag=True, help="Stop although moved jobs run: they end.")
def stop(
    *,
    nodes: tuple[str, ...],
    services: tuple[str, ...],
    drain: bool,
    timeout_s: float | None,
    force: bool,
    config: Path | None,
    form: str,
) -> None:
    """Stop the cluster's services, the controller first. Refused while moved jobs depend on them."""
    exit_with(run(_stop(nodes, services, config, form, drain=drain, timeout_s=timeout_s, force=force)))


@click.command(epilog=f"{_EXITS}, 4 refused: moved jobs run there.")
@_where
@click.option("--force", is_flag=True, help="Restart although moved jobs run on these workers: they end.")
def restart(*, nodes: tuple[str, ...], services: tuple[str, ...], force: bool, config: Path | None, form: str) -> None:
    """Stop and start, with what was installed or configured since. Jobs survive a restart of the head."""
    exit_with(run(_restart(nodes, services, config, form, force=force)))


async def _start(names: tuple[str, ...], services: tuple[str, ...], config: Path | None, form: str) -> int:
    from offloader.cluster.lifecycle import start as started

    async with opened(config) as fleet:
        nodes = chosen(fleet, names)
        outcomes = await started(fleet, nodes, services or _SERVICES)
        show_outcomes(fleet, nodes, outcomes, form)
        return failed_code(outcomes)


async def _stop(
    names: tuple[str, ...],
    services: tuple[str, ...],
    config: Path | None,
    form: str,
    *,
    drain: bool,
    timeout_s: float | None,
    force: bool,
) -> int:
    from offloader.cluster.lifecycle import stop as stopped

    async with opened(config) as fleet:
        nodes, wanted = chosen(fleet, names), services or _SERVICES
        # Without the head's Ray the workers' gives up, too.
        concerned = affected(fleet, nodes, wanted, head_matters=True)
        if drain:
            await drained(fleet, concerned, timeout_s)
        elif not force:
            refuse(in_care_on(fleet, concerned))
        outcomes = await stopped(fleet, nodes, wanted)
        show_outcomes(fleet, nodes, outcomes, form)
        return failed_code(outcomes)


async def _restart(
    names: tuple[str, ...], services: tuple[str, ...], config: Path | None, form: str, *, force: bool
) -> int:
    from offloader.cluster.lifecycle import restart as restarted

    async with opened(config) as fleet:
        nodes, wanted = chosen(fleet, names), services or _SERVICES
        if not force:
            refuse(in_care_on(fleet, affected(fleet, nodes, wanted, head_matters=False)))
        outcomes = await restarted(fleet, nodes, wanted)
        show_outcomes(fleet, nodes, outcomes, form)
        return failed_code(outcomes)
