"""Estimates are corrected by outcomes: what earlier moves came out at, over what was estimated for them.

Per strategy, and per class of work where that has enough receipts of its own: the median of outcome over estimate. The
median, because one odd move must not turn the choice; bounded, because a correction shifts choices between jobs and
must not replace the estimate. It never widens what may be lost: `max_lost_work` asks the age itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from exporter.classify import ProcessClass
from offloader.model import Correction, Corrections, Figure, MoveState, Receipt, StrategyName

__all__ = ["ENOUGH", "LAST", "LEAST", "MOST", "correction_for", "corrections"]

ENOUGH = 5
"""Receipts below which nothing is corrected."""

LAST = 30
"""Receipts that count, the newest of each strategy and class: programs and clusters change."""

LEAST, MOST = 0.25, 4.0


def corrections(receipts: Iterable[Receipt]) -> dict[tuple[StrategyName, ProcessClass | None], Correction]:
    """By strategy and class (None: all classes), where there is enough to learn from. `receipts`: newest first.

    Counted are moves that were carried out, and of those the exact figures: what is unknown or a bound teaches nothing.
    """
    groups: dict[tuple[StrategyName, ProcessClass | None], list[Receipt]] = {}
    for receipt in receipts:
        if receipt.outcome is MoveState.DONE:
            for process_class in (None, receipt.decided.process_class):
                groups.setdefault((receipt.strategy, process_class), []).append(receipt)
    found = {key: _correction(group) for key, group in groups.items()}
    return {key: one for key, one in found.items() if one.work_lost_samples or one.downtime_samples}


def correction_for(known: Corrections, strategy: StrategyName, process_class: ProcessClass) -> Correction:
    """What to multiply the estimates of such a move by: by its class where that is known, else by the strategy."""
    own = known.get((strategy, process_class), Correction())
    whole = known.get((strategy, None), Correction())
    lost = own if own.work_lost_samples else whole
    stop = own if own.downtime_samples else whole
    return Correction(lost.work_lost, stop.downtime, lost.work_lost_samples, stop.downtime_samples)


def _correction(group: Sequence[Receipt]) -> Correction:
    lost = _ratios((one.work_lost_s, one.decided.estimate.work_lost_s) for one in group)
    stop = _ratios((one.downtime_s, one.decided.estimate.downtime_s) for one in group)
    return Correction(_factor(lost), _factor(stop), len(lost), len(stop))


def _ratios(pairs: Iterable[tuple[Figure, float]]) -> list[float]:
    """The newest ones; none where they are too few."""
    found = [ratio for figure, estimate in pairs if (ratio := _ratio(figure, estimate)) is not None]
    return found[:LAST] if len(found) >= ENOUGH else []


def _ratio(figure: Figure, estimate: float) -> float | None:
    if figure.value is None or figure.at_most or not 0 < estimate < math.inf:
        return None
    ratio = figure.value / estimate
    return ratio if 0 <= ratio < math.inf else None


def _factor(ratios: Sequence[float]) -> float:
    return min(MOST, max(LEAST, median(ratios))) if ratios else 1.0
