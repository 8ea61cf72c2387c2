"""Every metric of the controller, declared once: exposition and docs/controller_metrics.md are made from this table."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from offloader.config.series import SHARING_THRESHOLD

__all__ = ["METRICS", "PREFIX", "Declared"]

PREFIX: Final = "grid_offloader_"


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric: the name as exposed (counters with `_total`), its unit and meaning.

    `example` is PromQL that answers a question with it.
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    unit: str
    labels: tuple[str, ...]
    help: str
    example: str = ""

    @property
    def family(self) -> str:
        """The name as prometheus_client wants it."""
        return self.name.removesuffix("_total")


def _gauge(name: str, unit: str, labels: tuple[str, ...], text: str, example: str = "") -> Declared:
    return Declared(f"{PREFIX}{name}", "gauge", unit, labels, text, example)


def _counter(name: str, labels: tuple[str, ...], text: str, example: str = "") -> Declared:
    return Declared(f"{PREFIX}{name}_total", "counter", name.rpartition("_")[0] or name, labels, text, example)


def _histogram(name: str, labels: tuple[str, ...], text: str, example: str = "", *, unit: str = "seconds") -> Declared:
    return Declared(f"{PREFIX}{name}", "histogram", unit, labels, text, example)


_MOVE: Final = ("move", "pid", "name", "user", "source", "target", "strategy", "automatic", "rule")

_ALL: Final = (
    _gauge("build_info", "none", ("version",), "Always 1: the version of the controller."),
    _gauge(
        "page_info",
        "none",
        ("page", "url"),
        "Always 1: where people find the status page (page=status) and Ray's dashboard (page=ray).",
    ),
    _gauge(
        "ceiling",
        "boolean",
        ("mode",),
        "1 for the highest mode that rules may use.",
        'grid_offloader_ceiling{mode="auto"}',
    ),
    _gauge("kill_switch", "boolean", (), "1 while the file `disabled` stops every move."),
    _gauge("proposals", "moves", (), "Planned moves that wait for somebody to agree (mode approve)."),
    Declared(f"{PREFIX}ticks_total", "counter", "ticks", (), "Ticks that were carried out."),
    Declared(
        f"{PREFIX}ticks_missed_total", "counter", "ticks", (), "Ticks whose time passed while another one still ran."
    ),
    Declared(
        f"{PREFIX}ticks_failed_total",
        "counter",
        "ticks",
        (),
        "Ticks that ended with an error of our own.",
        "increase(grid_offloader_ticks_failed_total[10m]) > 0",
    ),
    _gauge(
        "last_tick_timestamp_seconds",
        "seconds since the epoch",
        (),
        "When the last tick ended.",
        "time() - grid_offloader_last_tick_timestamp_seconds > 60",
    ),
    _gauge("config_last_reload_successful", "boolean", (), "0 after a refused reload."),
    _gauge("journal_degraded", "boolean", (), "1 while the journal cannot be written."),
    _gauge("threshold_ratio", "ratio 0-1", ("rule", "resource"), "Pressure that triggers the rule."),
    _gauge("relief_ratio", "ratio 0-1", ("rule", "resource"), "Pressure at which the rule stops moving."),
    _gauge(
        "moves_in_flight",
        "moves",
        ("state",),
        "Moves by the state of their hand-off.",
        "sum(grid_offloader_moves_in_flight)",
    ),
    _gauge(
        "move_start_timestamp_seconds",
        "seconds since the epoch",
        _MOVE,
        "When a move was planned: of those in flight, and of the newest 50 that ended within the last day.",
        "time() - grid_offloader_move_start_timestamp_seconds * on (move) group_left (state) grid_offloader_move_state",
    ),
    _gauge("move_state", "boolean", ("move", "state"), "1 for the state that such a move is in."),
    _gauge(
        "move_end_timestamp_seconds",
        "seconds since the epoch",
        (*_MOVE, "outcome"),
        "When such a move ended.",
        "count by (outcome) (last_over_time(grid_offloader_move_end_timestamp_seconds[1d]))",
    ),
    _gauge(
        "receipt_downtime_seconds",
        "seconds",
        ("move", "kind"),
        "How long the work stood still; kind is seen, at_most (a bound) or expected (when it was decided).",
    ),
    _gauge("receipt_work_lost_seconds", "seconds", ("move", "kind"), "Work that was done again; kind as above."),
    _gauge("receipt_bytes", "bytes", ("move",), "State of the job that was carried over."),
    _gauge(
        "receipt_relief_ratio",
        "ratio",
        ("move", "resource", "kind"),
        "By how much the pressure of its source fell; kind is seen or expected.",
        'sum by (resource) (grid_offloader_receipt_relief_ratio{kind="seen"})',
    ),
    _gauge("reserved_cores", "cores", ("node",), "Cores of a worker that the ledger holds."),
    _gauge("reserved_memory_bytes", "bytes", ("node",), "Memory of a worker that the ledger holds."),
    _gauge(
        "rule_state",
        "boolean",
        ("rule", "node", "state"),
        "1 for the state that the rule is in.",
        'grid_offloader_rule_state{state="firing"} == 1',
    ),
    _gauge("rule_unknown", "boolean", ("rule", "node"), "1 while the rule has no value to act on."),
    _gauge(
        "rule_value_ratio",
        "ratio 0-1",
        ("rule", "node"),
        "The rule's value as last seen.",
        "grid_offloader_rule_value_ratio / on (rule) group_left grid_offloader_threshold_ratio",
    ),
    _gauge("sample_age_seconds", "seconds", ("node",), "Age of the node's newest raw sample."),
    _gauge("node_up", "boolean", ("node", "role"), "1 when the node's data is fresh."),
    Declared(
        SHARING_THRESHOLD,
        "gauge",
        "ratio 0-1, cores or bytes",
        ("resource", "kind"),
        "What a worker must have free to lend it: max_used as ratio, min_free in cores or bytes.",
    ),
    _counter(
        "decisions",
        ("rule", "kind", "reason"),
        "Decisions of rules, one per rule and tick; reason is none for those that act.",
        "sum by (reason) (increase(grid_offloader_decisions_total[10m]))",
    ),
    _counter(
        "moves",
        ("outcome", "reason", "strategy", "automatic"),
        "Moves that ended.",
        'sum by (reason) (increase(grid_offloader_moves_total{outcome="rolled_back"}[1d]))',
    ),
    Declared(f"{PREFIX}moves_started_total", "counter", "moves", ("automatic",), "Moves that were begun."),
    _gauge(
        "jobs",
        "jobs",
        ("state",),
        "Moved jobs, from when they own the work until they are over: running, waiting (to start again), out_of_reach.",
        'grid_offloader_jobs{state="out_of_reach"} > 0',
    ),
    _gauge(
        "job_start_timestamp_seconds",
        "seconds since the epoch",
        ("id", "move", "pid", "name", "user", "node", "state", "submission"),
        "When the present attempt of such a job began; pid is that of its original, move its newest one.",
        'time() - grid_offloader_job_start_timestamp_seconds{state="running"}',
    ),
    _gauge("notices", "jobs", (), "Jobs whose owners were told that they will be moved, and may still object."),
    _gauge(
        "incidents",
        "incidents of the last hour",
        ("kind",),
        "What happened to moved jobs within the last hour, such as lost, failed_early, respawned.",
        'grid_offloader_incidents{kind="lost"} > 0',
    ),
    _gauge(
        "estimate_correction_ratio",
        "ratio",
        ("strategy", "figure"),
        "What estimates are multiplied by, as earlier moves came out; figure is work_lost or downtime.",
    ),
    _gauge("quarantined", "names", (), "Names of processes (user:command) that no rule moves for a while."),
    Declared(
        f"{PREFIX}owner_messages_total",
        "counter",
        "messages",
        ("channel", "kind", "outcome"),
        "Messages to owners, by terminal, file or command; outcome is delivered, not_reachable, failed or dropped.",
        'sum by (channel) (increase(grid_offloader_owner_messages_total{outcome=~"failed|dropped"}[1h])) > 0',
    ),
    Declared(
        f"{PREFIX}webhook_total",
        "counter",
        "alerts, deliveries",
        ("outcome",),
        "Alerts that Alertmanager delivered: new, resolved, duplicate, unused; deliveries refused: unauthorized, "
        "malformed.",
        'increase(grid_offloader_webhook_total{outcome=~"unauthorized|malformed"}[1h]) > 0',
    ),
    Declared(
        f"{PREFIX}admin_messages_total",
        "counter",
        "messages",
        ("kind", "outcome"),
        "Messages by `notify.admin`; outcome is delivered, failed or dropped.",
    ),
    _gauge(
        "frozen_seconds",
        "seconds",
        (),
        "How long the original that has been frozen longest may have been so; 0: none is.",
        "grid_offloader_frozen_seconds > 180",
    ),
    _histogram("move_state_seconds", ("state",), "How long moves stayed in each state of the hand-off."),
    _histogram("move_seconds", ("outcome",), "How long moves took from planned to their end."),
    _histogram(
        "move_downtime_seconds",
        ("strategy",),
        "How long the work of a completed move stood still.",
        "histogram_quantile(0.9, sum by (le) (increase(grid_offloader_move_downtime_seconds_bucket[1d])))",
    ),
    _histogram(
        "move_work_lost_seconds",
        ("strategy",),
        "Work that a completed move lost, in seconds of it; only where that is exactly known.",
        "histogram_quantile(0.9, sum by (strategy, le) (increase(grid_offloader_move_work_lost_seconds_bucket[7d])))",
    ),
    _histogram(
        "later_work_lost_seconds",
        ("strategy",),
        "Work that a moved job lost later, when its worker died; strategy is its move's, a bound counts as it is.",
    ),
    _histogram("move_bytes", ("strategy",), "State of the job that a completed move carried over.", unit="bytes"),
    _histogram("tick_seconds", (), "How long ticks took."),
)

METRICS: Final = MappingProxyType({metric.name: metric for metric in _ALL})
"""By exposed name, in the order of the reference."""
