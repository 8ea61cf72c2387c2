"""The pure parts: lease arithmetic, environment, state tables, lines, durable files."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offloader.launcher.durable import read_json, write_json
from offloader.launcher.environment import build
from offloader.launcher.errors import LauncherError
from offloader.launcher.lease import Lease
from offloader.launcher.states import GUARD, HOLD, Machine
from offloader.launcher.wire import LIMIT_BYTES, LineBuffer, encode


@given(st.lists(st.tuples(st.sampled_from(["ask", "grant", "old", "wait"]), st.floats(0, 5)), max_size=40))
def test_a_lease_never_outlives_its_last_granted_question(steps):
    """However answers are delayed, repeated or invented: dead at the latest 10 s after the last question granted."""
    now, lease = 100.0, Lease(100.0, length_s=10.0, question_s=2.0)
    asked: dict[int, float] = {}
    granted = 100.0
    for what, seconds in steps:
        now += seconds
        if what == "ask" and (seq := lease.question(now)) is not None:
            asked[seq] = now
        elif what in ("grant", "old") and asked:
            seq = max(asked) if what == "grant" else min(asked)
            if not lease.expired(now):
                granted = max(granted, asked[seq])
            lease.grant(seq, now)
        lease.grant(999_999, now)
        assert lease.expires <= granted + 10.0
        assert lease.expired(now) == (now >= lease.expires)


def test_a_lease_that_ran_out_cannot_be_revived():
    """A late answer is an answer to nobody."""
    lease = Lease(0.0, length_s=10.0, question_s=2.0)
    seq = lease.question(0.0)
    lease.grant(seq, 10.0)
    assert lease.expired(10.0)
    assert not lease.granted


def test_the_environment_keeps_order_and_the_first_of_two_equal_names():
    """As getenv sees it; entries without a name cannot be passed on."""
    captured = [b"B=1", b"A=2", b"B=3", b"=x", b"plain", b"BASH_FUNC_f%%=() { :; }"]
    assert list(build(captured, {}, (), {}).items()) == [(b"B", b"1"), (b"A", b"2"), (b"BASH_FUNC_f%%", b"() { :; }")]


@pytest.mark.parametrize(
    "name",
    ["SSH_CONNECTION", "SSH_AUTH_SOCK", "DISPLAY", "XDG_SESSION_ID", "WAYLAND_DISPLAY", "XAUTHORITY", "TMUX", "STY",
     "DBUS_SESSION_BUS_ADDRESS", "INVOCATION_ID", "NOTIFY_SOCKET", "LISTEN_FDS"],
)  # fmt: skip
def test_variables_of_a_session_do_not_travel(name):
    """They name sockets, displays and services of the source."""
    assert build([f"{name}=x".encode(), b"DISPLAYS=1", b"MY_SSH_KEY=k"], {}, (), {}) == {
        b"DISPLAYS": b"1",
        b"MY_SSH_KEY": b"k",
    }


def test_a_path_that_makes_no_sense_here_becomes_the_nodes_own():
    """Only then: a PATH with one directory that exists is kept as it was."""
    assert build([b"PATH=/opt/only/there"], {}, (), {})[b"PATH"].startswith(b"/usr")
    assert build([b"PATH=/opt/only/there:/usr/bin"], {}, (), {})[b"PATH"] == b"/opt/only/there:/usr/bin"


def test_additions_replace_what_an_earlier_move_left():
    """MIGRATED_FROM_PID of the first hop does not survive the second one."""
    captured = [b"MIGRATED_FROM_PID=1", b"X=1"]
    assert build(captured, {"MIGRATED_FROM_PID": "2"}, (), {})[b"MIGRATED_FROM_PID"] == b"2"


def test_a_passed_variable_that_the_backend_did_not_set_is_absent():
    """No GPU allocated: the source's CUDA_VISIBLE_DEVICES must not stand in for it."""
    captured = [b"CUDA_VISIBLE_DEVICES=3"]
    assert build(captured, {}, ("CUDA_VISIBLE_DEVICES",), {}) == {}
    assert build(captured, {}, ("CUDA_VISIBLE_DEVICES",), os.environb | {b"CUDA_VISIBLE_DEVICES": b"0"}) == {
        b"CUDA_VISIBLE_DEVICES": b"0"
    }


@pytest.mark.parametrize("table", [HOLD, GUARD])
def test_every_state_can_be_reached_and_left_or_is_an_end(table):
    """No state without a way out but the documented ends; every target of a transition is a state."""
    reached = {""}
    while more := {after for before in reached for after in table[before]} - reached:
        reached |= more
    assert reached == table.keys()
    ends = {state for state, after in table.items() if not after}
    assert ends == ({"exited", "aborted", "failed"} if table is HOLD else {"ended", "thawed"})


def test_an_impossible_transition_is_a_bug_that_shows():
    """Nobody goes from aborted to owned."""
    machine = Machine(HOLD, "aborted")
    with pytest.raises(ValueError, match="aborted to owned"):
        machine.enter("owned")
    assert machine.state == "aborted"


def test_nothing_is_owned_without_proof_and_nothing_thaws_while_holding():
    """The two transitions that would make two copies do not exist."""
    assert {before for before, after in HOLD.items() if "owned" in after} == {"proven"}
    assert "thawed" not in GUARD["holding"]


@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3), max_size=5))
def test_documents_survive_any_cutting_of_the_stream(documents):
    """Lines arrive in whatever pieces the network makes."""
    data = b"".join(map(encode, documents))
    for size in (1, 3, 7, len(data) or 1):
        buffer, found = LineBuffer(), []
        for start in range(0, len(data), size):
            found += buffer.feed(data[start : start + size])
        assert found == documents


def test_a_line_over_the_limit_is_refused_before_it_is_complete():
    """Nobody can fill the memory of a role."""
    buffer = LineBuffer()
    assert buffer.feed(b"x" * LIMIT_BYTES) == []
    with pytest.raises(LauncherError, match="longer than"):
        buffer.feed(b"x")


def test_a_state_file_is_replaced_or_stays_as_it_was(tmp_path):
    """A write that fails half-way leaves the old one."""
    path = tmp_path / "state.json"
    assert read_json(path) is None
    write_json(path, {"n": 1})
    (tmp_path / ".state.json.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_json(path, {"n": 2})
    assert read_json(path) == {"n": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="no JSON object"):
        read_json(path)
