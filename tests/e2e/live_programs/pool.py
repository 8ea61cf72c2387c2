"""A pool of processes that gets work through pipes and semaphores, and gives it back in order."""

import multiprocessing
import sys
import time
from collections.abc import Iterator

import signs


def begin(start_id: str) -> None:
    """In each of the pool's processes: one reporter for its life."""
    global told  # noqa: PLW0603 (that is how a pool's initialiser leaves something behind)
    told = signs.reporter(start_id, leader=False)


def square(number: int) -> int:
    """The work."""
    told.report()
    end = time.monotonic() + 0.005
    while time.monotonic() < end:
        pass
    time.sleep(0.03)
    return number * number


def numbers() -> Iterator[range]:
    """Parcels of work until it is to end."""
    first = 0
    while not signs.over():
        yield range(first, first + 8)
        first += 8


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    mine = signs.reporter()
    right = True
    with multiprocessing.Pool(2, begin, (signs.START_ID,)) as pool:
        signs.ready()
        for parcel in numbers():
            for number, result in zip(parcel, pool.imap(square, parcel), strict=True):
                mine.report()
                right = right and result == number * number
    sys.exit(5 if right else 1)
