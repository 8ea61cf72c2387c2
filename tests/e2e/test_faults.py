"""What goes wrong during a move: in the end exactly one copy runs, at no time two did, and nothing is left behind.

Faults of the cluster, each in its state of the hand-off: test_fault_matrix.py.
"""

import shlex
import time
from pathlib import Path
from typing import Any

import outside
import pytest
from _testbed import controller, leftovers
from controlled import Controlled
from faulty import HEAD, SHORT_GAP_S, Faulty, Table

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.timeout(300)]

OK, REFUSED = 200, 409


@pytest.fixture(scope="module")
def table(request):
    """Printed when the last test of this file is over."""
    made = Table()
    yield made
    plugins = request.config.pluginmanager
    reporter = plugins.get_plugin("terminalreporter")
    with plugins.get_plugin("capturemanager").global_and_fixture_disabled():
        reporter.ensure_newline()
        reporter.section("faults during moves")
        for line in made.lines():
            reporter.write_line(line)


@pytest.fixture(scope="module")
def one_controller(session_testbed):
    """The tests of this file share one life of the controller where they can."""
    made = Controlled(session_testbed)
    made.stop()
    yield made
    made.stop()


@pytest.fixture
def faulty(one_controller, ray_testbed, monitored_testbed, table):
    """A controller that is up, with nodes that are."""
    if not controller.running(one_controller.settings):
        one_controller.start()
    made = Faulty(one_controller, table)
    made.ready()
    yield made
    made.nothing_left()


def never_frozen(move: dict[str, Any]) -> bool:
    return "frozen" not in [step["event"] for step in move["timeline"]]


def test_a_command_that_is_missing_on_the_target_costs_the_original_nothing(faulty):
    """A program on the head's own disk: refused before anything is frozen, the original is never interrupted."""
    bed, name = faulty.bed, "nodelocal"
    private = bed.private(HEAD) / "program"
    private.write_bytes(Path("/usr/bin/python3").resolve().read_bytes())
    private.chmod(0o755)
    argv = [str(bed.root / "private/program"), str(bed.root / "bin/load.py"), f"--name={name}", "--cpu=0.1"]
    ready = bed.shared / f"{name}.pid"
    ready.unlink(missing_ok=True)
    shell = f"exec setsid --fork {shlex.join([*argv, f'--ready-file={ready}'])} </dev/null >/dev/null 2>&1"
    bed.exec(HEAD, ["bash", "-c", shell], user="alice", cwd=str(bed.shared))
    bed.wait_for(ready.exists, 20, "the load to run")
    pid = int(ready.read_text(encoding="ascii"))
    try:
        at = time.time()
        move = faulty.move(pid, "gpu1")
        final = faulty.ends("command missing on target", move, name, at=at, hit="preflight", on=HEAD)
        assert (final["state"], final["reason"]) == ("rolled_back", "NO_EXECUTABLE")
        assert never_frozen(final)
        assert len(bed.witness_report(name)["chain"]) == 1
    finally:
        bed.exec(HEAD, ["kill", "-9", str(pid)])


def test_a_guard_that_is_killed_while_it_keeps_the_original_frozen(faulty):
    move = faulty.begin("guardless")
    faulty.reach(move, "go")
    faulty.successor_runs("guardless", "gpu1")
    at = time.time()
    outside.kill_guard(faulty.settings, move)
    final = faulty.ends("guard killed while frozen", move, "guardless", at=at, hit="go", on=HEAD)
    assert final["state"] == "rolled_back"


BEFORE = ("planned", "preflighted", "reserved", "queued", "held", "frozen", "saved", "go", "proven")


def well_before(state: str) -> str:
    """Two states earlier: the one right before may pass in a millisecond."""
    return BEFORE[max(0, BEFORE.index(state) - 2)]


def cancelled_in(faulty, state: str) -> None:
    load = f"cancel-{state}"
    move = faulty.begin(load)
    with outside.Cancel(faulty.settings, move) as cancel:
        with outside.stopped_in(faulty.settings, move, state, well_before(state)) as hit:
            at = time.time()
            cancel.send()
        status = cancel.answer()["status"]
    # Between proven and owning the controller has no moment to listen: then the answer is no, and the move ends.
    refused = hit not in BEFORE[:-1] and status == REFUSED
    assert status == OK or refused, f"{hit}: {status}"
    final = faulty.ends("cancel", move, load, at=at, hit=hit, on="gpu1" if refused else HEAD)
    faulty.nothing_left()
    assert (final["state"], final["reason"]) == (("done", None) if refused else ("rolled_back", "CANCELLED")), hit


@pytest.mark.parametrize("states", [BEFORE[:4], BEFORE[4:]], ids=["queueing", "handing over"])
def test_a_cancel_in_every_state_before_ownership(faulty, states):
    """Cancelled while the move is in that very state: the original goes on, and nothing is held for it any more."""
    for state in states:
        cancelled_in(faulty, state)


