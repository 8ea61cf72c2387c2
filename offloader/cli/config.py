"""`grid-offloader config`: create, check and show the cluster file."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from offloader import places
from offloader.cli import render
from offloader.cli.files import replace
from offloader.cli.session import format_option

__all__ = ["config_group", "config_option"]

F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """`--config FILE`, the same for every command that reads the cluster file."""
    return click.option(
        "-c",
        "--config",
        "config",
        type=click.Path(path_type=Path),
        help=f"The cluster file.  [default: ${places.CONFIG_ENV}, else ~/.config/grid-offloader/cluster.yaml, "
        "else /etc/grid-offloader/cluster.yaml]",
    )(command)


@click.group()
def config_group() -> None:
    """Create, check and show the cluster file."""


@config_group.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--cluster", default="lab", show_default=True, help="The cluster's name.")
@click.option("--head", metavar="NAME[=ADDRESS]", help="The node to keep responsive.  [default: this machine]")
@click.option("--worker", "workers", multiple=True, metavar="NAME[=ADDRESS]", help="A worker; may be repeated.")
def init(file: Path | None, cluster: str, head: str | None, workers: tuple[str, ...]) -> None:
    """Write a commented cluster file to start from; never over an existing one.

    FILE is that of your account by default, for root that of the machine; `-` prints it.

    \b
    Example:
      grid-offloader config init --head login1 --worker gpu1=192.0.2.11 --worker gpu2=192.0.2.12
    """
    from offloader.config.starter import starter

    text = starter(cluster, _node(head or socket.gethostname()), [_node(worker) for worker in workers])
    _refuse_broken(text)
    if file == Path("-"):
        click.echo(text, nl=False)
        return
    path = file or places.config_files()[-1 if os.geteuid() == 0 else 0]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise click.ClickException(f"{path} exists already; it was left as it is") from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
    click.echo(str(path))
    render.say(f"Edit it, then: grid-offloader config check {path}")


@config_group.command()
@click.option("--targets", default="/etc/prometheus/grid-exporter.json", show_default=True, metavar="FILE",
              help="Where, for Prometheus, the output of `cluster targets` lies.")  # fmt: skip
@config_option
def prometheus(targets: str, config: Path | None) -> None:
    """Print what an existing Prometheus needs for this cluster: rules and scrape jobs, to merge into its file.

    On another machine it needs copies of these rule files. `cluster check` says whether data arrive.
    """
    from offloader.cluster.prometheus_files import prometheus_snippet
    from offloader.config.load import find_config, load_cluster

    click.echo(prometheus_snippet(load_cluster(find_config(config)), targets), nl=False)


_FOLDER = click.Path(path_type=Path, file_okay=False)


@config_group.command()
@click.option("--provisioning", default="/etc/grafana/provisioning", show_default=True, type=_FOLDER,
              help="Where Grafana looks for data sources and providers of dashboards.")  # fmt: skip
@click.option("--dashboards", default="/var/lib/grafana/dashboards/grid-offloader", show_default=True, type=_FOLDER,
              help="Where the dashboards go.")  # fmt: skip
@config_option
def grafana(provisioning: Path, dashboards: Path, config: Path | None) -> None:
    """Write what Grafana needs for this cluster: its Prometheus as data source, and the dashboards.

    Grafana takes them over when it starts; later changes of dashboards within a minute.
    """
    from offloader.config.grafana_files import grafana_files
    from offloader.config.load import find_config, load_cluster

    for path, text in grafana_files(load_cluster(find_config(config)), provisioning, dashboards.absolute()).items():
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"{path.parent} cannot be made: {error.strerror}") from error
        replace(path, text)


@config_group.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
@format_option
@click.pass_context
def check(ctx: click.Context, file: Path | None, config: Path | None, form: str) -> None:
    """Report everything that is wrong in the cluster file FILE, with line and column. Exit code 1 if anything is."""
    from offloader.config.load import check_cluster, find_config

    if file and config:
        raise click.UsageError("give the file once: as FILE or with --config")
    report = check_cluster(find_config(file or config))
    if form == "json":
        render.show_json(
            {
                "file": str(report.file),
                "problems": [problem.document() for problem in report.problems],
                "warnings": [warning.document() for warning in report.warnings],
            }
        )
    else:
        for problem in report.problems:
            click.echo(render.clean(str(problem)))
        for warning in report.warnings:
            render.say(f"warning: {render.clean(str(warning))}")
        if report.problems:
            render.say(f"{_count(report.problems, 'problem')} in {report.file}")
        elif report.cluster is not None:
            click.echo(f"{report.file}: fine, {_count(report.cluster.nodes, 'node')}")
    ctx.exit(1 if report.problems else 0)


@config_group.command()
@config_option
@format_option
def show(config: Path | None, form: str) -> None:
    """Show every value in force, defaults included, and where each comes from."""
    from offloader.config.load import check_cluster, find_config
    from offloader.config.problems import raise_for
    from offloader.config.show import effective, effective_document

    report = check_cluster(find_config(config))
    raise_for(report.problems)
    assert report.cluster is not None
    if form == "json":
        render.show_json(effective_document(report.cluster))
        return
    rows = effective(report.cluster, report.document)
    render.show_table([render.Column("KEY"), render.Column("VALUE"), render.Column("FROM", flex=True)], rows)


def _node(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=")
    return name, address or name


def _refuse_broken(text: str) -> None:
    """Names from the command line may make no valid file; better said now."""
    from offloader.config.document import parse_document
    from offloader.config.models import Cluster
    from offloader.config.validate import validate

    document = parse_document(text, "cluster.yaml")
    problems = (*document.problems, *validate(Cluster, document.value, document).problems)
    if problems:
        raise click.UsageError("; ".join(problem.message for problem in problems))


def _count(things: Any, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
