"""*Head node*: what the old terminal view showed, with the past and the reasons beside it."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import gauge, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common

from _dashboards.frame import framed
from _dashboards.panels import dial, limit, lines, number, phases, steps, words
from _dashboards.promql import of_node, or_zero, ours
from _dashboards.tables import Column, rows
from _dashboards.work_tables import ended, running_elsewhere

__all__ = ["dashboard"]

RESOURCES = {"cpu": "CPU", "memory": "Memory", "gpu": "GPU"}
PHASES = ("inactive", "pending", "firing", "relieving", "cooling")
COLORS = ("green", "yellow", "red", "orange", "blue")
STATES = dict(enumerate(zip(PHASES, COLORS, strict=True)))
LEADING = 20


def dashboard() -> builders.Dashboard:
    """The head, how full it is, and what is done about it."""
    used = _used_by("CPU by user", "cores", "grid_process_cpu_ratio")
    held = _used_by("Memory by user", "bytes", "grid_process_resident_bytes")
    return framed(
        "grid-head",
        "Grid: head node",
        "How full the head is against its thresholds, who uses it, what was moved off it and how that goes on.",
        [
            ("Now", [*_switches(), *(_dial(resource) for resource in RESOURCES), _rules()]),
            ("Moved work", [running_elsewhere(anywhere=True), ended(receipts=False)]),
            ("Pressure", [*(_pressure(resource) for resource in RESOURCES), _waiting(), _states(), _load(), _memory()]),
            ("Who uses it", [_processes(), used, held]),
        ],
        role="head",
    )


def _switches() -> list[stat.Panel]:
    mode = number("Mode", "The highest mode that rules may use.", "none", (f"{ours('ceiling')} == 1", "{{mode}}"))
    switch = number("Kill switch", "Stops every move while it is on.", "none", (f"max({ours('kill_switch')})", ""))
    firing = or_zero("count({} == 1)".format(ours("rule_state", 'state=~"firing|relieving"')))
    return [
        mode.text_mode(common.BigValueTextMode.NAME),
        switch.mappings(words({0: ("off", "green"), 1: ("ON", "red")})),
        number("Rules that fire", "Rules that ask for relief.", "none", (firing, "")).thresholds(
            steps("green", (1, "red"))
        ),
        number("Moves in flight", "Hand-overs under way.", "none", (f"sum({ours('moves_in_flight')})", "")),
        number("Running elsewhere", "Moved jobs that run.", "none", (f"sum({ours('jobs', _RUNNING)})", "")),
        number("To be moved", "Jobs whose owners may still object.", "none", (f"sum({ours('notices')})", "")),
        number(
            "Age of data",
            "Of the newest sample of the head. Old data moves nothing.",
            "s",
            (f"max({of_node('grid:sample_age_seconds')})", ""),
        ).thresholds(steps("green", (15, "orange"), (60, "red"))),
        number(
            "Quarantined",
            "Programs that failed after moves, and are left alone for a while.",
            "none",
            (f"sum({ours('quarantined')})", ""),
        ),
    ]


_RUNNING = 'state="running"'


def _dial(resource: str) -> gauge.Panel:
    text = "Share in use now; red from the threshold on, which is the controller's own."
    return dial(RESOURCES[resource], text, f"max({_use(resource)})", _limit("threshold", resource), width=8)


def _pressure(resource: str) -> timeseries.Panel:
    name = RESOURCES[resource]
    panel = lines(
        f"{name} in use",
        f"{name}, with the threshold from which a rule counts, and the relief below which it stops moving.",
        "percentunit",
        (_use(resource), "{{node}}"),
        (_limit("threshold", resource), "threshold"),
        (_limit("relief", resource), "relief"),
        width=8,
    )
    return limit(limit(panel.max(1), "threshold", "red"), "relief", "orange")


def _use(resource: str) -> str:
    use = of_node("grid:node_pressure:ratio", f'resource="{resource}"')
    return use if resource != "gpu" else f"{use} or on (node) 0 * ({of_node('grid:node_gpus')} == 0)"


def _limit(kind: str, resource: str) -> str:
    return "min({})".format(ours(f"{kind}_ratio", f'resource="{resource}"'))


def _waiting() -> timeseries.Panel:
    return lines(
        "Work that waits",
        "Pressure stall information: share of time in which work waited for a resource. The kernel must have it.",
        "percentunit",
        (of_node("grid:node_pressure_stall:ratio"), "{{node}}: {{kind}} for {{resource}}"),
        width=8,
    )


def _states() -> statetimeline.Panel:
    each = [f"{value} * " + ours("rule_state", _ON_NODE, f'state="{word}"') for value, word in enumerate(PHASES)]
    text = "Inactive, pending (over its threshold), firing and relieving (it moves), cooling (it rests after a move)."
    return phases("Rules", text, STATES, (f"max by (rule) ({' or '.join(each)})", "{{rule}}"), width=16)


_ON_NODE = 'node=~"$node"'


def _rules() -> table.Panel:
    state = ours("rule_state", _ON_NODE)
    return rows(
        "Rules now",
        "What every rule sees and does. Unknown: data is missing, and it does nothing.",
        {
            f"max by (rule, state) ({state} == 1)": Column(),
            f"max by (rule) ({ours('rule_value_ratio', _ON_NODE)})": Column("value", "percentunit", filled=True),
            f"max by (rule, resource) ({ours('threshold_ratio')})": Column("threshold", "percentunit"),
            f"max by (rule) ({ours('relief_ratio')})": Column("relief", "percentunit"),
            f"max by (rule) ({ours('rule_unknown', _ON_NODE)})": Column(
                "unknown", "none", {0: ("no", "text"), 1: ("UNKNOWN", "red")}
            ),
        },
        labels=("rule", "resource", "state"),
        height=6,
    )


def _processes() -> table.Panel:
    by = "sum by (node, pid, comm, user, class)"
    leading = f"topk({LEADING}, {of_node('grid_process_cpu_ratio')})"
    them = f"and on (node, pid) {leading}"
    movable = "sum by (node, pid, comm, user, class, reason)"
    return rows(
        "Processes",
        f"The {LEADING} that use the most CPU. reason: what in the process itself keeps a rule from moving it.",
        {
            f"{by} ({leading})": Column("cores", "none"),
            f"{by} ({of_node('grid_process_resident_bytes')} {them})": Column("memory", "bytes"),
            f"time() - {by} ({of_node('grid_process_start_time_seconds')} {them})": Column("age", "dtdurations"),
            f"{movable} ({of_node('grid_process_movable')} {them})": Column(
                "movable", "none", {0: ("no", "orange"), 1: ("yes", "green")}
            ),
        },
        labels=("node", "pid", "comm", "user", "class", "reason"),
        sort="cores",
        height=10,
    )


def _used_by(title: str, unit: str, name: str) -> timeseries.Panel:
    text = "By the significant processes (see the exporter's options) of each user."
    shown = "none" if unit == "cores" else unit
    return lines(title, text, shown, (f"sum by (user) ({of_node(name)})", "{{user}}"), stacked=True)


def _load() -> timeseries.Panel:
    panel = lines(
        "Load",
        "Tasks that run or wait for the disk, on average over 1, 5 and 15 minutes. None where the node is a cgroup.",
        "none",
        (of_node("grid_node_load1"), "{{node}}, 1 min"),
        (of_node("grid_node_load5"), "{{node}}, 5 min"),
        (of_node("grid_node_load15"), "{{node}}, 15 min"),
        (f"sum({of_node('grid:node_cores')})", "cores"),
    )
    return limit(panel, "cores", "text")


def _memory() -> timeseries.Panel:
    return lines(
        "Memory and swap",
        "What new work could take without swapping, of all there is; and swap in use.",
        "bytes",
        (of_node("grid:node_memory_bytes"), "{{node}}, all"),
        (of_node("grid:node_memory_available_bytes"), "{{node}}, available"),
        (of_node("grid_node_swap_used_bytes"), "{{node}}, swap used"),
    )
