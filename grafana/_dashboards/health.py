"""*Exporter and controller health*: whether what decisions rest on, and what makes them, is well."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries

from _dashboards.frame import framed
from _dashboards.panels import lines, number, phases, steps, words
from _dashboards.promql import of_cluster, of_node, ours
from _dashboards.tables import Column, rows

__all__ = ["dashboard"]

EXPORTER, CONTROLLER = 'job="grid-exporter"', 'job="grid-offloader"'


def dashboard() -> builders.Dashboard:
    """Exporters and controller."""
    return framed(
        "grid-health",
        "Grid: exporter and controller health",
        "Whether exporters and controller answer, how fresh the data is, what they cannot see and what they cost.",
        [
            ("Now", _counts()),
            ("Exporters", [_up(), _ages(), _scrapes(), _skew(), _exporters(), _collectors(), _missing()]),
            ("Controller", [_controller_up(), _ticks(), _tick_time(), _seen_ages(), _cpu(), _memory()]),
            ("Alerts", [_alerts()]),
        ],
    )


def _counts() -> list[stat.Panel]:
    bad = steps("green", (1, "red"))
    yes = words({0: ("NO", "red"), 1: ("yes", "green")})
    return [
        _count("Exporters down", "Their nodes are neither relieved nor used.", f"sum({of_node('grid:up')} == bool 0)"),
        _count("Controller", "Whether it answers.", f"min({of_cluster('up', CONTROLLER)})").mappings(yes),
        number("Last tick", "Ago.", "s", (f"time() - min({ours('last_tick_timestamp_seconds')})", "")).thresholds(
            steps("green", (30, "orange"), (60, "red"))
        ),
        _count("Ticks missed", "Within the time shown.", _within("ticks_missed_total")).thresholds(bad),
        _count("Ticks failed", "Within the time shown.", _within("ticks_failed_total")).thresholds(bad),
        _count("Journal", "Whether it can be written.", f"1 - max({ours('journal_degraded')})").mappings(yes),
        _count(
            "Configuration", "Whether the last reload was taken.", f"min({ours('config_last_reload_successful')})"
        ).mappings(yes),
        _count("Alerts", "That fire.", f"count({_FIRING}) or vector(0)").thresholds(bad),
    ]


_OURS = 'alertname=~"Grid.+",alertname!="GridWatchdog"'  # the watchdog always fires: that is its purpose
# Those that tell of no cluster are shown with every one.
_OURS_HERE = f'{_OURS},cluster=~"$cluster|"'
_ALL = f"ALERTS{{{_OURS_HERE}}}"
_FIRING = f'ALERTS{{{_OURS_HERE},alertstate="firing"}}'


def _count(title: str, text: str, expr: str) -> stat.Panel:
    return number(title, text, "none", (expr, "")).decimals(0)


def _within(name: str) -> str:
    return f"sum(increase({ours(name)}[$__range]))"


def _up() -> statetimeline.Panel:
    asked = (f"min by (node) ({of_node('grid:up')})", "{{node}}")
    return phases("Exporters", "Whether each answered.", {0: ("down", "red"), 1: ("up", "green")}, asked)


def _ages() -> timeseries.Panel:
    text = "Of each node's newest sample. Older than three scrapes: nothing is moved from or to that node."
    return lines("Age of data", text, "s", (of_node("grid:sample_age_seconds"), "{{node}}"))


def _scrapes() -> timeseries.Panel:
    text = "How long Prometheus waited for each exporter."
    return lines("Scrapes", text, "s", (of_node("scrape_duration_seconds", EXPORTER), "{{node}}"))


def _skew() -> timeseries.Panel:
    text = "By how much each node's clock is behind that of Prometheus, or its exporter served an old sample."
    return lines("Clocks", text, "s", (of_node("grid:clock_skew_seconds"), "{{node}}"))


def _exporters() -> table.Panel:
    return rows(
        "Exporters now",
        "Each node's exporter: its version, what it serves, and collectors that failed.",
        {
            f"max by (node, version) ({of_node('grid_exporter_build_info')})": Column(),
            f"max by (node) ({of_node('scrape_samples_scraped', EXPORTER)})": Column("samples", "none"),
            f"sum by (node) ({of_node('grid_exporter_collector_duration_seconds')})": Column("collecting", "s"),
            f"sum by (node) ({of_node('grid_exporter_collector_success')} == bool 0)": Column("failed", "none"),
        },
        labels=("node", "version"),
        sort="node",
        ascending=True,
        width=8,
    )


def _collectors() -> timeseries.Panel:
    each = f"max by (collector) ({of_node('grid_exporter_collector_duration_seconds')})"
    return lines("Collectors", "How long each took, at most of all nodes.", "s", (each, "{{collector}}"), width=8)


def _missing() -> table.Panel:
    missing = f"max by (node, detail) ({of_node('grid_exporter_detail_missing')}) == 1"
    return rows(
        "Details that exporters cannot see",
        "By node: docs/metrics.md tells what each means and what helps. No failure.",
        {missing: Column()},
        labels=("node", "detail"),
        sort="node",
        ascending=True,
        width=8,
    )


def _controller_up() -> statetimeline.Panel:
    asked = (of_cluster("up", CONTROLLER), "{{instance}}")
    return phases("Controller", "Whether it answered.", {0: ("down", "red"), 1: ("up", "green")}, asked)


def _ticks() -> timeseries.Panel:
    kinds = {"ticks_total": "carried out", "ticks_missed_total": "missed", "ticks_failed_total": "failed"}
    asked = [(f"sum(rate({ours(name)}[$__rate_interval]))", word) for name, word in kinds.items()]
    return lines("Ticks", "How often rules were looked at.", "cps", *asked)


def _tick_time() -> timeseries.Panel:
    buckets = f"sum by (le) (rate({ours('tick_seconds_bucket')}[$__rate_interval]))"
    half, most = (f"histogram_quantile({q}, {buckets})" for q in (0.5, 0.99))
    return lines("Time of a tick", "Half of them, and nearly all.", "s", (half, "50 %"), (most, "99 %"))


def _seen_ages() -> timeseries.Panel:
    age = ours("sample_age_seconds", 'node=~"$node"')
    return lines("Age of data, as the controller sees it", "At its last tick.", "s", (age, "{{node}}"))


def _cpu() -> timeseries.Panel:
    used = f"rate({of_cluster('process_cpu_seconds_total', CONTROLLER)}[$__rate_interval])"
    return lines("CPU of the controller", "Cores.", "none", (used, "{{instance}}"))


def _memory() -> timeseries.Panel:
    used = of_cluster("process_resident_memory_bytes", CONTROLLER)
    return lines("Memory of the controller", "In RAM.", "bytes", (used, "{{instance}}"))


def _alerts() -> timeseries.Panel:
    none = 'label_replace(vector(0), "alertname", "none", "", "") unless on () ' + _ALL
    each = f"count by (alertname, alertstate) ({_ALL})"
    text = "Alerts of the shipped rules that are pending or fire."
    return lines(
        "Alerts", text, "none", (f"{each} or ({none})", "{{alertname}} {{alertstate}}"), width=24, stacked=True
    )
