"""The pieces that several commands show: moves, rules, decisions, in words and tables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from offloader.cli import render
from offloader.cli.render import Column

__all__ = [
    "asked_words",
    "ceiling_words",
    "decision_words",
    "job_outcome",
    "job_words",
    "move_words",
    "outcome_words",
    "show_jobs",
    "show_keeps",
    "show_moves",
    "show_notices",
    "show_proposals",
    "show_rules",
    "state_style",
    "threshold_words",
    "when",
]

Document = Mapping[str, Any]

_COLOURS = {
    "firing": "red",
    "relieving": "yellow",
    "pending": "yellow",
    "cooling": "cyan",
    "done": "green",
    "rolled_back": "yellow",
    "lost": "red",
}
_SHOWN_AS = {"go": "launched", "ended": "committed", "rolled_back": "rolled back", "rolling_back": "rolling back"}


def ceiling_words(document: Document) -> str:
    """Whether anything moves by itself."""
    if document["kill_switch"]:
        return render.style("STOPPED by the kill-switch", fg="red", bold=True) + ": nothing moves, by hand neither"
    ceiling = document["ceiling"]
    if ceiling is None:
        return "not known"
    words = {
        "observe": ("off", "observing only"),
        "advise": ("advise", "says what it would move, moves nothing"),
        "approve": ("approve", "asks before it moves"),
        "auto": ("on", "rules move what they choose"),
    }
    state, meaning = words[ceiling]
    return f"{render.style(state, bold=True, fg='green' if ceiling == 'auto' else None)}: {meaning} (ceiling {ceiling})"


def threshold_words(thresholds: Mapping[str, float]) -> str:
    """`cpu 80 %   memory 65 %`."""
    return "   ".join(f"{name} {render.percent(ratio)}" for name, ratio in thresholds.items()) or "as in the rules"


def decision_words(decision: Document | None) -> str:
    """One sentence: what was decided, about what, why."""
    if decision is None:
        return "none yet"
    when = f"{render.seconds(time.time() - decision['t'])} ago"
    where = f" to {decision['target']}" if decision["target"] else ""
    what = f" {decision['name']} (pid {decision['pid']}, {decision['user']})" if decision["pid"] else ""
    kinds = {"move": "move", "would_move": "would move", "refused": "nothing"}
    why = f": {decision['reason']}" if decision["reason"] else ""
    detail = f" ({decision['detail']})" if decision["detail"] else ""
    return render.clean(f"{kinds[decision['kind']]}{what}{where} by {decision['rule']}{why}{detail}, {when}")


def show_rules(rules: Iterable[Document]) -> None:
    """A line per rule and node."""
    columns = [
        Column("RULE", flex=True),
        Column("STATE"),
        Column("FOR", right=True),
        Column("VALUE", right=True),
        Column("LIMIT", right=True),
        Column("MODE"),
        Column("WHY NOT", flex=True),
    ]
    rows = [
        (
            rule["key"],
            rule["state"],
            _since(rule["since_t"]),
            render.percent(rule["value"]),
            render.percent(rule["threshold"]),
            rule["mode"] or "-",
            "" if rule["reason"] in (None, "RULE_FALSE") else rule["reason"],
        )
        for rule in rules
    ]
    render.show_table(columns, rows, colours=_COLOURS)


def show_moves(moves: Sequence[Document], *, indent: str = "") -> None:
    """A line per move."""
    columns = [
        Column("MOVE"),
        Column("STATE"),
        Column("WHAT", flex=True),
        Column("USER", flex=True),
        Column("TO"),
        Column("AGE", right=True),
        Column("RESULT", flex=True),
    ]
    rows = [
        (
            move["id"],
            state_words(move["state"]),
            move["name"] or f"pid {move['pid']}",
            move["user"] or str(move["uid"]),
            move["target"],
            _since(move["created_t"]),
            outcome_words(move),
        )
        for move in moves
    ]
    render.show_table(columns, rows, indent=indent, colours=_COLOURS)


def show_jobs(jobs: Sequence[Document], *, indent: str = "") -> None:
    """A line per job of `run`."""
    columns = [
        Column("JOB"),
        Column("STATE"),
        Column("WHAT", flex=True),
        Column("USER", flex=True),
        Column("ON"),
        Column("AGE", right=True),
        Column("RESULT", flex=True),
    ]
    rows = [
        (
            job["id"],
            "waiting" if job["waiting"] and job["state"] == "running" else job["state"],
            job["name"],
            job["user"],
            job["node"] or "-",
            _since(job["created_t"]),
            job_outcome(job),
        )
        for job in jobs
    ]
    render.show_table(columns, rows, indent=indent, colours=_COLOURS)


def job_words(job: Document) -> str:
    """`train.py of alice on gpu1`."""
    return render.clean(f"{job['name']} of {job['user']} on {job['node'] or 'no node yet'}")


def job_outcome(job: Document) -> str:
    """How it ended, as far as it did."""
    if job["exit_code"] is not None:
        return f"exit {job['exit_code']}"
    return f"signal {job['signal']}" if job["signal"] is not None else ""


def show_notices(notices: Iterable[Document], *, indent: str = "") -> None:
    """A line per job whose owner was told that it is going to be moved."""
    columns = [
        Column("PID", right=True),
        Column("WHAT", flex=True),
        Column("USER", flex=True),
        Column("TO"),
        Column("RULE", flex=True),
        Column("NOT BEFORE", right=True),
        Column("TO OBJECT"),
    ]
    rows = [
        (
            str(one["pid"]),
            one["name"],
            one["user"],
            one["target"],
            one["rule"],
            f"in {render.seconds(one['left_s'])}",
            f"grid-offloader keep {one['pid']}",
        )
        for one in notices
    ]
    render.show_table(columns, rows, indent=indent)


def show_proposals(proposals: Iterable[Document], *, indent: str = "") -> None:
    """A line per planned move that waits for somebody's word."""
    columns = [
        Column("PID", right=True),
        Column("WHAT", flex=True),
        Column("USER", flex=True),
        Column("TO"),
        Column("BY"),
        Column("LOSES", right=True, spare=True),
        Column("RULE", flex=True, spare=True),
        Column("WHY ASKED", spare=True),
        Column("EXPIRES", right=True),
        Column("TO AGREE"),
    ]
    rows = [
        (
            str(one["pid"]),
            one["name"],
            one["user"],
            one["target"],
            one["strategy"],
            render.seconds(one["loses_s"]) if one["loses_s"] else "-",
            one["rule"],
            one["reason"],
            f"in {render.seconds(max(0.0, one['expires_t'] - time.time()))}",
            "agreed" if one["approved_by"] is not None else f"grid-offloader approve {one['pid']}",
        )
        for one in proposals
    ]
    render.show_table(columns, rows, indent=indent)


