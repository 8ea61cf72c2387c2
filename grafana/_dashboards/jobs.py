"""*Jobs and queues*: what became of moved work, what waits, and for what."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import stat, timeseries

from _dashboards.frame import framed
from _dashboards.panels import lines, number, steps
from _dashboards.promql import of_node, or_none, or_zero, ours
from _dashboards.work_tables import running_elsewhere

__all__ = ["dashboard"]

WAITING = 'state="waiting"'


def dashboard() -> builders.Dashboard:
    """Jobs over their whole life."""
    return framed(
        "grid-jobs",
        "Grid: jobs and queues",
        "Jobs that were moved or started on workers: running, waiting for a place, out of reach, lost.",
        [
            ("Now", [*_counts(), running_elsewhere()]),
            ("Queues", [_states(), _waiting(), _handing_over(), _held()]),
            ("Who and where", [_by_node(), _by_user()]),
            ("What happened", [_incidents(), _later_losses(), _messages()]),
        ],
    )


def _counts() -> list[stat.Panel]:
    alarming = steps("green", (1, "red"))
    return [
        _count("Running", "Moved jobs that run.", _jobs('state="running"')),
        _count("Waiting", "Jobs that are to start again and find no place.", _jobs(WAITING)).thresholds(
            steps("green", (1, "orange"))
        ),
        _count(
            "Out of reach", "On a worker that does not answer: not started again.", _jobs('state="out_of_reach"')
        ).thresholds(alarming),
        number("Longest wait", "Of a job that is to start again.", "s", (_LONGEST, "")),
        _count("To be moved", "Jobs whose owners may still object.", f"sum({ours('notices')})"),
        _count("Quarantined", "Programs that no rule moves for a while.", f"sum({ours('quarantined')})"),
        _count("Lost", "Jobs that were lost within the last hour.", _incident("lost")).thresholds(alarming),
        _count(
            "Started twice", "Jobs whose command something started again within the last hour.", _incident("respawned")
        ).thresholds(alarming),
    ]


def _count(title: str, text: str, expr: str) -> stat.Panel:
    return number(title, text, "none", (expr, ""))


def _jobs(matcher: str) -> str:
    return f"sum({ours('jobs', matcher)})"


def _incident(kind: str) -> str:
    matcher = f'kind="{kind}"'
    return or_zero(f"sum({ours('incidents', matcher)})")


_LONGEST = or_zero(f"max(time() - {ours('job_start_timestamp_seconds', WAITING)})")


def _states() -> timeseries.Panel:
    each = (f"sum by (state) ({ours('jobs')})", "{{state}}")
    return lines("Jobs", "That are not over, by state.", "none", each, stacked=True)


def _waiting() -> timeseries.Panel:
    return lines("Longest wait", "Of a job that is to start again.", "s", (_LONGEST, "longest"))


def _handing_over() -> timeseries.Panel:
    queued = ours("moves_in_flight", 'state=~"planned|preflighted|reserved|queued"')
    held = ours("moves_in_flight", 'state!~"planned|preflighted|reserved|queued"')
    return lines(
        "Hand-overs in the queue",
        "Moves for which the worker has not yet started anything, and those under way beyond that.",
        "none",
        (f"sum({queued})", "queued"),
        (f"sum({held})", "handing over"),
        (f"sum({ours('notices')})", "announced"),
        stacked=True,
    )


def _held() -> timeseries.Panel:
    cores = ours("reserved_cores", 'node=~"$node"')
    none = f"or on (node) 0 * {of_node('grid:node_cores', _WORKER)}"
    text = "Cores of each worker that are held for moved work until they show as used there."
    return lines("Held for moved work", text, "none", (f"sum by (node) ({cores} {none})", "{{node}}"), stacked=True)


_WORKER = 'role="worker"'


def _by_node() -> timeseries.Panel:
    each = "count by (node) ({})".format(ours("job_start_timestamp_seconds", 'node=~"$node"'))
    none = f"sum by (node) (0 * {of_node('grid:up', _WORKER)})"
    text = "Moved jobs on each worker."
    return lines("Jobs by node", text, "none", (f"{each} or {none}", "{{node}}"), stacked=True)


def _by_user() -> timeseries.Panel:
    each = f"count by (user) ({ours('job_start_timestamp_seconds')})"
    return lines("Jobs by user", "Moved jobs of each user.", "none", (each, "{{user}}"), stacked=True)


def _incidents() -> timeseries.Panel:
    each = or_none(f"sum by (kind) ({ours('incidents')})", kind="none")
    text = "What happened to moved jobs, within the hour before each moment."
    return lines("Incidents", text, "none", (each, "{{kind}}"), width=8, stacked=True)


def _later_losses() -> timeseries.Panel:
    lost = or_zero(f"sum({ours('later_work_lost_seconds_sum')})")
    text = "Work that moved jobs lost when their worker died, since the controller's start."
    return lines("Work lost later", text, "s", (lost, "lost"), width=8)


def _messages() -> timeseries.Panel:
    each = f"sum by (channel, outcome) ({ours('owner_messages_total')})"
    each = or_none(each, channel="messages", outcome="none")
    text = "What owners were told since the controller's start, by terminal, file or command, and what came of it."
    return lines("Messages to owners", text, "none", (each, "{{channel}}: {{outcome}}"), width=8)
