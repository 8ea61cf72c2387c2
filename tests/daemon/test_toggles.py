"""Switches: what is kept, what a kill-switch file means, and what may take it away."""

from pathlib import Path
from typing import Any

import pytest

from offloader.daemon.toggles import KILL_SWITCH_MARK, Switches, toggles_of
from offloader.errors import JournalError, Refused
from offloader.model import Identity, Mode, Move, MoveState, Reason, Resource, StrategyName


class Settings:
    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.full = False

    def setting(self, key: str) -> Any:
        return self.kept.get(key)

    def set_setting(self, key: str, value: Any) -> None:
        if self.full:
            raise JournalError("disk full")
        self.kept[key] = value


def move(*, automatic: bool) -> Move:
    return Move(
        id="offload_1_2",
        job="j",
        from_epoch=0,
        to_epoch=1,
        identity=Identity("b", 2, 3, 1000, 0, 0),
        source="head",
        target="gpu1",
        strategy=StrategyName.RESTART,
        backend="ray",
        state=MoveState.PLANNED,
        requested_by=0,
        automatic=automatic,
        rule=None,
        created_t=0.0,
        updated_t=0.0,
    )


def test_a_fresh_installation_observes(tmp_path: Path) -> None:
    assert Switches(Settings(), tmp_path).read().ceiling is Mode.OBSERVE


def test_toggles_are_the_same_for_the_next_controller(tmp_path: Path) -> None:
    settings = Settings()
    switches = Switches(settings, tmp_path)
    switches.enable(Mode.APPROVE)
    switches.set_thresholds({Resource.CPU: 0.7, Resource.GPU: 0.5})
    switches.set_thresholds({Resource.GPU: None})
    assert Switches(settings, tmp_path).read() == switches.read()
    assert switches.read().thresholds == {Resource.CPU: 0.7}


def test_the_file_is_looked_at_every_time(tmp_path: Path) -> None:
    switches = Switches(Settings(), tmp_path)
    switches.kill_switch_path.touch()
    assert switches.read().kill_switch
    switches.kill_switch_path.unlink()
    assert not switches.read().kill_switch


def test_a_dangling_link_and_a_place_that_cannot_be_seen_count_as_there(tmp_path: Path) -> None:
    switches = Switches(Settings(), tmp_path)
    switches.kill_switch_path.symlink_to("nowhere")
    assert switches.read().kill_switch
    blocked = tmp_path / "file"
    blocked.touch()
    assert Switches(Settings(), blocked).read().kill_switch  # ENOTDIR


def test_enabling_takes_away_only_a_file_that_disabling_wrote(tmp_path: Path) -> None:
    switches = Switches(Settings(), tmp_path)
    switches.kill_switch_path.write_text(f"{KILL_SWITCH_MARK}\nby root\n")
    switches.enable(Mode.AUTO)
    assert not switches.read().kill_switch
    switches.kill_switch_path.write_text("maintenance\n")
    with pytest.raises(Refused) as caught:
        switches.enable(Mode.AUTO)
    assert caught.value.reason is Reason.KILL_SWITCH
    assert switches.read().kill_switch


def test_disabling_is_in_force_even_when_it_cannot_be_kept(tmp_path: Path) -> None:
    settings = Settings()
    switches = Switches(settings, tmp_path)
    switches.enable(Mode.AUTO)
    settings.full = True
    with pytest.raises(JournalError):
        switches.disable()
    assert switches.read().ceiling is Mode.OBSERVE


def test_enabling_that_cannot_be_kept_is_not_in_force(tmp_path: Path) -> None:
    settings = Settings()
    settings.full = True
    switches = Switches(settings, tmp_path)
    with pytest.raises(JournalError):
        switches.enable(Mode.AUTO)
    assert switches.read().ceiling is Mode.OBSERVE


def test_moves_ask_before_every_step_whether_they_may_go_on(tmp_path: Path) -> None:
    switches = Switches(Settings(), tmp_path)
    forbidden = switches.forbidden(move(automatic=True))
    assert forbidden is not None
    assert forbidden[0] is Reason.DISABLED
    assert switches.forbidden(move(automatic=False)) is None
    switches.enable(Mode.AUTO)
    assert switches.forbidden(move(automatic=True)) is None
    switches.kill_switch_path.touch()
    for automatic in (True, False):
        forbidden = switches.forbidden(move(automatic=automatic))
        assert forbidden is not None
        assert forbidden[0] is Reason.KILL_SWITCH


@pytest.mark.parametrize("document", [None, 7, [], "auto"])
def test_something_else_in_the_journal_is_the_safe_default(document: object) -> None:
    assert toggles_of(document).ceiling is Mode.OBSERVE
