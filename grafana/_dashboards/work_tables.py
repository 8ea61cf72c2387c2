"""Tables of moved work, the same on every dashboard that shows them."""

from grafana_foundation_sdk.builders import table

from _dashboards.links import to_move, to_ray_job
from _dashboards.promql import ours, touching
from _dashboards.tables import Column, rows

__all__ = ["ended", "in_flight", "running_elsewhere"]

AGE = "dtdurations"
WHO = ("move", "pid", "name", "user")
WAY = ("source", "target", "strategy", "automatic", "rule")


def in_flight(*, width: int = 24) -> table.Panel:
    """Moves under way."""
    by = ", ".join((*WHO, *WAY))
    begun = f"max by ({by}) ({touching('move_start_timestamp_seconds')})"
    state = "max by (move, state) ({})".format(ours("move_state", 'state!~"done|rolled_back|lost"'))
    return rows(
        "Moves in flight",
        "Work that is being handed over. A frozen original goes on unless its successor is proven to be alive.",
        {f"(time() - {begun}) * on (move) group_left (state) {state}": Column("for", AGE)},
        labels=(*WHO, *WAY, "state"),
        links={"move": to_move()},
        sort="for",
        width=width,
        height=6,
    )


def running_elsewhere(*, anywhere: bool = False, width: int = 24) -> table.Panel:
    """Jobs that are not over: on the chosen nodes and without one, or anywhere."""
    labels = ("user", "name", "pid", "node", "state", "move", "submission")
    jobs = ours("job_start_timestamp_seconds", *([] if anywhere else ['node=~"$node|"']))
    began = f"max by ({', '.join(labels)}) ({jobs})"
    return rows(
        "Work that runs elsewhere",
        "Jobs on workers that are not over. pid: that of the original; without a node: it waits for one.",
        {f"time() - {began}": Column("there for", AGE)},
        labels=labels,
        links={"move": to_move(), "submission": to_ray_job()},
        sort="there for",
        width=width,
    )


def ended(*, receipts: bool, width: int = 24) -> table.Panel:
    """Moves that are over, with what they were worth and what they cost."""
    by = ", ".join((*WHO, *WAY, "outcome"))
    over = f"max by ({by}) ({touching('move_end_timestamp_seconds', '$__range')})"
    asked = {f"1000 * {over}": Column("ended", "dateTimeAsIso")}
    if receipts:
        asked |= {
            _receipt("downtime_seconds", 'kind=~"seen|at_most"'): Column("stood still", "s"),
            _receipt("work_lost_seconds", 'kind=~"seen|at_most"'): Column("lost", "s"),
            _receipt("work_lost_seconds", 'kind="expected"'): Column("lost, expected", "s"),
            _receipt("bytes"): Column("carried", "bytes"),
            _receipt("relief_ratio", 'kind="seen"', 'resource="cpu"'): Column("CPU relief", "percentunit"),
            _receipt("relief_ratio", 'kind="expected"', 'resource="cpu"'): Column("expected CPU", "percentunit"),
            _receipt("relief_ratio", 'kind="seen"', 'resource="memory"'): Column("memory relief", "percentunit"),
            _receipt("relief_ratio", 'kind="expected"', 'resource="memory"'): Column("expected memory", "percentunit"),
        }
    return rows(
        "Moves that ended" + (", with their receipts" if receipts else ""),
        "Within the time shown, of the newest ones that the controller tells of. Why one failed says its page.",
        asked,
        labels=(*WHO, *WAY, "outcome"),
        links={"move": to_move()},
        sort="ended",
        width=width,
        height=10,
    )


def _receipt(figure: str, *matchers: str) -> str:
    return "max by (move) (last_over_time({}[$__range]))".format(ours(f"receipt_{figure}", *matchers))
