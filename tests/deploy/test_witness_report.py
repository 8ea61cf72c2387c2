"""The witness's judgement: when does it say that two copies executed at once?"""

import pytest
from _testbed.witness_report import GAP_S, PERIOD_S, intervals, overlapped, read, report, reports


def beats(start_id, *spans, load="job", node="gpu1", leader=True, pid=1, period=PERIOD_S):
    """Records of a copy that executes during `spans` of (first, last) seconds."""
    times = []
    for first, last in spans:
        count = round((last - first) / period)
        times += [first + number * period for number in range(count + 1)]
    return [
        {"t": t, "load": load, "node": node, "start_id": start_id, "pid": pid, "seq": seq, "leader": leader}
        for seq, t in enumerate(times, start=1)
    ]


def judge(*copies, now=100.0):
    return report([record for copy in copies for record in copy], now)


def test_silence_cuts_intervals():
    assert intervals([1.0, 1.05, 1.1, 5.0, 5.05]) == [(1.0, 1.1), (5.0, 5.05)]


def test_a_gap_of_the_limit_is_none():
    assert intervals([0.0, GAP_S]) == [(0.0, GAP_S)]


def test_order_of_arrival_does_not_matter():
    assert intervals([1.1, 1.0, 1.05]) == [(1.0, 1.1)]


def test_no_signs_of_life():
    assert intervals([]) == []
    assert report([], 0.0) == {"chain": [], "overlaps": 0, "running": []}


def test_hand_off_is_a_chain_without_overlap():
    told = judge(beats("b", (10.5, 12), node="gpu2"), beats("a", (0, 10)))
    assert [(entry["start_id"], entry["node"]) for entry in told["chain"]] == [("a", "gpu1"), ("b", "gpu2")]
    assert told["overlaps"] == 0
    assert told["chain"][0] | {"pids": []} == {
        "node": "gpu1", "start_id": "a", "first_t": 0, "last_t": 10.0, "first_seq": 1, "last_seq": 201, "pids": [],
        "running": False,
    }  # fmt: skip


def test_what_was_moved_live_keeps_its_start_id_and_is_a_copy_on_each_node():
    told = judge(beats("a", (0, 10)), beats("a", (10.5, 12), node="gpu2"), beats("a", (12.5, 20)), now=20.0)
    assert [(entry["node"], entry["running"]) for entry in told["chain"]] == [("gpu1", True), ("gpu2", False)]
    assert (told["overlaps"], told["running"]) == (0, ["a"])
    assert judge(beats("a", (0, 10)), beats("a", (9.5, 12), node="gpu2"))["overlaps"] == 1
    assert judge(beats("a", (0, 10)), beats("a", (9.5, 10), node="gpu2"), now=10.0)["running"] == ["a", "a"]


def test_two_at_once_are_one_overlap():
    assert judge(beats("a", (0, 10)), beats("b", (9.8, 12)))["overlaps"] == 1


def test_one_inside_the_other():
    assert judge(beats("a", (0, 10)), beats("b", (4, 5)))["overlaps"] == 1


def test_a_single_sign_of_life_suffices():
    assert judge(beats("a", (0, 10)), beats("b", (5, 5)))["overlaps"] == 1


def test_frozen_while_the_other_lived_and_died():
    """A … frozen … B lives and dies … A thawed: a hand-off that was rolled back."""
    assert judge(beats("a", (0, 10), (20, 30)), beats("b", (12, 18)))["overlaps"] == 0


def test_thawed_too_early():
    assert judge(beats("a", (0, 10), (17, 30)), beats("b", (12, 18)))["overlaps"] == 1


def test_frozen_too_late():
    assert judge(beats("a", (0, 12.5), (20, 30)), beats("b", (12, 18)))["overlaps"] == 1


def test_second_copy_shows_up_again_after_the_thaw():
    """Intervals never meet, yet B was not dead when A was thawed."""
    assert judge(beats("a", (0, 10), (20, 21)), beats("b", (12, 18), (22, 23)))["overlaps"] == 1


def test_starved_copies_that_take_turns():
    """One sign of life every 0.6 s from each: points, not intervals, and an overlap all the same."""
    assert judge(beats("a", (0, 6), period=0.6), beats("b", (0.3, 6.3), period=0.6))["overlaps"] == 1


def test_pairs_are_counted():
    told = judge(beats("a", (0, 10)), beats("b", (5, 15)), beats("c", (9, 20)), beats("d", (30, 31)))
    assert told["overlaps"] == 3


def test_children_count_as_their_copy():
    """A child that outlives its copy's leader beside the successor is an overlap."""
    child = beats("a", (0, 20), leader=False, pid=2)
    told = judge(beats("a", (0, 10)), child, beats("b", (12, 14)))
    assert told["overlaps"] == 1
    assert told["chain"][0]["pids"] == [1, 2]
    assert told["chain"][0]["last_seq"] == 201


def test_running_is_what_was_heard_lately():
    assert judge(beats("a", (0, 10)), beats("b", (12, 19.5)), now=20.0)["running"] == ["b"]


def test_loads_are_told_apart():
    told = reports([*beats("a", (0, 10), load="x"), *beats("b", (0, 10), load="y")], 10.0)
    assert {name: entry["overlaps"] for name, entry in told.items()} == {"x": 0, "y": 0}


@pytest.mark.parametrize(("one", "other", "expected"), [([], [], False), ([(0.0, 1.0)], [], False)])
def test_nothing_overlaps_with_nothing(one, other, expected):
    assert overlapped(one, other) is expected


def test_half_a_line_is_left_for_later(tmp_path):
    log = tmp_path / "log.jsonl"
    assert read(log) == []
    log.write_text('{"t": 1}\n{"t": 2')
    assert read(log) == [{"t": 1}]
