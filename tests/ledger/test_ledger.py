"""Capacity is never given twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offloader.errors import Refused
from offloader.ledger.ledger import held_by, release, reserve, total, totals
from offloader.model import Capacity, Reason, Reservation, ReservationKind

GIB = 1 << 30
OFFER = Capacity(4.0, 8 * GIB, 1, 16 * GIB)


def reservation(id_: str, amount: Capacity, node: str = "gpu1", holder: str = "m1") -> Reservation:
    return Reservation(id_, node, amount, holder, ReservationKind.MOVE, 1.0)


@pytest.mark.parametrize(
    "amount",
    [Capacity(cores=4.1), Capacity(memory_bytes=8 * GIB + 1), Capacity(gpus=2), Capacity(gpu_memory_bytes=17 * GIB)],
)
def test_more_of_any_resource_than_is_offered_is_refused(amount):
    with pytest.raises(Refused, match=r"gpu1 has 4\.00 cores, 8.0 GiB, 1 GPU") as refused:
        reserve({}, reservation("a", amount), OFFER)
    assert refused.value.reason is Reason.TARGET_FULL


def test_two_that_fit_alone_but_not_together_are_not_both_given():
    ledger = reserve({}, reservation("a", Capacity(cores=3)), OFFER)
    with pytest.raises(Refused, match=r"1\.00 cores"):
        reserve(ledger, reservation("b", Capacity(cores=2), holder="m2"), OFFER)
    assert reserve(ledger, reservation("b", Capacity(cores=2), "gpu2"), OFFER).keys() == {"a", "b"}


def test_asking_again_with_the_same_name_replaces_and_does_not_add():
    ledger = reserve({}, reservation("a", Capacity(cores=3)), OFFER)
    assert reserve(ledger, reservation("a", Capacity(cores=3)), OFFER) == ledger


def test_releasing_gives_back_everything_of_the_holder_and_twice_is_fine():
    ledger = reserve({}, reservation("a", Capacity(cores=1)), OFFER)
    ledger = reserve(ledger, reservation("b", Capacity(cores=1)), OFFER)
    ledger = reserve(ledger, reservation("c", Capacity(cores=1), holder="m2"), OFFER)
    assert len(held_by(ledger, "m1")) == 2
    left = release(release(ledger, "m1"), "m1")
    assert left.keys() == {"c"}
    assert total(left.values(), "gpu1") == Capacity(cores=1)
    assert totals(left.values()) == {"gpu1": Capacity(cores=1)}


def test_an_offer_that_shrank_below_what_is_held_leaves_nothing():
    ledger = reserve({}, reservation("a", Capacity(cores=3)), OFFER)
    with pytest.raises(Refused, match=r"0\.00 cores"):
        reserve(ledger, reservation("b", Capacity(cores=0.5), holder="m2"), Capacity(cores=1.0))


@pytest.mark.parametrize("amount", [Capacity(cores=-1), Capacity(cores=float("nan")), Capacity(memory_bytes=-1)])
def test_an_amount_that_is_none_is_refused(amount):
    with pytest.raises(ValueError, match="must not be negative"):
        reserve({}, reservation("a", amount), OFFER)


amounts = st.builds(Capacity, st.floats(0, 5), st.integers(0, 9 * GIB), st.integers(0, 2), st.integers(0, 17 * GIB))


@given(wanted=st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["gpu1", "gpu2"]), amounts, st.booleans())))
def test_whatever_is_asked_in_whatever_order_the_sum_stays_within_the_offer(wanted):
    ledger = {}
    for id_, node, amount, giving_back in wanted:
        if giving_back:
            ledger = release(ledger, id_)
            continue
        try:
            ledger = reserve(ledger, reservation(id_, amount, node, holder=id_), OFFER)
        except Refused:
            continue
    assert all(total(ledger.values(), node).fits(OFFER) for node in ("gpu1", "gpu2"))
