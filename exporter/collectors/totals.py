"""Sums of counters over devices that come and go: a sum that never runs backwards."""

from collections.abc import Mapping

_REMEMBERED = 256
"""Vanished devices whose counters are still known if they come back."""


class DeviceTotals:
    """Adds up what each device counted since this exporter began to look.

    The plain sum of the devices' counters drops when one of them vanishes (a stick pulled out, a card moved into a
    container), and Prometheus takes a counter that drops for one that began anew: rate() would show the whole sum as
    traffic of that moment. A sum since the start stays, and begins at 0 after a restart, as Prometheus expects.
    A device that turns up later counts from there on; a counter that stands lower than before began at 0 again.
    """

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._last: dict[str, tuple[int, ...]] = {}

    def add(self, readings: Mapping[str, tuple[int, ...]], width: int) -> tuple[int, ...]:
        """Take one reading of `width` counters from each device that is there; gives the sums."""
        sums = self._sums or [0] * width
        for device, now in readings.items():
            before = self._last.pop(device, now)
            for at, (new, old) in enumerate(zip(now, before, strict=True)):
                sums[at] += new - old if new >= old else new
            self._last[device] = now  # at the end: the dictionary's order is that of the last sight
        while len(self._last) > len(readings) + _REMEMBERED:
            del self._last[next(iter(self._last))]
        self._sums = sums
        return tuple(sums)
