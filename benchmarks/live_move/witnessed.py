"""From the witness's records to how long a program stood still. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.errors import CannotRunError


def stood_still_s(records: Iterable[Mapping[str, Any]], source: str, target: str) -> float:
    """Seconds from its last sign of life at the source to the first at the target, as the kernel stamped them.

    Raises CannotRunError when it did not go from there to here, or not only: started anew, or alive on both at once.
    """
    seen = sorted(records, key=lambda record: float(record["t"]))
    before = [float(record["t"]) for record in seen if record["node"] == source]
    after = [float(record["t"]) for record in seen if record["node"] == target]
    if not before or not after:
        raise CannotRunError(f"the program was not seen on {source if not before else target}")
    if len({record["start_id"] for record in seen}) != 1:
        raise CannotRunError("the program was started anew instead of going on")
    if after[0] <= before[-1]:
        raise CannotRunError(f"the program was alive on {source} and {target} at once")
    return after[0] - before[-1]
