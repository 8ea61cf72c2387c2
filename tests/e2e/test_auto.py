"""`grid-offloader auto` on the test bed: in force at once, kept through kill -9, and `--disable` takes back."""

import json

import pytest

pytestmark = [pytest.mark.testbed, pytest.mark.ray]

# As the shipped ones, which state no threshold of their own, without their conditions and with shorter times.
RULES = """\
groups:
  - name: trial
    rules:
      - offload: cpu
        resource: cpu
        expr: grid:node_pressure:ratio{role="head",resource="cpu"}
        for: 5s
        select: {min_age: 1s}
      - offload: memory
        resource: memory
        expr: grid:node_pressure:ratio{role="head",resource="memory"}
        for: 1h
      - offload: gpu
        resource: gpu
        expr: 0 * grid:node_pressure:ratio{role="head",resource="cpu"}
        for: 10m
"""
SHOWN = {"running", "ceiling", "enabled", "kill_switch", "thresholds", "rules", "moves_in_flight", "last_decision"}


def auto(controlled, *words):
    """`auto WORDS --format json`."""
    return controlled.json("auto", *words)


def impatient(rules):
    """Sections of the cluster file with which nobody has to wait for cooldowns."""
    times = {"check_interval": "2s", "cooldown": "2s", "initial_cooldown": "1s"}
    return {"auto_offload": {**times, "rule_files": [str(rules)]}}


def rule_of(document, resource):
    return next(rule for rule in document["rules"] if rule["resource"] == resource)


def stands(document):
    """What must survive: everything but values and times that go on."""
    return {
        "ceiling": document["ceiling"],
        "thresholds": document["thresholds"],
        "rules": {rule["key"]: (rule["state"], rule["since_t"]) for rule in document["rules"]},
        "moves": [move["id"] for move in document["moves_in_flight"]],
        "last_decision": document["last_decision"],
    }


def last_reason(controlled):
    return (controlled.status()["last_decision"] or {}).get("reason")


def decided(decision):
    """What was decided, without the values of the moment."""
    return {name: decision[name] for name in ("kind", "rule", "node", "mode", "reason", "target")}


@pytest.mark.timeout(400)
def test_thresholds_are_in_force_within_a_tick_and_everything_survives_kill_9(controlled):
    bed = controlled.bed
    rules = bed.shared / "three_rules.yml"
    rules.write_text(RULES)
    controlled.start(changes=impatient(rules))
    fresh = auto(controlled, "--status")
    assert set(fresh) == SHOWN
    assert (fresh["ceiling"], fresh["enabled"]) == ("observe", False)
    assert fresh["thresholds"] == {"cpu": 0.80, "memory": 0.70, "gpu": 0.90}
    controlled.ready()
    every_spelling_is_in_force_at_once(controlled)
    bed.start_load("gpu-master", "pressing", cpu=0.5, environment={"GRID_OFFLOAD": "allow"})
    rules_are_evaluated_with_it(controlled)

    move = controlled.start_move(bed.start_load("gpu-master", "flying", cpu=0.1).pid, "gpu2")
    bed.wait_for(lambda: last_reason(controlled) == "ALREADY_MOVING", 10, "a tick that has seen the move")
    before = auto(controlled, "--status")
    assert [one["id"] for one in before["moves_in_flight"]] == [move]
    assert before["last_decision"] is not None
    controlled.kill()
    the_journal_tells_the_same(controlled, before)
    controlled.restart()
    it_goes_on_where_it_was(controlled, before)
    over = controlled.final(move)
    assert (over["state"], over["reason"]) == ("rolled_back", "CONTROLLER_RESTARTED")
    controlled.one_copy("flying", on="gpu-master")
    off = auto(controlled, "--disable")
    assert (off["ceiling"], off["enabled"], off["thresholds"]) == ("observe", False, before["thresholds"])
    controlled.nothing_left()