def show_keeps(keeps: Sequence[Document]) -> None:
    """A line per kept job."""
    columns = [
        Column("KEEP"),
        Column("PID", right=True),
        Column("NAME", flex=True),
        Column("USER", flex=True),
        Column("UNTIL"),
        Column("LEFT", right=True),
    ]
    rows = [
        (
            one["id"],
            str(one["pid"]),
            one["name"],
            one["user"],
            when(one["until_t"]),
            render.seconds(one["until_t"] - time.time()),
        )
        for one in keeps
    ]
    render.show_table(columns, rows)


def when(t: float) -> str:
    """Date and time, here."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(t))


def state_words(state: str) -> str:
    """A move's state as people call it."""
    return _SHOWN_AS.get(state, state)


def state_style(state: str) -> str:
    """The same, coloured."""
    return render.style(state_words(state), fg=_COLOURS.get(state))


def outcome_words(move: Document) -> str:
    """How it ended, or why it did not go on."""
    if move["state"] in ("rolled_back", "lost", "rolling_back"):
        return str(move["reason"] or "")
    if move["exit_code"] is not None:
        return f"exit {move['exit_code']}"
    if move["signal"] is not None:
        return f"signal {move['signal']}"
    return str(move["job_state"] or "") if move["state"] == "done" else ""


def asked_words(move: Document) -> str:
    """Who wanted it."""
    if not move["automatic"]:
        return f"uid {move['requested_by']}"
    agreed = f", uid {move['approved_by']} agreed" if move["approved_by"] is not None else ""
    return f"rule {move['rule']}{agreed}"


def move_words(move: Document) -> str:
    """`train.py (pid 4242, alice) gpu-master → gpu1`, in ASCII."""
    name = move["name"] or "?"
    return render.clean(f"{name} (pid {move['pid']}, {move['user']}) {move['source']} -> {move['target']}")


def _since(t: float | None) -> str:
    return "-" if not t else render.seconds(time.time() - t)
