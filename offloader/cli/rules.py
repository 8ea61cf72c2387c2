"""`grid-offloader rules`: check and list offload rules."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from offloader.cli import render
from offloader.cli.config import config_option
from offloader.cli.session import format_option

if TYPE_CHECKING:
    from offloader.config.models import Cluster
    from offloader.config.promql import PromqlError, SyntaxCheck
    from offloader.config.rules import RuleReport
    from offloader.model import Rule

__all__ = ["rules_group"]

_PROMTOOL_TIMEOUT_S = 20.0


@click.group()
def rules_group() -> None:
    """Check and list offload rules."""


@rules_group.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--scrape-interval", metavar="DURATION", help="Of Prometheus.  [default: the cluster file's, else 5s]")
@config_option
@format_option
@click.pass_context
def check(
    ctx: click.Context, files: tuple[Path, ...], scrape_interval: str | None, config: Path | None, form: str
) -> None:
    """Report everything that is wrong in rule FILES, with line and column. Exit code 1 if anything is.

    Without FILES: those of the cluster file, else the shipped ones. Where promtool is installed, Prometheus' own
    parser is asked too.
    """
    report = _report(files, scrape_interval, config)
    if form == "json":
        render.show_json(
            {
                "problems": [problem.document() for problem in report.problems],
                "warnings": list(report.warnings),
                "rules": len(report.rules),
            }
        )
    else:
        for problem in report.problems:
            click.echo(render.clean(str(problem)))
        for warning in report.warnings:
            render.say(f"warning: {render.clean(warning)}")
        if report.problems:
            render.say(f"{len(report.problems)} problem{'' if len(report.problems) == 1 else 's'}")
        else:
            click.echo(f"fine, {len(report.rules)} rule{'' if len(report.rules) == 1 else 's'}")
    ctx.exit(1 if report.problems else 0)


@rules_group.command(name="list")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@config_option
@format_option
def list_rules(files: tuple[Path, ...], config: Path | None, form: str) -> None:
    """List offload rules with everything that they inherit."""
    from offloader.config.problems import raise_for

    report = _report(files, None, config)
    raise_for(report.problems)
    if form == "json":
        render.show_json([_document(rule) for rule in report.rules])
        return
    columns = [render.Column("RULE"), render.Column("RESOURCE"), *(render.Column(t, right=True) for t in _NUMBERS)]
    columns += [render.Column("MODE"), render.Column("EXPR", flex=True)]
    render.show_table(columns, [_row(rule) for rule in report.rules])


_NUMBERS = ("THRESHOLD", "RELIEF", "FOR", "COOLDOWN")


def _row(rule: Rule) -> list[str]:
    durations = [render.seconds(rule.for_s), render.seconds(rule.cooldown_s)]
    ratios = [render.percent(rule.threshold), render.percent(rule.relief)]
    return [rule.name, rule.resource, *ratios, *durations, rule.mode or "as allowed", " ".join(rule.expr.split())]


def _document(rule: Rule) -> dict[str, object]:
    """A rule as JSON: numbers in the units of their names, `_s` seconds, otherwise ratios."""
    from dataclasses import asdict

    return asdict(rule)


def _report(files: Sequence[Path], scrape_interval: str | None, config: Path | None) -> RuleReport:
    """Against the cluster file where there is one, else against the defaults."""
    from dataclasses import replace

    from offloader.config.load import recording_files, rule_files
    from offloader.config.rule_defaults import RuleDefaults
    from offloader.config.rules import check_rules
    from offloader.config.ruleset import rule_defaults
    from offloader.config.shipped import offload_rules, prometheus_rules

    cluster, base = _cluster(config)
    if cluster is None:
        defaults = RuleDefaults()
        paths, recorded = offload_rules(), prometheus_rules()
    else:
        defaults = rule_defaults(cluster)
        paths, recorded = rule_files(cluster, base), recording_files(cluster, base)
    if scrape_interval is not None:
        defaults = replace(defaults, scrape_interval_s=_duration(scrape_interval))
    return check_rules(files or paths, defaults, recording_files=recorded, syntax=_promtool_check())


def _cluster(config: Path | None) -> tuple[Cluster | None, Path]:
    from offloader import places
    from offloader.config.load import find_config, load_cluster

    if config is None and not any(path.exists() for path in places.config_files()):
        return None, Path()
    path = find_config(config)
    return load_cluster(path), path.parent


def _duration(text: str) -> float:
    from offloader.config.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--scrape-interval") from error


def _promtool_check() -> SyntaxCheck | None:
    """Prometheus' own parser, where promtool is installed: its messages say where in an expression the error is."""
    from offloader.config.shipped import shipped

    fetched = shipped(".cache", "debian", "usr", "bin", "promtool")  # by deploy/setup, in a checkout
    program = shutil.which("promtool") or (str(fetched) if fetched.is_file() else None)
    return partial(_ask_promtool, program) if program is not None else None


def _ask_promtool(program: str, expressions: Sequence[str]) -> Mapping[int, PromqlError]:
    """Its complaints; none where it does not answer: our own parser has its say in any case."""
    from offloader.adapters.commands import LocalHost
    from offloader.config.promtool import check_argv, errors_in, rule_file
    from offloader.errors import NodeUnreachable

    with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as file:
        file.write(rule_file(expressions))
        file.flush()
        work = LocalHost("local").run(check_argv(program, file.name), timeout_s=_PROMTOOL_TIMEOUT_S)
        try:
            done = asyncio.run(work)
        except NodeUnreachable as error:
            render.say(f"warning: promtool was not asked: {error}")
            return {}
    return errors_in((done.stdout + done.stderr).decode("utf-8", "replace"))
