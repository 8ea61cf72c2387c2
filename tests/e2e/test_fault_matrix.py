"""Moves hit by faults, each in its state of the hand-off; `deploy/faults` runs every fault in every state."""

import pytest
from _faults import course, matrix, report
from _faults.ways import CHECKPOINT, LIVE, RESTART
from _testbed import controller, nodes
from _testbed.settings import load

pytestmark = [pytest.mark.testbed, pytest.mark.ray]

TOGETHER = 5


@pytest.fixture
def roomy(testbed):
    """The matrix gives nodes more cores than they have otherwise: as before afterwards."""
    settings = load()
    controller.stop(settings)
    yield
    controller.stop(settings)
    settings.save()
    for node in settings.nodes:
        nodes.group(settings, node).limit(settings.cpu, settings.memory)


@pytest.fixture
def roots(testbed):
    """Ray is root's; the other tests want it to be alice's."""
    testbed.run("ray", "down")
    yield
    testbed.run("ray", "down")


@pytest.fixture
def holds(roomy, request):
    """At no time two copies, one again within 60 s, nothing frozen, reserved, or running for a move that is over."""

    def check(way):
        planned = matrix.in_batches(way, matrix.quick(way), TOGETHER)
        results = course.carry_out(way, planned, results=None, lock=None, until=float("inf"))
        plugins = request.config.pluginmanager
        reporter = plugins.get_plugin("terminalreporter")
        with plugins.get_plugin("capturemanager").global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.section(f"moves under faults: {way.name}")
            reporter.write_line(report.as_markdown(results))
        assert [one.name for one in results] == course.names(planned)
        assert {one.name: one.broken for one in results if one.broken} == {}

    return check


@pytest.mark.timeout(1500)
def test_one_copy_and_nothing_left_whatever_fails(holds):
    holds(RESTART)


@pytest.mark.timeout(300)
def test_what_saves_goes_on_from_there_whatever_fails(holds):
    holds(CHECKPOINT)


@pytest.mark.criu
@pytest.mark.timeout(300)
def test_what_moves_live_loses_nothing_whatever_of_criu_fails(roots, holds):
    """Nor does an image of it stay anywhere."""
    holds(LIVE)
