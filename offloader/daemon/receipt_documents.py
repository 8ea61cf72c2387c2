"""The receipt of a move as people and programs get it (docs/api.md): pure, to plain documents and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from offloader.daemon.documents import reading_document
from offloader.model import Figure, Loss, Reading, Receipt, Resource

__all__ = ["loss_document", "loss_sentence", "receipt_document", "receipt_sentence"]

Document = dict[str, Any]


def receipt_document(receipt: Receipt, *, losses: Sequence[Loss] = (), due_t: float | None = None) -> Document:
    """All of it.

    Args:
        receipt: As it was written, or as far as it is known.
        losses: What the job lost since.
        due_t: When the rest can be known (Unix seconds); None: it was written.
    """
    estimate, correction = receipt.decided.estimate, receipt.decided.estimate.correction
    return {
        "final": due_t is None,
        "due_t": due_t,
        "t": receipt.t,
        "outcome": receipt.outcome.value,
        "strategy": receipt.strategy.value,
        "class": receipt.decided.process_class.value,
        "rule": _rule(receipt),
        "pressure": _pressure(receipt),
        "downtime_s": _figure(receipt.downtime_s, estimate.expected_downtime_s),
        "work_lost_s": _figure(receipt.work_lost_s, estimate.expected_work_lost_s),
        "bytes_moved": _figure(receipt.bytes_moved),
        "estimated_from": {
            "age_s": _rounded(estimate.age_s),
            "cores": _rounded(estimate.cores),
            "memory_bytes": estimate.memory_bytes,
            "gpu_memory_bytes": estimate.gpu_memory_bytes,
            "corrections": {
                "work_lost": {"factor": _rounded(correction.work_lost), "receipts": correction.work_lost_samples},
                "downtime": {"factor": _rounded(correction.downtime), "receipts": correction.downtime_samples},
            },
        },
        "steps": [{"state": state.value, "s": _rounded(seconds)} for state, seconds in receipt.steps],
        "later_losses": [loss_document(loss) for loss in losses],
    }


def receipt_sentence(receipt: Receipt) -> str:
    """One line for the event log: the cost, then what it was worth."""
    stood, lost = _seconds(receipt.downtime_s), _seconds(receipt.work_lost_s)
    cost = f"stood still {stood}, lost {lost} of work, moved {_bytes(receipt.bytes_moved)}"
    worth = ", ".join(_change(receipt, resource) for resource in receipt.decided.before.readings)
    brought = f"; {worth} of {receipt.source}" if receipt.after is not None and worth else ""
    return f"receipt of {receipt.move} ({receipt.strategy}, {receipt.outcome}): {cost}{brought}"


def loss_document(loss: Loss) -> Document:
    """Work that was lost after a move."""
    return {
        "epoch": loss.epoch,
        "node": loss.node,
        "t": loss.t,
        "work_lost_s": _figure(loss.work_lost_s),
        "since": loss.since or None,
        "again_on": loss.again,
    }


def loss_sentence(move_id: str, loss: Loss) -> str:
    """One line for the event log."""
    since = f" since its last {loss.since}" if loss.since == "checkpoint" else ""
    again = f", goes on on {loss.again}" if loss.again is not None else ""
    return f"{move_id}: its attempt {loss.epoch} on {loss.node} lost {_seconds(loss.work_lost_s)} of work{since}{again}"


def _rule(receipt: Receipt) -> Document | None:
    if receipt.rule is None:
        return None
    before, after = receipt.decided.before.rule, receipt.after.rule if receipt.after is not None else None
    return {
        "key": receipt.rule,
        "threshold": receipt.decided.threshold,
        "relief": receipt.decided.relief,
        "before": _reading(before),
        "after": _reading(after),
    }


def _pressure(receipt: Receipt) -> Document:
    before, after = receipt.decided.before, receipt.after
    return {
        "node": receipt.source,
        "before_t": before.t,
        "after_t": after.t if after is not None else None,
        "resources": {
            resource.value: {
                "before": _reading(before.readings.get(resource)),
                "after": _reading(after.readings.get(resource)) if after is not None else None,
                "relieved": _rounded(_relieved(receipt, resource)),
                "expected": _rounded(receipt.decided.estimate.relieves.get(resource, 0.0)),
            }
            for resource in _resources(receipt)
        },
        "beside": list(receipt.beside),
    }


def _resources(receipt: Receipt) -> list[Resource]:
    """Those that were seen before or after, in the order of their declaration."""
    seen = {*receipt.decided.before.readings, *(receipt.after.readings if receipt.after is not None else ())}
    return [resource for resource in Resource if resource in seen]


def _relieved(receipt: Receipt, resource: Resource) -> float | None:
    """By how much the pressure fell (negative: it rose); None: one of both readings is not known."""
    before = receipt.decided.before.readings.get(resource)
    after = receipt.after.readings.get(resource) if receipt.after is not None else None
    if before is None or after is None or before.value is None or after.value is None:
        return None
    return before.value - after.value


def _figure(figure: Figure, expected: float | None = None) -> Document:
    value = figure.value
    return {
        "value": round(value, 3) if isinstance(value, float) else value,
        "expected": _rounded(expected),
        "at_most": figure.at_most,
        "note": figure.note,
    }


def _reading(reading: Reading | None) -> Document | None:
    return reading_document(reading) if reading is not None else None


def _seconds(figure: Figure) -> str:
    bound = "at most " if figure.at_most else ""
    return "unknown" if figure.value is None else f"{bound}{figure.value:.1f} s"


def _bytes(figure: Figure) -> str:
    return "unknown bytes" if figure.value is None else f"{figure.value:.0f} bytes"


def _change(receipt: Receipt, resource: Resource) -> str:
    after = receipt.after.readings.get(resource) if receipt.after is not None else None
    return f"{resource} {_percent(receipt.decided.before.readings.get(resource))} -> {_percent(after)}"


def _percent(reading: Reading | None) -> str:
    return "unknown" if reading is None or reading.value is None else f"{reading.value:.0%}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
