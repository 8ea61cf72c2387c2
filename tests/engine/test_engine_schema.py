"""The engine's state goes through the journal as plain JSON and comes back the same."""

import json

import pytest

from offloader.engine.history import moved
from offloader.engine.plan import plan, started
from offloader.engine.schema import EngineState
from offloader.errors import JournalError
from offloader.model import MoveState, Reason


def test_a_lived_state_comes_back_the_same(make):
    state = started(900.0, make.policy(), None)
    state, _ = plan((make.rule(), make.rule("b")), state, make.snapshot(950.0), make.policy())
    state = moved(state, make.move(MoveState.ROLLED_BACK, reason=Reason.NOT_PROVEN), 960.0)
    assert EngineState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_rules_are_listed_by_key_and_node(make):
    state, _ = plan((make.rule(),), EngineState(), make.snapshot(), make.policy())
    document = state.to_json()
    assert document["rules"]["head/cpu"]["head"]["phase"] == "firing"
    assert document["rules"]["head/cpu"]["head"]["phase_t"] == 1000.0


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"rules": [], "moved_t": {}, "failures": [], "started_t": None},
        {"rules": {"a": {"b": {"phase": "dancing"}}}, "moved_t": {}, "failures": [], "started_t": None},
        {"rules": {"a": {"b": {"unknown": 1}}}, "moved_t": {}, "failures": [], "started_t": None},
        {"rules": {}, "moved_t": {}, "failures": [{"move": "x"}], "started_t": None},
        {"rules": {}, "moved_t": 5, "failures": [], "started_t": None},
    ],
)
def test_what_is_no_state_is_refused_with_a_clear_error(document):
    with pytest.raises(JournalError, match="engine's state"):
        EngineState.from_json(document)
