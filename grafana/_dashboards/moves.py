"""*Moves*: those under way, those that ended with their receipts, and why others were not made."""

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders

from _dashboards.frame import framed
from _dashboards.panels import bars, level, lines, number, steps
from _dashboards.promql import or_none, or_zero, ours
from _dashboards.tables import Column, rows
from _dashboards.work_tables import ended, in_flight

__all__ = ["dashboard"]

SINCE_START = "Since the controller's start."


def dashboard() -> builders.Dashboard:
    """Hand-overs from one node to another."""
    return framed(
        "grid-moves",
        "Grid: moves",
        "Every hand-over of work: under way, done with what it was worth and what it cost, failed, or refused and why.",
        [
            ("Now", [*_counts(), in_flight()]),
            ("History", [_outcomes(), _under_way(), ended(receipts=True)]),
            ("Reasons", [_refusals(), _decisions(), _failures()]),
            ("Cost", [_duration(), _downtime(), _states(), _lost(), _corrections()]),
        ],
        since="24h",
    )


def _counts() -> list[stat.Panel]:
    started = f"sum(increase({ours('moves_started_total')}[$__range]))"
    lost = ours("receipt_work_lost_seconds", 'kind=~"seen|at_most"')
    return [
        number("In flight", "Hand-overs under way.", "none", (f"sum({ours('moves_in_flight')})", "")),
        _count("Frozen", "Moves whose original stands still.", f"sum({ours('moves_in_flight', _STILL)})"),
        _count("Begun", "Within the time shown.", started),
        _count("Done", "Within the time shown.", _ended("done")),
        _count("Rolled back", "The work goes on where it was.", _ended("rolled_back")).thresholds(
            steps("green", (1, "orange"))
        ),
        _count("Lost", "The work runs nowhere, as far as is known.", _ended("lost")).thresholds(
            steps("green", (1, "red"))
        ),
        number(
            "Work lost",
            "By the moves of the last day, as far as it is known.",
            "s",
            (or_zero(f"sum(last_over_time({lost}[$__range]))"), ""),
        ),
        _count("Refusals", "Decisions of rules not to move anything.", f"sum(increase({_REFUSED}[$__range]))"),
    ]


_STILL = 'state=~"frozen|saved|go|proven|owning"'
_REFUSED = ours("decisions_total", 'kind="refused"')
_FAILED = ours("moves_total", 'outcome!="done"')


def _count(title: str, text: str, expr: str) -> stat.Panel:
    return number(title, text, "none", (expr, "")).decimals(0)


def _ended(outcome: str) -> str:
    matcher = f'outcome="{outcome}"'
    return f"sum(increase({ours('move_seconds_count', matcher)}[$__range]))"


def _outcomes() -> timeseries.Panel:
    each = f"sum by (outcome) (increase({ours('move_seconds_count')}[$__interval]))"
    return bars("Moves that ended", "By what came out of them.", "none", (each, "{{outcome}}")).decimals(0)


def _under_way() -> timeseries.Panel:
    moves = ours("moves_in_flight")
    none = f'label_replace(sum({moves}) == 0, "state", "none", "", "")'
    each = f"sum by (state) ({moves}) > 0 or {none}"
    return lines("Moves under way", "By the state of their hand-off.", "none", (each, "{{state}}"), stacked=True)


def _refusals() -> timeseries.Panel:
    each = f"sum by (reason) (rate({_REFUSED}[$__rate_interval]))"
    text = "Why rules moved nothing, one reason per rule and tick. docs/reasons.md: what each means, and what mends it."
    return lines("Refusals", text, "cps", (each, "{{reason}}"), width=24, stacked=True)


def _decisions() -> table.Panel:
    counted = f"round(sum by (rule, kind, reason) (increase({ours('decisions_total')}[$__range])))"
    return rows(
        "Decisions",
        "Of each rule within the time shown, one per tick: what it did, would have done, or why it did nothing.",
        {counted: Column("ticks", "none")},
        labels=("rule", "kind", "reason"),
        sort="ticks",
        width=12,
    )


def _failures() -> table.Panel:
    return rows(
        "Moves that failed",
        f"By reason. {SINCE_START}",
        {f"sum by (outcome, reason, strategy, automatic) ({_FAILED})": Column("moves", "none")},
        labels=("outcome", "reason", "strategy", "automatic"),
        sort="moves",
        width=12,
    )


def _duration() -> bargauge.Panel:
    spent = ours("move_seconds_bucket", 'outcome="done"')
    half, most = (f"histogram_quantile({q}, sum by (le) ({spent}))" for q in (0.5, 0.9))
    text = f"From planned to done: half of the moves took at most so long, and nine of ten. {SINCE_START}"
    return level("Duration", text, "s", (half, "half"), (most, "nine of ten"), width=8)


def _downtime() -> bargauge.Panel:
    still = f"histogram_quantile(0.9, sum by (strategy, le) ({ours('move_downtime_seconds_bucket')}))"
    text = f"How long the work of nine of ten moves stood still at most, by strategy. {SINCE_START}"
    return level("Standing still", text, "s", (still, "{{strategy}}"), width=8)


def _states() -> bargauge.Panel:
    spent, moves = (f"sum by (state) ({ours(f'move_state_seconds_{part}')})" for part in ("sum", "count"))
    text = f"How long moves are in each state of the hand-off, on average. {SINCE_START}"
    return level("States", text, "s", (f"{spent} / {moves}", "{{state}}"), width=8)


def _lost() -> timeseries.Panel:
    seen = ours("receipt_work_lost_seconds", 'kind=~"seen|at_most"')
    expected = ours("receipt_work_lost_seconds", 'kind="expected"')
    return lines(
        "Work lost",
        "By the moves of the last day together: as it came out, and as it was expected when they were decided.",
        "s",
        (or_zero(f"sum({seen})"), "lost"),
        (or_zero(f"sum({expected})"), "expected"),
    )


def _corrections() -> timeseries.Panel:
    known = ours("estimate_correction_ratio")
    return lines(
        "Corrections",
        "What estimates are multiplied by, as earlier moves came out; 1 while there are too few.",
        "none",
        (
            or_none(f"max by (strategy, figure) ({known})", 1, strategy="any", figure="figure"),
            "{{strategy}}: {{figure}}",
        ),
    )
