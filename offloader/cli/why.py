"""`grid-offloader why`: why something or nothing is moved, why a process is or is not, what became of a move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from offloader.cli import render, screens
from offloader.cli.render import Column
from offloader.cli.session import client, format_option, run
from offloader.errors import ControllerUnavailable

__all__ = ["why"]

Document = Mapping[str, Any]

_MARKS = {"ok": ("ok", "green"), "broken": ("BROKEN", "red"), "not_reached": ("-", "bright_black")}
_VERDICTS = {
    "moving": ("being moved", "cyan"),
    "moves": ("moved now", "green"),
    "would_move": ("would be moved", "yellow"),
    "owner_only": ("by its owner only", "yellow"),
    "not_now": ("not now", "yellow"),
    "blocked": ("not as it is", "red"),
    "never": ("never", "red"),
}
_SETTLED = ("never", "blocked", "moving")
"""Verdicts that leave open no choice: rules, costs and targets would only distract (JSON has them all the same)."""
_ABOUT_JOBS = ("candidates", "targets")
_SHOWN = 8
_COMMAND_LENGTH = 300
_PID_MAX = 2**22  # PID_MAX_LIMIT, include/linux/threads.h


@click.command()
@click.argument("subject", metavar="[PID|MOVE]", required=False)
@click.option(
    "--config",
    "-c",
    "config_file",
    type=click.Path(path_type=Path),
    envvar="GRID_OFFLOADER_CONFIG",
    help="Cluster configuration, for an answer without a running controller.",
)
@format_option
def why(*, subject: str | None, config_file: Path | None, form: str) -> None:
    """Say why something, or nothing, is moved; why a process is or is not; what became of a move.

    Alone: the chain from the data to the target, and its first broken link with the command that mends it.

    With a PID: whether its job is or could be moved, what every rule says of it, what a move would cost, where it could
    go, and the command to do it or to forbid it. With a MOVE (offload_1700000000_4242): what became of it, and why.

    Works without a running controller too. You are told about your own processes and moves; root and the admin group
    about everybody's. Exit code 0 whatever the answer is.

    \b
    Examples:
      grid-offloader why
      grid-offloader why 4242
      grid-offloader why --format json | jq -r .broken.command
    """
    document = run(_ask(_subject(subject), config_file))
    if not document["running"] and document["kind"] != "cluster":  # that one says so itself
        render.say("no controller is running; this is what one would see now")
    if form == "json":
        render.show_json(document)
    else:
        _SHOW[document["kind"]](document)


def _subject(text: str | None) -> int | str | None:
    """Digits are a pid, anything else names a move."""
    if text is None or not (text.isascii() and text.isdigit()):
        return text
    if not 0 < int(text[:20]) <= _PID_MAX:
        raise click.UsageError(f"{text:.20} is no process id: they go from 1 to {_PID_MAX}")
    return int(text)


async def _ask(subject: int | str | None, config_file: Path | None) -> dict[str, Any]:
    try:
        return await client().why(subject)
    except ControllerUnavailable:
        from offloader.daemon.standalone import why_without_controller

        return await why_without_controller(config_file, subject)


def _show_cluster(document: Document) -> None:
    broken = document["broken"]
    _say_first(document["sentence"], "red" if broken else "green")
    click.echo()
    for link in document["links"]:
        mark, colour = _MARKS[link["status"]]
        code = f"{link['reason']}: " if link["reason"] and link["status"] == "broken" else ""
        words = render.clean(f"{code}{link['seen']}".removesuffix(": "))
        label = render.style(mark.ljust(6), fg=colour, bold=link["status"] == "broken")
        render.show_hanging(f"  {link['name']:10}  {label}  ", words, used=22)
    if broken:
        _show_mending(broken["remedy"], broken["command"])
    if broken and broken["name"] in _ABOUT_JOBS:
        _show_candidates(document["candidates"])
    if document["rules"]:
        _title("RULES")
        screens.show_rules(document["rules"])


def _show_candidates(candidates: list[Document]) -> None:
    if not candidates:
        return
    _title("PASSED OVER, the largest first")
    columns = [Column("PID", right=True), Column("REASON"), Column("WHAT WAS SEEN", flex=True)]
    render.show_table(columns, [(str(one["pid"]), one["reason"], one["seen"]) for one in candidates[:_SHOWN]])
    if len(candidates) > _SHOWN:
        click.echo("  and more: grid-offloader scan --all")


def _show_process(document: Document) -> None:
    job, (words, colour) = document["job"], _VERDICTS[document["verdict"]]
    member = "" if document["pid"] == job["pid"] else f"process {document['pid']} is a part of it; "
    count = f"{job['processes']} processes" if job["processes"] > 1 else "1 process"
    use = f"{render.cores(job['usage']['cores'])} cores, {render.size(job['usage']['memory_bytes'])}"
    verdict = render.style(words, fg=colour, bold=True)
    render.show_pairs(
        [
            ("job", render.clean(f"{job['name']} (pid {job['pid']}, {job['user']}) on {job['node']}")),
            ("", f"{member}{count}, {use}, {render.seconds(job['age_s'])} old, class {job['class']}"),
            *([("command", _cut(render.clean(" ".join(job["argv"]))))] if job["argv"] else []),
            ("moved", f"{verdict}  {document['reason'] or ''}".rstrip()),
            ("", render.clean(document["sentence"])),
            *([("", f"-> {render.clean(document['remedy'])}")] if _mends(document["remedy"]) else []),
        ]
    )
    _show_more_obstacles(document)
    if document["verdict"] not in _SETTLED:
        _show_rule_answers(document["rules"])
        _show_ways(document)
        _show_targets(document["targets"])
    if document["verdict"] != "never":
        _show_commands(document["commands"])


def _show_more_obstacles(document: Document) -> None:
    job = document["job"]
    more = [one for one in (*job["obstacles"], *job["owner_only"]) if one["reason"] != document["reason"]]
    if more:
        _title("ALSO IN THE WAY")
        render.show_pairs([(one["reason"], render.clean(one["seen"])) for one in more], indent="  ")


def _show_rule_answers(rules: list[Document]) -> None:
    if not rules:
        return
    _title("RULES")
    columns = [
        Column("RULE", flex=True),
        Column("STATE"),
        Column("VALUE", right=True),
        Column("AGE", right=True, spare=True),
        Column("LIMIT", right=True),
        Column("RELIEF", right=True, spare=True),
        Column("ACTS"),
        Column("TAKES IT"),
    ]
    rows = [
        (
            rule["rule"],
            rule["state"],
            render.percent(rule["value"]),
            render.seconds(rule["age_s"]),
            render.percent(rule["threshold"]),
            render.percent(rule["relief"]),
            "now" if rule["decision"] == "move" else rule["reason"] or "no",
            f"no, {rule['against']['reason']}" if rule["against"] else "yes",
        )
        for rule in rules
    ]
    render.show_table(columns, rows)


def _show_ways(document: Document) -> None:
    if not document["ways"]:
        return
    _title("WHAT A MOVE COSTS ITS OWNER")
    for way in document["ways"]:
        cost = f"{render.seconds(way['work_lost_s'])} of work lost, stands still for {render.seconds(way['stop_s'])}"
        blocked = f"; not possible: {way['blocked']['seen']}" if way["blocked"] else ""
        render.show_hanging(f"  {way['strategy']:10}  ", render.clean(cost + blocked), used=14)
    relief = ", ".join(f"{name} {render.percent(ratio)}" for name, ratio in document["relieves"].items())
    click.echo(f"  {'relieves':10}  {relief or 'nothing that can be measured'} of the head")


def _show_targets(targets: list[Document]) -> None:
    if not targets:
        return
    _title("WHERE IT COULD GO: pressure now -> with it (what it must stay below)")
    columns = [
        Column("NODE"),
        Column("FITS"),
        Column("CPU"),
        Column("MEMORY"),
        Column("GPU"),
    ]
    rows = [
        (
            target["node"],
            "yes" if target["fits"] else "no",
            *(_expected(target["expected"].get(name)) for name in ("cpu", "memory", "gpu")),
        )
        for target in targets
    ]
    render.show_table(columns, rows, colours={"yes": "green", "no": "red"})
    for target in targets:
        if target["obstacles"]:
            seen = "; ".join(obstacle["seen"] for obstacle in target["obstacles"])
            render.show_hanging(f"  not {target['node']}: ", render.clean(seen), used=len(target["node"]) + 8)


def _expected(one: Document | None) -> str:
    if one is None:
        return "-"
    return f"{render.percent(one['now'])} -> {render.percent(one['predicted'])} (< {render.percent(one['limit'])})"


_COMMAND_WORDS = {
    "plan": "to see the plan",
    "move": "to move it",
    "keep": "to keep it here for a while",
    "forbid": "to forbid it from the start",
}


def _show_commands(commands: Mapping[str, str]) -> None:
    _title("WHAT TO TYPE")
    render.show_pairs([(words, commands[key]) for key, words in _COMMAND_WORDS.items() if key in commands], indent="  ")


def _show_move(document: Document) -> None:
    from offloader.cli.status import show_move

    _say_first(document["sentence"], "yellow" if document["reason"] else "green")
    if _mends(document["remedy"]):
        _show_mending(document["remedy"], None)
    click.echo()
    show_move(document["move"])


_SHOW: Mapping[str, Callable[[Document], None]] = {
    "cluster": _show_cluster,
    "process": _show_process,
    "move": _show_move,
}


def _say_first(sentence: str, colour: str) -> None:
    render.show_hanging("", render.clean(sentence), used=0, fg=colour, bold=True)


def _show_mending(remedy: str, command: str | None) -> None:
    if remedy or command:
        _title("WHAT TO DO")
    words = remedy.removesuffix(f"`{command}`").rstrip(" :") if command else remedy
    if words:
        render.show_hanging("  ", render.clean(words), used=2)
    if command:
        click.echo(f"    {render.style(render.clean(command), bold=True)}")


def _cut(text: str) -> str:
    return text if len(text) <= _COMMAND_LENGTH else f"{text[:_COMMAND_LENGTH]}..."


def _mends(remedy: str) -> bool:
    return bool(remedy) and not remedy.startswith("nothing")


def _title(text: str) -> None:
    click.echo()
    click.echo(render.style(text, bold=True))
