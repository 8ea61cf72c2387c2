"""Moves hit by faults, each in its state of the hand-off; `deploy/faults` runs every fault in every state."""

import pytest
from _faults import course, matrix, report
from _testbed import controller, nodes
from _testbed.settings import load

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.timeout(1500)]

TOGETHER = 5


@pytest.fixture
def roomy(monitored_testbed, ray_testbed):
    """The matrix gives nodes more cores than they have otherwise: as before afterwards."""
    settings = load()
    controller.stop(settings)
    yield
    controller.stop(settings)
    settings.save()
    for node in settings.nodes:
        nodes.group(settings, node).limit(settings.cpu, settings.memory)


def test_one_copy_and_nothing_left_whatever_fails(roomy, request):
    """At no time two copies, one again within 60 s, nothing frozen, reserved, or running for a move that is over."""
    planned = matrix.in_batches(matrix.quick(), TOGETHER)
    results = course.carry_out(planned, results=None, lock=None, until=float("inf"))
    plugins = request.config.pluginmanager
    reporter = plugins.get_plugin("terminalreporter")
    with plugins.get_plugin("capturemanager").global_and_fixture_disabled():
        reporter.ensure_newline()
        reporter.section("moves under faults")
        reporter.write_line(report.as_markdown(results))
    assert [one.name for one in results] == course.names(planned)
    assert {one.name: one.broken for one in results if one.broken} == {}
