"""Processes of moves that faults kill, as far as they are there: the topmost of each kind."""

from collections.abc import Callable, Mapping, Sequence

from _testbed import leftovers

from _faults.ambush import Find
from _faults.fault import Victim
from _faults.rig import Rig

__all__ = ["cradle", "dump", "launcher", "page_server", "restore"]


def launcher(rig: Rig, victims: Sequence[Victim]) -> Find:
    """On the target: below it are its warden and the job."""
    return lambda: _topmost(leftovers.launchers(rig.settings, rig.target, "hold"), victims, _attempt)


def dump(rig: Rig, victims: Sequence[Victim]) -> Find:
    """Criu at the source."""
    return lambda: _topmost(leftovers.criu(rig.settings, rig.head, "dump"), victims, _move)


def page_server(rig: Rig, victims: Sequence[Victim]) -> Find:
    """Criu at the target, as it waits for the memory."""
    return lambda: _topmost(leftovers.criu(rig.settings, rig.target, "page-server"), victims, _attempt)


def restore(rig: Rig, victims: Sequence[Victim]) -> Find:
    """Criu at the target."""
    return lambda: _topmost(leftovers.criu(rig.settings, rig.target, "restore"), victims, _attempt)


def cradle(rig: Rig, victims: Sequence[Victim]) -> Find:
    """The first process of the namespace in which the copy lives, or is to live."""
    return lambda: _cradles(leftovers.cradles(rig.settings, rig.target), victims)


def _cradles(found: Mapping[int, str], victims: Sequence[Victim]) -> dict[str, list[int]]:
    return {one.load: [pid for pid, attempt in found.items() if attempt == f"{one.job}.1"] for one in victims}


def _attempt(victim: Victim) -> str:
    return f"/attempts/{victim.job}.1"


def _move(victim: Victim) -> str:
    return f"/moves/{victim.move}/"


def _topmost(
    found: Mapping[int, str], victims: Sequence[Victim], mark: Callable[[Victim], str]
) -> dict[str, list[int]]:
    mine = {one.load: [pid for pid, line in found.items() if mark(one) in line] for one in victims}
    return {load: [pid for pid in pids if leftovers.parent(pid) not in pids] for load, pids in mine.items()}
