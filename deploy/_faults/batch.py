"""One batch: several moves, each stopped in its state, under one fault; then each is judged, and what is left."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from _testbed import leftovers
from _testbed.errors import TestbedError
from _testbed.shell import say, wait_until

from _faults.ambush import Ambush
from _faults.expected import Ends, counts_from_heal, from_then_on
from _faults.fault import Fault, Victim
from _faults.judge import Outcome, broken, outcome, state_at
from _faults.progress import kept
from _faults.rig import Document, Rig

__all__ = ["Case", "Result", "run"]

OLD_ENOUGH_S = 4.0  # a load that was just started looks larger than it is, and so would each move's claim
HOLD_S = 90
END_S = 100
QUIET_S = 1.5  # the witness calls a copy running for a second after its last sign of life
CLEAN_S = 200
"""A launcher that was never let go, and that nobody reached to end it, ends itself after 120 s without a connection.
That a partition broke its connection it may learn a minute late."""
FINAL = ("done", "rolled_back", "lost")


@dataclass(frozen=True)
class Case:
    """One move of a batch: the state that the fault finds it in, and what has to come out.

    `declared`: that running its load again is harmless.
    """

    name: str
    state: str
    ends: Ends
    declared: bool = True


@dataclass
class Result:
    """One judged move. `broken` is empty when every invariant held; `move`: its id, `detail`: how it ended.

    `hit`: whether a process that the fault was to kill was there; None: it kills none of the move's own.
    """

    name: str
    fault: str
    state: str
    expected: str
    move: str = ""
    final: str | None = None
    reason: str | None = None
    detail: str = ""
    copies: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    overlaps: int = 0
    again_s: float | None = None
    delay_s: float = 0.0
    load_average: float = 0.0
    strategy: str = "restart"
    declared: bool = True
    job_state: str | None = None
    hit: bool | None = None
    broken: list[str] = field(default_factory=list)


@dataclass
class _Moving:
    case: Case
    victim: Victim
    let_go: bool = False
    began: float = 0.0
    struck: float = 0.0
    healed: float = 0.0

    def ends(self, rig: Rig, fault: Fault, move: Document) -> Ends:
        """What may come out: of a fault that found the move on its way, by the state that it was in then."""
        if fault.passing or not self.let_go:
            return self.case.ends
        state = self._state_at(self.began, move)
        return from_then_on(rig.way.name, fault.name, state, declared=self.case.declared)

    def from_t(self, fault: Fault, move: Document) -> float:
        """From when the seconds until one copy runs count."""
        return self.healed if counts_from_heal(fault.name, self._state_at(self.struck, move)) else self.began

    def _state_at(self, t: float, move: Document) -> str:
        return state_at(move.get("timeline", ()), t) or self.case.state


def run(rig: Rig, fault: Fault, cases: Sequence[Case], *, delay_s: float = 0.0) -> list[Result]:
    """Carry out one batch. `delay_s`: from letting the moves go on to the fault; 0: it hits while they stand.

    Raises: TestbedError when the fault could not be brought about; that says nothing about the product.
    """
    loads = [f"{case.name}.{time.time():.0f}" for case in cases]  # the witness remembers those of earlier tries
    fault.prepare(rig)
    ambush = None
    try:
        rig.whole()
        rig.look_from_here()
        started = [_start(rig, fault, case, load) for case, load in zip(cases, loads, strict=True)]
        time.sleep(OLD_ENOUGH_S)
        moving = [_move(rig, *each) for each in zip(cases, loads, started, strict=True)]
        for one in moving:
            _stands(rig, one)
        say(f"  all stand; {fault.text}")
        ambush = _strike(rig, fault, moving, delay_s)
        _until_settled(rig, fault, moving)
        results = [_judge(rig, fault, one, delay_s) for one in moving]
        if ambush is not None:
            for one, result in zip(moving, results, strict=True):
                result.hit = one.victim.load in ambush.hits
        return _with_leftovers(results, _clean_up(rig, moving))
    finally:
        if ambush is not None:
            ambush.call_off()
        rig.stages.release_all()
        rig.end_loads(loads)
        fault.tidy(rig)


def _start(rig: Rig, fault: Fault, case: Case, load: str) -> tuple[int, int]:
    """Start the original. Its process id, as the head and as the machine numbers it."""
    pid = rig.start_load(load, declared=case.declared)
    outer = rig.outer_pid(pid)
    if outer is None:
        raise TestbedError(f"{load} ended before its move")
    if fault.adopt is not None:
        fault.adopt(rig, outer)
    return pid, outer


def _move(rig: Rig, case: Case, load: str, pids: tuple[int, int]) -> _Moving:
    pid, outer = pids
    rig.stages.hold(pid, case.state)
    move = rig.begin(load, pid)
    return _Moving(case, Victim(load, pid, outer, str(move["id"]), str(move["job"])))


def _stands(rig: Rig, one: _Moving) -> None:
    """Until it is in its state. Raises TestbedError when it is not, or ended before."""
    deadline = time.monotonic() + HOLD_S
    while not rig.stages.stands(one.victim.pid):
        move = rig.show(one.victim.move)
        if time.monotonic() > deadline or (move is not None and move["state"] in FINAL):
            raise TestbedError(f"{one.case.name} is not {one.case.state}: {move and (move['state'], move['detail'])}")
        time.sleep(0.2)


def _strike(rig: Rig, fault: Fault, moving: Sequence[_Moving], delay_s: float) -> Ambush | None:
    """The fault hits, the moves go on, the fault is mended. Returns what still lies in wait for processes of theirs."""
    victims = [one.victim for one in moving]
    ambush = _ambush(rig, fault, victims, delay_s) if fault.passing else None
    if delay_s:
        rig.stages.release_all()
        if not fault.passing:
            time.sleep(delay_s)
    began = time.time()
    if not fault.passing:
        fault.hit(rig, victims)
        ambush = _ambush(rig, fault, victims)
    struck = time.time()
    rig.stages.release_all()
    time.sleep(max(0.0, began + fault.lasts_s - time.time()))
    fault.heal(rig)
    healed = time.time()
    for one in moving:
        one.let_go, one.began, one.struck, one.healed = bool(delay_s), began, struck, healed
    fault.then(rig)
    return ambush


def _ambush(rig: Rig, fault: Fault, victims: Sequence[Victim], after_s: float = 0.0) -> Ambush | None:
    if fault.prey is None:
        return None
    return Ambush(fault.prey(rig, victims), [victim.load for victim in victims], after_s)


def _until_settled(rig: Rig, fault: Fault, moving: Sequence[_Moving]) -> None:
    """Every move is over and every load as expected, for a while; or it will not be."""
    deadline = time.monotonic() + END_S
    quiet = None
    while time.monotonic() < deadline:
        if not all(_settled(rig, fault, one) for one in moving):
            quiet = None
        elif quiet is None:
            quiet = time.monotonic()
        elif time.monotonic() > quiet + QUIET_S:
            return
        time.sleep(0.5)


def _settled(rig: Rig, fault: Fault, one: _Moving) -> bool:
    move = rig.show(one.victim.move)
    if move is None or move["state"] not in FINAL:
        return False
    running, ends = len(_outcome(rig, fault, one, move).running), one.ends(rig, fault, move)
    return running in ends.copies and (running > 0 or move["job_state"] in ends.over)


def _outcome(rig: Rig, fault: Fault, one: _Moving, move: Document) -> Outcome:
    now = time.time()  # before reading, which takes its time
    return outcome(rig.records(one.victim.load), one.from_t(fault, move), now)


def _judge(rig: Rig, fault: Fault, one: _Moving, delay_s: float) -> Result:
    move = rig.show(one.victim.move) or {}
    seen, ends = _outcome(rig, fault, one, move), one.ends(rig, fault, move)
    final = move.get("state") if move.get("state") in FINAL else None
    lost = kept(rig.way.name, rig.records(one.victim.load), ends)
    return Result(
        name=one.case.name, fault=fault.name, state=one.case.state, expected=ends.text, move=one.victim.move,
        final=final, reason=move.get("reason"), detail=str(move.get("detail") or ""), copies=seen.copies,
        running=seen.running, overlaps=seen.overlaps, again_s=seen.again_s, delay_s=delay_s,
        load_average=os.getloadavg()[0], strategy=rig.way.name, declared=one.case.declared,
        job_state=move.get("job_state"), broken=[*broken(seen, ends, final, move.get("job_state")), *lost],
    )  # fmt: skip


def _clean_up(rig: Rig, moving: Sequence[_Moving]) -> list[str]:
    """End the loads; then nothing may be left of any move. Returns what is."""
    left = [f"{what} (while it should run)" for what in leftovers.frozen(rig.settings)]
    rig.end_loads([one.victim.load for one in moving])
    for look in (
        lambda: leftovers.frozen(rig.settings),
        lambda: leftovers.launchers_on(rig.settings),
        lambda: leftovers.copiers(rig.settings),
        lambda: leftovers.images(rig.settings),
        rig.submissions,
        lambda: [f"{node}: {cores} cores are reserved" for node, cores in rig.reserved().items()],
    ):
        left += _still(look)
    return left


def _still(look: Callable[[], list[str]]) -> list[str]:
    """What a look goes on to find."""
    try:
        wait_until(lambda: not look(), CLEAN_S, "nothing to be left")
    except TestbedError:
        return look()
    return []


def _with_leftovers(results: list[Result], left: list[str]) -> list[Result]:
    """What is left is told with the move whose name it bears, or with the whole batch."""
    for what in left:
        mine = [one for one in results if one.move in what] or results
        for one in mine:
            one.broken.append(f"left over: {what}")
    return results
