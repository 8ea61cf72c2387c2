"""Reservations as a value: functions over an immutable state, which the journal persists.

No capacity is given twice: what may be reserved is the node's offer less everything already held there, whoever holds
it (moves in flight, allocations, boosts). Units are typed by `Capacity`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from offloader.errors import Refused
from offloader.model import Capacity, Reason, Reservation

__all__ = ["Ledger", "held_by", "release", "reserve", "total", "totals"]

Ledger = Mapping[str, Reservation]
"""Reservation id → reservation."""


def total(reservations: Iterable[Reservation], node: str) -> Capacity:
    """The sum of what is reserved on one node."""
    return sum((held.amount for held in reservations if held.node == node), Capacity())


def totals(reservations: Iterable[Reservation]) -> dict[str, Capacity]:
    """Node → sum; nodes with nothing reserved are absent."""
    sums: dict[str, Capacity] = {}
    for held in reservations:
        sums[held.node] = sums.get(held.node, Capacity()) + held.amount
    return sums


def held_by(ledger: Ledger, holder: str) -> tuple[Reservation, ...]:
    """Everything that one holder has."""
    return tuple(held for held in ledger.values() if held.holder == holder)


def reserve(ledger: Ledger, wanted: Reservation, offer: Capacity) -> Ledger:
    """The ledger with one reservation more. The same id again replaces the earlier one, so that asking twice is safe.

    Args:
        ledger: everything held now.
        wanted: what, where, for whom.
        offer: what the node offers now, before anything in the ledger is subtracted.

    Raises:
        Refused: TARGET_FULL, with what is left there.
        ValueError: an amount that is negative or not a number.
    """
    _check_amount(wanted)
    others = {id_: held for id_, held in ledger.items() if id_ != wanted.id}
    taken = total(others.values(), wanted.node)
    # Adding compares without Capacity's floor at zero: an offer that shrank below what is held leaves nothing.
    if not (wanted.amount + taken).fits(offer):
        raise Refused(
            Reason.TARGET_FULL,
            f"{wanted.node} has {_words(offer - taken)} left of {_words(offer)} offered; {_words(wanted.amount)} "
            "needed: wait until something there ends, choose another node, or ask for less",
        )
    return {**others, wanted.id: wanted}


def release(ledger: Ledger, holder: str) -> Ledger:
    """The ledger without anything of this holder; holding nothing is fine."""
    return {id_: held for id_, held in ledger.items() if held.holder != holder}


def _check_amount(wanted: Reservation) -> None:
    amount = wanted.amount
    parts = (amount.cores, amount.memory_bytes, amount.gpus, amount.gpu_memory_bytes)
    if not all(part >= 0 for part in parts):  # NaN compares false as well
        raise ValueError(f"reservation {wanted.id}: an amount must not be negative: {amount}")


def _words(amount: Capacity) -> str:
    words = f"{amount.cores:.2f} cores, {amount.memory_bytes / 2**30:.1f} GiB"
    if amount.gpus or amount.gpu_memory_bytes:
        words += f", {amount.gpus} GPU ({amount.gpu_memory_bytes / 2**30:.1f} GiB)"
    return words