def every_spelling_is_in_force_at_once(controlled):
    spellings = [
        (["--threshold", "cpu=80", "--threshold", "memory=65"], {"cpu": 0.80, "memory": 0.65, "gpu": 0.90}),
        (["--threshold", "cpu=80", "memory=55", "gpu=85"], {"cpu": 0.80, "memory": 0.55, "gpu": 0.85}),
        (["--threshold", "70"], {"cpu": 0.80, "memory": 0.70, "gpu": 0.85}),
    ]
    for words, expected in spellings:
        ticks = controlled.status()["data"]["ticks"]
        answer = auto(controlled, "--enable", "--mode", "advise", *words)
        after = controlled.status()
        assert answer["thresholds"] == after["thresholds"] == expected
        assert {rule["resource"]: rule["threshold"] for rule in after["rules"]} == expected
        assert after["data"]["ticks"] > ticks  # evaluated with it before the command returned
        assert (answer["ceiling"], answer["enabled"]) == ("advise", True)


def rules_are_evaluated_with_it(controlled):
    """Not only the shown number changes: what is quiet under 100 % is true under 5 % when the command returns."""
    wait_for = controlled.bed.wait_for
    wait_for(lambda: (rule_of(controlled.status(), "cpu")["value"] or 0) > 0.3, 60, "the load to show")
    high = rule_of(auto(controlled, "--enable", "--mode", "advise", "--threshold", "cpu=100"), "cpu")
    assert (high["truth"], high["state"]) == ("false", "inactive"), high
    low = auto(controlled, "--enable", "--mode", "advise", "--threshold", "cpu=5", "memory=1")
    for resource in ("cpu", "memory"):
        rule = rule_of(low, resource)
        assert (rule["truth"], rule["state"]) == ("true", "pending"), rule
    advises = "would_move"
    wait_for(lambda: rule_of(controlled.status(), "cpu")["decision"] == advises, 60, "the cpu rule's advice")


def the_journal_tells_the_same(controlled, before):
    """`auto --status` without a controller."""
    done = controlled.cli("auto", "--status", "--format", "json")
    assert done.returncode == 0
    assert "no controller is running" in done.stderr
    dead = json.loads(done.stdout)
    assert set(dead) == SHOWN
    assert dead["running"] is False
    assert stands(dead) == stands(before)


def it_goes_on_where_it_was(controlled, before):
    alive = auto(controlled, "--status")
    for name in ("ceiling", "thresholds"):
        assert alive[name] == before[name]
    assert decided(alive["last_decision"]) == decided(before["last_decision"])

    def awake():
        document = controlled.status()
        return document if rule_of(document, "cpu")["state"] != "cooling" else None

    after = controlled.bed.wait_for(awake, 60, "the end of its first rest")
    states = {rule["resource"]: rule["state"] for rule in before["rules"]}
    assert states == {"cpu": "firing", "memory": "pending", "gpu": "inactive"}
    assert {rule["resource"]: rule["state"] for rule in after["rules"]} == states
    assert rule_of(after, "memory")["held_s"] >= rule_of(before, "memory")["held_s"] > 0  # `for` goes on


@pytest.mark.timeout(400)
def test_disable_takes_an_automatic_move_back_before_ownership(controlled):
    bed = controlled.bed
    controlled.start(mode="auto", changes=impatient(bed.root / "controller/rules.yml"))
    controlled.ready()
    auto(controlled, "--enable", "--threshold", "cpu=50")
    bed.start_load("gpu-master", "backagain", environment={"GRID_OFFLOAD": "allow"})
    original = bed.wait_for(lambda: bed.witness_report("backagain")["running"], 20, "its first sign of life")

    def begun():
        moves = controlled.status()["moves_in_flight"]
        return moves[0] if moves else None

    move = bed.wait_for(begun, 120, "an automatic move")
    assert move["automatic"] is True
    controlled.reached(move["id"], "frozen")
    auto(controlled, "--disable")
    over = controlled.final(move["id"])
    assert (over["state"], over["reason"]) == ("rolled_back", "DISABLED"), over
    assert "owning" not in [step["event"] for step in over["timeline"]]
    report = controlled.one_copy("backagain", on="gpu-master")
    assert report["running"] == original
    controlled.nothing_left()
