"""Receipts and what goes into them as plain documents, for the journal. The API has documents of its own (daemon)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.classify import ProcessClass
from offloader.errors import JournalError
from offloader.model import (
    Correction,
    Decided,
    Estimate,
    Figure,
    MoveState,
    Pressures,
    Reading,
    Reason,
    Receipt,
    Resource,
    StrategyName,
)

__all__ = ["VERSION", "decided_document", "decided_from", "receipt_document", "receipt_from"]

Document = dict[str, Any]

VERSION = 1
"""Of a receipt's document. One with a higher number is refused: what it says is not guessed."""


def receipt_document(receipt: Receipt) -> Document:
    """Plain dicts and lists."""
    return {
        "move": receipt.move,
        "job": receipt.job,
        "strategy": receipt.strategy.value,
        "outcome": receipt.outcome.value,
        "source": receipt.source,
        "rule": receipt.rule,
        "t": receipt.t,
        "decided": decided_document(receipt.decided),
        "after": _pressures_document(receipt.after) if receipt.after is not None else None,
        "downtime_s": _figure_document(receipt.downtime_s),
        "work_lost_s": _figure_document(receipt.work_lost_s),
        "bytes_moved": _figure_document(receipt.bytes_moved),
        "steps": [[state.value, seconds] for state, seconds in receipt.steps],
        "beside": list(receipt.beside),
    }


def receipt_from(document: Mapping[str, Any], version: int) -> Receipt:
    """Inverse of `receipt_document`.

    Raises:
        JournalError: it was written by a newer version, or is no receipt (a damaged journal).
    """
    if version > VERSION:
        raise JournalError(
            f"the receipt of {document.get('move', 'a move')} was written by a newer grid-offloader (receipt version "
            f"{version}; this program knows {VERSION}): start the newer program again"
        )
    try:
        after = document["after"]
        return Receipt(
            move=document["move"],
            job=document["job"],
            strategy=StrategyName(document["strategy"]),
            outcome=MoveState(document["outcome"]),
            source=document["source"],
            rule=document["rule"],
            t=document["t"],
            decided=_decided(document["decided"]),
            after=_pressures(after) if after is not None else None,
            downtime_s=Figure(**document["downtime_s"]),
            work_lost_s=Figure(**document["work_lost_s"]),
            bytes_moved=Figure(**document["bytes_moved"]),
            steps=tuple((MoveState(state), seconds) for state, seconds in document["steps"]),
            beside=tuple(document["beside"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise JournalError(f"a receipt in the journal cannot be read: {error!r}") from error


def decided_document(decided: Decided) -> Document:
    """As it is kept from the decision on (jobs.store.DECIDED), and as a part of the receipt."""
    estimate, correction = decided.estimate, decided.estimate.correction
    return {
        "class": decided.process_class.value,
        "before": _pressures_document(decided.before),
        "threshold": decided.threshold,
        "relief": decided.relief,
        "estimate": {
            "work_lost_s": estimate.work_lost_s,
            "downtime_s": estimate.downtime_s,
            "age_s": estimate.age_s,
            "memory_bytes": estimate.memory_bytes,
            "cores": estimate.cores,
            "gpu_memory_bytes": estimate.gpu_memory_bytes,
            "relieves": {resource.value: share for resource, share in estimate.relieves.items()},
            "correction": {
                "work_lost": correction.work_lost,
                "downtime": correction.downtime,
                "work_lost_samples": correction.work_lost_samples,
                "downtime_samples": correction.downtime_samples,
            },
        },
    }


def decided_from(document: Mapping[str, Any]) -> Decided:
    """Inverse of `decided_document`. Raises JournalError where it is none."""
    try:
        return _decided(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise JournalError(f"what was known when a move was decided cannot be read: {error!r}") from error


def _decided(document: Mapping[str, Any]) -> Decided:
    given = document["estimate"]
    relieves = {Resource(name): share for name, share in given["relieves"].items()}
    return Decided(
        process_class=ProcessClass(document["class"]),
        before=_pressures(document["before"]),
        estimate=Estimate(**{**given, "relieves": relieves, "correction": Correction(**given["correction"])}),
        threshold=document["threshold"],
        relief=document["relief"],
    )


def _pressures_document(pressures: Pressures) -> Document:
    return {
        "t": pressures.t,
        "readings": {resource.value: _reading_document(one) for resource, one in pressures.readings.items()},
        "rule": _reading_document(pressures.rule) if pressures.rule is not None else None,
    }


def _pressures(document: Mapping[str, Any]) -> Pressures:
    rule = document["rule"]
    readings = {Resource(name): _reading(one) for name, one in document["readings"].items()}
    return Pressures(document["t"], readings, _reading(rule) if rule is not None else None)


def _reading_document(reading: Reading) -> Document:
    return {
        "node": reading.node,
        "value": reading.value,
        "age_s": reading.age_s,
        "problem": reading.problem.value if reading.problem is not None else None,
        "detail": reading.detail,
    }


def _reading(document: Mapping[str, Any]) -> Reading:
    problem = document["problem"]
    return Reading(**{**document, "problem": Reason(problem) if problem is not None else None})


def _figure_document(figure: Figure) -> Document:
    return {"value": figure.value, "note": figure.note, "at_most": figure.at_most}