def test_a_controller_that_is_told_to_end_in_the_middle(faulty):
    """TERM: the move is rolled back before the controller ends; nobody has to come back for that."""
    move = faulty.begin("term")
    faulty.reach(move, "go")
    faulty.successor_runs("term", "gpu1")
    at = time.time()
    faulty.controlled.stop()
    faulty.controlled.one_copy("term", on=HEAD, gap=SHORT_GAP_S)
    assert leftovers.frozen(faulty.settings) == []
    faulty.controlled.restart()
    final = faulty.ends("controller TERM", move, "term", at=at, hit="go", on=HEAD)
    assert final["state"] == "rolled_back"


RULES = """\
groups:
  - name: trial
    interval: 2s
    rules:
      - offload: HeadCPU
        expr: grid:node_pressure:ratio{role="head",resource="cpu"}
        resource: cpu
        threshold: 40%
        relief: 20%
        for: 8s
        cooldown: 10s
        select: {min_age: 5s}
        move: {strategies: [restart], backend: ray}
"""


@pytest.fixture
def ruled(faulty):
    """A controller whose one rule moves by itself, eight seconds after the head's CPU passed its threshold."""
    controlled = faulty.controlled
    controlled.stop()
    rules = faulty.settings.root / "short-rules.yml"
    rules.write_text(RULES, encoding="utf-8")
    section = {"check_interval": "2s", "cooldown": "5s", "rule_files": [str(rules)]}
    controlled.start(changes={"auto_offload": section})
    faulty.ready()
    controlled.ok("auto", "--enable", "--mode", "auto")
    yield faulty
    controlled.stop()
    controlled.start()  # with the ordinary rules again


def over_threshold(faulty) -> None:
    faulty.bed.wait_for(lambda: faulty.status()["rules"][0]["truth"] == "true", 60, "a head over its threshold")


def blind_for_ticks(faulty, ticks: int) -> dict[str, Any]:
    """The rule is unknown for so many ticks, and all that time nothing moves. Returns the last status."""
    bed = faulty.bed
    bed.wait_for(lambda: faulty.status()["rules"][0]["truth"] == "unknown", 20, "the rule to become unknown")
    last = faulty.status()["data"]["ticks"] + ticks

    def passed() -> dict[str, Any] | None:
        status = faulty.status()
        assert status["rules"][0]["truth"] == "unknown", status["rules"]
        assert status["moves_in_flight"] == status["moves_recent"] == [], status
        return status if status["data"]["ticks"] >= last else None

    return dict(bed.wait_for(passed, 60, f"{ticks} ticks"))


def first_move(faulty, seconds: float = 60) -> str:
    """The id of the first move that is seen; what the controller says instead, when there is none."""
    deadline = time.monotonic() + seconds
    while not (moves := (status := faulty.status())["moves_in_flight"] + status["moves_recent"]):
        assert time.monotonic() < deadline, (status["next"], status["rules"], status["workers"])
        time.sleep(0.1)
    return str(moves[0]["id"])


def says_why(status: dict[str, Any], *words: str) -> None:
    """The one screen names the reason, at the rule, in what comes next, and among the problems."""
    broken = status["rules"][0]
    assert broken["reason"], broken
    assert status["next"]["kind"] == "nothing", status["next"]
    assert broken["reason"] in [problem["reason"] for problem in status["problems"]], status["problems"]
    told = " ".join([problem["text"] for problem in status["problems"]] + [status["next"]["text"]]).lower()
    assert any(word in told for word in words), told


def test_without_data_nothing_moves_and_with_data_again_it_does(ruled, table):
    """Prometheus stopped, then the head's exporter, each while the head is over its threshold.

    The head stays loaded all the time, so its last known value would have moved the load; it moves once data is back.
    """
    bed = ruled.bed
    bed.start_load(HEAD, "blind", cpu=0.4, environment={"GRID_OFFLOAD": "allow"})
    over_threshold(ruled)
    for fault, words in (
        (("stop-prometheus",), ("prometheus",)),
        (("stop-exporter", HEAD), ("exporter", "target is down", "scrape", "up")),
    ):
        bed.run("monitoring", *fault)
        status = blind_for_ticks(ruled, 6)
        says_why(status, *words)
        assert len(bed.witness_report("blind")["chain"]) == 1
        table.rows.append((fault[0], status["rules"][0]["reason"], "no move", HEAD, "-"))
        bed.run("monitoring", "up")
        over_threshold(ruled)
    final = ruled.controlled.final(first_move(ruled))
    assert (final["state"], final["automatic"]) == ("done", True), final
    ruled.controlled.one_copy("blind", on=final["target"])


def test_ray_that_is_down_at_submission_costs_the_original_nothing(faulty):
    """Last: Ray's head forgets everything, and starting it again takes its time."""
    faulty.bed.run("ray", "kill-head")
    at = time.time()
    move = faulty.begin("rayless")
    final = faulty.ends("Ray head down at submission", move, "rayless", at=at, hit="queued", on=HEAD)
    assert (final["state"], final["reason"]) == ("rolled_back", "SUBMIT_FAILED")
    assert never_frozen(final)
    assert len(faulty.bed.witness_report("rayless")["chain"]) == 1
