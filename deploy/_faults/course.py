"""One run of many batches on one test bed."""

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from _testbed import nodes
from _testbed.errors import TestbedError
from _testbed.settings import load
from _testbed.shell import say

from _faults import batch, report
from _faults.batch import Result
from _faults.matrix import Batch
from _faults.rig import Rig
from _faults.ways import Way

__all__ = ["carry_out", "names", "still_to_do"]

TRIES = 2


def names(planned: Sequence[Batch]) -> list[str]:
    """Of every move in them."""
    return [case.name for one in planned for case in one.cases]


def still_to_do(planned: Sequence[Batch], known: Sequence[Result]) -> list[Batch]:
    """Without the moves that a former run found to be well."""
    well = {result.name for result in known if not result.broken}
    left = [replace(one, cases=tuple(case for case in one.cases if case.name not in well)) for one in planned]
    return [one for one in left if one.cases]


def carry_out(
    way: Way, planned: Sequence[Batch], *, results: Path | None, lock: Path | None, until: float
) -> list[Result]:
    """One batch after the other, none begun after `until` (CLOCK_MONOTONIC).

    Args:
        way: how the moves go.
        planned: what to do.
        results: file to which they are appended as they come.
        lock: held during each batch.
        until: see above.
    """
    done: list[Result] = []
    if planned:
        with _held(lock):
            _begin_empty(way)
    for number, one in enumerate(planned, start=1):
        if time.monotonic() > until:
            say(f"out of time: {len(planned) - number + 1} batches are left")
            break
        states = ", ".join(case.state for case in one.cases)
        say(f"[{number}/{len(planned)}] {one.fault.name} in {states}")
        with _held(lock):
            found = _tried(way, one)
        for result in found:
            say(f"  {result.name}: {'; '.join(result.broken) or 'ok'}")
        report.append(results, found)
        done += found
    return done


def _begin_empty(way: Way) -> None:
    """Without what an interrupted run has left."""
    rig = Rig(load(), way)
    rig.take_over()
    rig.whole()
    for node in rig.settings.nodes:
        nodes.end_loads(rig.settings, node)
    rig.forget()


@contextmanager
def _held(lock: Path | None) -> Iterator[None]:
    if lock is None:
        yield
        return
    with lock.open("a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tried(way: Way, one: Batch) -> list[Result]:
    """The batch's results. One that cannot be brought about is tried again, then told as that."""
    for left in reversed(range(TRIES)):
        rig = Rig(load(), way)
        try:
            rig.whole()
            return batch.run(rig, one.fault, one.cases, delay_s=one.delay_s)
        except TestbedError as error:
            say(f"  could not be made: {error}")
            if not left:
                return [_unmade(way, one, case, str(error)) for case in one.cases]
            _afresh(rig)
    raise AssertionError


def _afresh(rig: Rig) -> None:
    """As far as it goes: the next try tells what does not."""
    try:
        rig.forget()
    except TestbedError as error:
        say(f"  {error}")


def _unmade(way: Way, one: Batch, case: batch.Case, why: str) -> Result:
    broken = [f"could not be made: {why}"]
    return Result(case.name, one.fault.name, case.state, case.ends.text, strategy=way.name, broken=broken)
