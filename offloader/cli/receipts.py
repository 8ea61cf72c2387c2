"""The receipt of a move: what it was worth and what it cost, at a glance."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from offloader.cli import render, screens

__all__ = ["show_receipt"]

Document = Mapping[str, Any]

_OUT_OF_LINE = 2.0
"""An outcome that differs from its estimate by more than this factor is marked."""

_NOTEWORTHY_S = 1.0


def show_receipt(receipt: Document) -> None:
    """The block of `status MOVE`."""
    render.show_pairs([*_worth(receipt), *_cost(receipt), *_since(receipt)], indent="  ")


def _worth(receipt: Document) -> Iterator[tuple[str, str]]:
    pressure, rule = receipt["pressure"], receipt["rule"]
    if pressure["after_t"] is None:
        yield "worth", f"nothing: the work did not leave {pressure['node']}"
        return
    for resource, change in pressure["resources"].items():
        yield resource, render.clean(_change_words(receipt, change))
    if rule is not None:
        limit = f" (over {render.percent(rule['threshold'])})" if rule["threshold"] is not None else ""
        yield "rule", render.clean(f"{rule['key']}{limit}: {_arrow(receipt, rule['before'], rule['after'])}")
    if pressure["beside"]:
        yield "not alone", render.clean(f"{', '.join(pressure['beside'])} left {pressure['node']} at about that time")


def _change_words(receipt: Document, change: Document) -> str:
    words = _arrow(receipt, change["before"], change["after"])
    expected = f"{change['expected'] * 100:.0f} points expected"
    if change["relieved"] is None:
        return f"{words}, {expected}" if change["expected"] else words
    fell = change["relieved"] * 100
    return f"{words}, {'down' if fell >= 0 else 'up'} {abs(fell):.0f} points, {expected}"


def _arrow(receipt: Document, before: Document | None, after: Document | None) -> str:
    return f"{_reading_words(before)} -> {_later_words(receipt, after)}"


def _later_words(receipt: Document, reading: Document | None) -> str:
    if receipt["due_t"] is not None:
        left_s = receipt["due_t"] - time.time()
        return f"known in {render.seconds(left_s)}" if left_s > 0 else "being read"
    return _reading_words(reading)


def _reading_words(reading: Document | None) -> str:
    if reading is None:
        return "unknown"
    if reading["value"] is None:
        why = f" ({reading['detail']})" if reading["detail"] else ""
        return f"unknown, {reading['problem']}{why}"
    return render.percent(reading["value"])


def _cost(receipt: Document) -> Iterator[tuple[str, str]]:
    yield "stood still", _figure_words(receipt["downtime_s"], render.seconds)
    yield "work lost", _figure_words(receipt["work_lost_s"], render.seconds)
    yield "carried over", _figure_words(receipt["bytes_moved"], render.size)
    long = [step for step in receipt["steps"] if step["s"] >= _NOTEWORTHY_S]
    if long:
        words = (f"{screens.state_words(step['state'])} {render.seconds(step['s'])}" for step in _longest(long))
        yield "longest in", ", ".join(words)


def _longest(steps: list[Document]) -> list[Document]:
    """The three that took most, in their order."""
    most = sorted(steps, key=lambda step: -step["s"])[:3]
    return [step for step in steps if step in most]


def _figure_words(figure: Document, words: Any) -> str:
    value, expected = figure["value"], figure["expected"]
    if value is None:
        return render.clean(f"unknown ({figure['note']})")
    bound = "at most " if figure["at_most"] else ""
    why = f" ({figure['note']})" if figure["note"] else ""
    compared = f", {words(expected)} expected" if expected is not None else ""
    return render.clean(f"{bound}{words(value)}{why}{compared}{_mark(figure)}")


def _mark(figure: Document) -> str:
    value, expected = figure["value"], figure["expected"]
    if expected is None or figure["at_most"] or value < _NOTEWORTHY_S or value <= _OUT_OF_LINE * expected:
        return ""
    return " - more than estimated"


def _since(receipt: Document) -> Iterator[tuple[str, str]]:
    for loss in receipt["later_losses"]:
        again = f", goes on on {loss['again_on']}" if loss["again_on"] else ", and does not run again so far"
        since = f" since its last {loss['since']}" if loss["since"] == "checkpoint" else ""
        lost = _figure_words(loss["work_lost_s"], render.seconds)
        yield "lost later", render.clean(f"attempt {loss['epoch']} on {loss['node']}: {lost}{since}{again}")
