"""`grid-offloader status`: the one screen an operator needs, or one move in full."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from offloader.cli import receipts, render, screens
from offloader.cli.mine import show_mine
from offloader.cli.render import Column
from offloader.cli.session import client, format_option, is_move, run
from offloader.client import Client

__all__ = ["show", "show_move", "status"]

Document = Mapping[str, Any]

_BAR = 30


@click.command()
@click.argument("move_id", metavar="[ID]", required=False)
@click.option("--mine", is_flag=True, help="What happened to your own jobs, where they are, and what you can do.")
@format_option
def status(*, move_id: str | None, mine: bool, form: str) -> None:
    """Show how everything stands; with ID, one move (offload_1700000000_4242) with its timeline or one job of `run`.

    One screen: whether anything moves by itself, how old the data is, the head's pressure against the thresholds,
    what would happen next or why nothing does, workers, moves, and problems with the command that mends each.
    """
    if mine and move_id:
        raise click.UsageError("give ID or --mine, not both")
    controller = client()
    document = run(_asked(controller, move_id, mine=mine))
    if form == "json":
        render.show_json(document)
    elif mine:
        show_mine(document)
    elif move_id:
        (show_move if is_move(move_id) else show_job)(document)
    else:
        show(document)


def show(document: Document) -> None:
    """The screen."""
    _show_top(document)
    _show_head(document["head"])
    if document["rules"]:
        _title("RULES")
        screens.show_rules(document["rules"])
    _show_workers(document["workers"])
    if document["proposals"]:
        _title("WAITING FOR AN ANSWER")
        screens.show_proposals(document["proposals"])
    if document["notices"]:
        _title("NOTICES")
        screens.show_notices(document["notices"])
    if document["jobs"]:
        _title("JOBS OF RUN")
        screens.show_jobs(document["jobs"])
    moves = [*document["moves_in_flight"], *document["moves_recent"]]
    if moves:
        _title("MOVES")
        screens.show_moves(moves)
    _show_problems(document["problems"])


def _show_top(document: Document) -> None:
    data = document["data"]
    age = "no data yet" if data["age_s"] is None else f"{render.seconds(data['age_s'])} old"
    checked = f"checked {render.seconds(time.time() - data['tick_t'])} ago" if data["tick_t"] else "not checked yet"
    render.show_pairs(
        [
            ("automatic moves", screens.ceiling_words(document)),
            ("data", f"{age}, {checked}, every {render.seconds(data['interval_s'])}"),
            ("next", render.clean(document["next"]["text"])),
            *_mending(document["next"]),
            ("last decision", screens.decision_words(document["last_decision"])),
        ]
    )


def _mending(following: Document) -> list[tuple[str, str]]:
    """The lines that say what to do, where there is something to do."""
    remedy, command = following["remedy"], following["command"]
    if not remedy or remedy.startswith("nothing"):
        return []
    shown = [("", f"-> {render.clean(remedy)}")]
    return [*shown, ("", f"   {render.clean(command)}")] if command and command not in remedy else shown


def _show_head(head: Document) -> None:
    _title(f"HEAD {head['name']}")
    for resource, reading in head["pressure"].items():
        click.echo(f"  {resource:7} {_bar(reading)}  {_pressure_words(reading)}")


def _bar(reading: Document) -> str:
    """Filled up to the value, with a mark at the threshold."""
    value, threshold = reading["value"], reading["threshold"]
    filled = 0 if value is None else min(_BAR, round(value * _BAR))
    cells = ["#"] * filled + ["-"] * (_BAR - filled)
    if threshold is not None:
        cells[min(_BAR - 1, int(threshold * _BAR))] = "|"
    over = value is not None and threshold is not None and value >= threshold
    return "[" + render.style("".join(cells), fg="red" if over else "green" if value is not None else None) + "]"


def _pressure_words(reading: Document) -> str:
    limits = f"of {render.percent(reading['threshold'])}" if reading["threshold"] is not None else "no rule"
    if reading["value"] is None:
        why = f": {reading['detail']}" if reading["detail"] else ""
        return render.clean(f"{limits}  unknown, {reading['problem']}{why}")
    relief = f", relief {render.percent(reading['relief'])}" if reading["relief"] is not None else ""
    return f"{render.percent(reading['value']):>5} {limits}{relief}"


def _show_workers(workers: list[Document]) -> None:
    _title("WORKERS")
    columns = [
        Column("NODE"),
        Column("STATE"),
        Column("CPU", right=True),
        Column("MEM", right=True),
        Column("GPU", right=True),
        Column("OFFERS"),
        Column("TAKEN"),
        Column("WHY NOT", flex=True),
    ]
    rows = [
        (
            worker["name"],
            "draining" if worker["draining"] else "up" if worker["up"] else "down",
            *(render.percent((worker["pressure"].get(name) or {}).get("value")) for name in ("cpu", "memory", "gpu")),
            _capacity_words(worker["offer"]),
            _capacity_words(worker["reserved"]),
            worker["offer_reason"],
        )
        for worker in workers
    ]
    render.show_table(columns, rows, colours={"up": "green", "down": "red", "draining": "yellow"})


def _capacity_words(capacity: Document | None) -> str:
    if not capacity or not any(capacity.values()):
        return "-"
    gpus = f", {capacity['gpus']} GPU" if capacity["gpus"] else ""
    return f"{render.cores(capacity['cores'])} cores, {render.size(capacity['memory_bytes'])}{gpus}"


def _show_problems(problems: list[Document]) -> None:
    if not problems:
        return
    _title("PROBLEMS")
    for problem in problems:
        mark = render.style("!", fg="red", bold=True)
        click.echo(f"{mark} {render.clean(problem['text'])}")
        if problem["command"]:
            click.echo(f"    {render.style(render.clean(problem['command']), bold=True)}")


async def _asked(controller: Client, name: str | None, *, mine: bool) -> Document:
    if mine:
        return await controller.mine()
    if name is None:
        return await controller.status()
    return await (controller.show(name) if is_move(name) else controller.job(name))


def show_job(job: Document) -> None:
    """One job in full."""
    render.show_pairs(
        [
            ("job", f"{job['id']}  {job['state']}"),
            ("what", screens.job_words(job)),
            ("moved by", job["move"] or "-"),
            ("result", screens.job_outcome(job) or "-"),
            ("if its node dies", "it starts again" if job["restart_safe"] else "it is lost"),
            ("said", render.clean(job["detail"]) or "-"),
        ]
    )
    _show_attempts(job["attempts"])


def show_move(move: Document) -> None:
    """One move in full."""
    render.show_pairs(
        [
            ("move", f"{move['id']}  {screens.state_style(move['state'])}"),
            ("what", screens.move_words(move)),
            ("job", f"{move['job']}  {move['job_state'] or ''}"),
            ("how", f"{move['strategy']} by {move['backend']}, submission {move['submission_id'] or '-'}"),
            ("asked by", screens.asked_words(move)),
            ("stopped for", render.seconds(move["downtime_s"])),
            ("result", screens.outcome_words(move) or "-"),
            ("reason", render.clean(f"{move['reason'] or '-'} {move['detail']}")),
        ]
    )
    click.echo()
    steps = move.get("timeline", ())
    told = ""
    for step in steps:
        why = render.clean(" ".join(filter(None, (step["reason"], step["detail"]))))
        words, told = ("" if why == told else why), why
        click.echo(f"{step['t'] - steps[0]['t']:8.2f} s  {screens.state_style(step['event'])}  {words}".rstrip())
    if move.get("receipt"):
        _title("RECEIPT")
        receipts.show_receipt(move["receipt"])
    _show_attempts(move.get("attempts", ()))


def _show_attempts(attempts: Sequence[Document]) -> None:
    if attempts:
        click.echo()
        columns = [Column("ATTEMPT"), Column("NODE"), Column("PID", right=True), Column("STATE"), Column("SUBMISSION")]
        render.show_table(
            columns,
            [
                (str(a["epoch"]), a["node"], str(a["pid"] or "-"), a["state"], a["submission_id"] or "-")
                for a in attempts
            ],
        )


def _title(text: str) -> None:
    click.echo()
    click.echo(render.style(text, bold=True))
