"""`notify.admin`: told once Prometheus has been out of reach for a while, again while it lasts, and when it is back."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from offloader.daemon.blindness import BlindWatch
from offloader.model import Reading, Reason
from offloader.notify.alarm import AlarmKind

from .controller_world import World

SAVES = """\
#!/usr/bin/python3
import sys
with open(sys.argv[1], "a") as told:
    told.write(sys.stdin.read())
"""


class Watching:
    def __init__(self, world: World) -> None:
        self.world = world
        self.offered = []
        self.watch = BlindWatch(world.journal, self)

    def offer(self, alarm) -> None:
        self.offered.append(alarm)

    def see(self, after_s: float, *problems: Reason | None) -> None:
        """A view so much later, with one reading per problem (None: a value)."""
        self.world.clock.now += after_s
        values = {
            (f"g/{index}", "head"): Reading("head", None if problem else 0.5, problem=problem, detail="no answer")
            for index, problem in enumerate(problems)
        }
        snapshot = SimpleNamespace(now=self.world.clock.now, values=values)
        self.watch.ticked(SimpleNamespace(setup=self.world.setup, snapshot=snapshot))

    @property
    def kinds(self) -> list[AlarmKind]:
        return [one.kind for one in self.offered]


@pytest.fixture
def watching(world: World) -> Watching:
    return Watching(world)


GONE = (Reason.QUERY_FAILED, Reason.QUERY_FAILED)


def test_it_is_told_after_ten_minutes_and_again_every_hour_while_it_lasts(watching: Watching) -> None:
    watching.see(0, *GONE)
    watching.see(595, *GONE)
    assert watching.kinds == []
    watching.see(5, *GONE)
    watching.see(3595, *GONE)
    assert watching.kinds == [AlarmKind.UNREACHABLE]
    watching.see(5, *GONE)
    assert watching.kinds == [AlarmKind.UNREACHABLE] * 2
    document = watching.offered[0].to_json()
    assert document["t"] - document["since_t"] == 600.0
    assert (document["cluster"], document["head"], document["detail"]) == ("test", "head", "no answer")
    assert json.loads(json.dumps(document)) == document


def test_when_it_is_back_that_is_told_once_and_the_time_begins_anew(watching: Watching) -> None:
    watching.see(0, *GONE)
    watching.see(600, *GONE)
    watching.see(5, None, Reason.QUERY_FAILED)
    watching.see(5, None, None)
    assert watching.kinds == [AlarmKind.UNREACHABLE, AlarmKind.BACK]
    watching.see(5, *GONE)
    watching.see(595, *GONE)
    assert len(watching.kinds) == 2


def test_a_short_absence_is_told_neither_way(watching: Watching) -> None:
    watching.see(0, *GONE)
    watching.see(300, *GONE)
    watching.see(5, None, None)
    watching.see(600, *GONE)
    assert watching.kinds == []


@pytest.mark.parametrize("problems", [(Reason.STALE, Reason.DOWN), (Reason.QUERY_FAILED, Reason.NO_DATA), ()])
def test_other_troubles_are_for_alerts_to_tell(watching: Watching, problems) -> None:
    for _ in range(3):
        watching.see(3600, *problems)
    assert watching.kinds == []


def test_a_restart_neither_begins_anew_nor_tells_twice(world: World, watching: Watching) -> None:
    watching.see(0, *GONE)
    again = Watching(world)
    again.see(600, *GONE)
    assert again.kinds == [AlarmKind.UNREACHABLE]
    third = Watching(world)
    third.see(600, *GONE)
    assert third.kinds == []
    third.see(5, None, None)
    assert third.kinds == [AlarmKind.BACK]


def test_how_long_is_for_the_cluster_file_to_say(world: World, watching: Watching) -> None:
    notify = world.setup.cluster.notify.model_copy(update={"admin_after_s": 60.0})
    world.setup = replace(world.setup, cluster=world.setup.cluster.model_copy(update={"notify": notify}))
    watching.see(0, *GONE)
    watching.see(60, *GONE)
    assert watching.kinds == [AlarmKind.UNREACHABLE]


@pytest.mark.slow
def test_a_running_controller_runs_the_sites_command(daemon, prometheus, cluster_file, tmp_path) -> None:
    command, heard = tmp_path / "tell-admins", tmp_path / "told"
    command.write_text(SAVES)
    command.chmod(0o755)
    text = cluster_file.read_text()
    cluster_file.write_text(f"{text}notify: {{admin: [{command}, {heard}], admin_after: 1s}}\n")

    def told() -> list[str]:
        return [json.loads(line)["kind"] for line in heard.read_text().splitlines()] if heard.exists() else []

    prometheus.broken = "down"
    daemon.start()
    daemon.until(lambda: told() == ["prometheus_unreachable"])
    prometheus.broken = None
    daemon.until(lambda: told() == ["prometheus_unreachable", "prometheus_back"])
    first = json.loads(heard.read_text().splitlines()[0])
    assert (first["prometheus"], first["head"]) == (prometheus.url, "head1")
    assert "docs/alerting.md" in " ".join(first["lines"])
