"""What can be told about a PromQL expression without asking Prometheus: syntax, shape, how far back it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

import promql_parser as pql

__all__ = [
    "Expression",
    "LookBack",
    "PromqlError",
    "Recorded",
    "SyntaxCheck",
    "Window",
    "always_true",
    "filters",
    "look_back",
    "parse",
    "scalar_or_range",
]

Expression: TypeAlias = Any
"""A node of promql-parser's tree; that package ships no types."""

_COMPARISONS = frozenset(("==", "!=", ">", "<", ">=", "<="))
_NOT_PER_NODE = (pql.NumberLiteral, pql.StringLiteral, pql.MatrixSelector, pql.SubqueryExpr)
_SCALAR_FUNCTIONS = frozenset(("time", "pi", "scalar"))


@dataclass(frozen=True, slots=True)
class PromqlError(Exception):
    """An expression that is none. Line and column within it (from 1), where they are known."""

    message: str
    line: int = 1
    column: int | None = None


SyntaxCheck: TypeAlias = Callable[[Sequence[str]], Mapping[int, PromqlError]]
"""A second opinion on several expressions, by position: what Prometheus itself says (`promtool.py`)."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recording rule: what the series of that name are computed from."""

    expression: Expression
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Window:
    """A range that an expression reads, in seconds, and the recorded series through which (empty: itself)."""

    length_s: float
    through: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LookBack:
    """How far back a value reaches, every window on the way, and recorded series that nobody defines."""

    longest_s: float
    windows: frozenset[Window]
    unknown: frozenset[str]


def parse(text: str) -> Expression:
    """The expression's tree. Raises PromqlError."""
    try:
        return pql.parse(text)
    except ValueError as error:
        raise PromqlError(str(error).partition("\n")[0] or "no expression") from error


def scalar_or_range(expression: Expression) -> bool:
    """Whether it can yield no value per node: a number, text, or a range of samples."""
    inner = _bare(expression)
    if isinstance(inner, pql.Call):
        return str(inner.func.name) in _SCALAR_FUNCTIONS
    if isinstance(inner, pql.BinaryExpr):
        return scalar_or_range(inner.lhs) and scalar_or_range(inner.rhs)
    return isinstance(inner, _NOT_PER_NODE)


def filters(expression: Expression) -> str | None:
    """The operator because of which a healthy node has no value: a comparison without bool, `and`, `unless`.

    Looked for where the value itself is made: through brackets, signs, arithmetic, and on both sides of `or`.
    """
    inner = _bare(expression)
    if not isinstance(inner, pql.BinaryExpr):
        return None
    operator = str(inner.op)
    if operator in _COMPARISONS:
        return None if _is_bool(inner) else operator
    if operator in ("and", "unless"):
        return operator
    left, right = filters(inner.lhs), filters(inner.rhs)
    return (left and right) if operator == "or" else (left or right)


def always_true(expression: Expression) -> bool:
    """Whether it is a comparison with bool: as a condition it holds whatever it compares, 0 is a sample too."""
    inner = _bare(expression)
    return isinstance(inner, pql.BinaryExpr) and str(inner.op) in _COMPARISONS and _is_bool(inner)


def look_back(expression: Expression, recorded: Mapping[str, Sequence[Recorded]]) -> LookBack:
    """How far back the value reaches, through recording rules too. `recorded`: rules by the series they record."""
    return _LookBackOf(recorded).expression(expression, ())


class _LookBackOf:
    def __init__(self, recorded: Mapping[str, Sequence[Recorded]]) -> None:
        self._recorded = recorded

    def expression(self, node: Expression, through: tuple[str, ...]) -> LookBack:
        if isinstance(node, pql.VectorSelector):
            return self._selector(node, through)
        if isinstance(node, pql.MatrixSelector):
            return _extended(self._selector(node.vector_selector, through), node.range, None, through)
        if isinstance(node, pql.SubqueryExpr):
            return _extended(self.expression(node.expr, through), node.range, node.offset, through)
        return _longest(self.expression(child, through) for child in _children(node))

    def _selector(self, node: Expression, through: tuple[str, ...]) -> LookBack:
        name, labels = _asked(node)
        inner = _longest(())
        if name in through:  # a recorded series that refers to its own past has no end that could be computed
            pass
        elif name in self._recorded:
            rules = [rule for rule in self._recorded[name] if _may_match(rule.labels, labels)]
            inner = _longest(self.expression(rule.expression, (*through, name)) for rule in rules)
        elif ":" in name:  # by convention the mark of a recorded series
            inner = LookBack(0.0, frozenset(), frozenset((name,)))
        return _extended(inner, None, node.offset, through)


def _extended(
    inner: LookBack, length: timedelta | None, offset: timedelta | None, through: tuple[str, ...]
) -> LookBack:
    seconds = length.total_seconds() if length is not None else 0.0
    back = max(0.0, offset.total_seconds()) if offset is not None else 0.0
    windows = inner.windows if length is None else inner.windows | {Window(seconds, through)}
    return LookBack(inner.longest_s + seconds + back, windows, inner.unknown)


def _longest(parts: Iterable[LookBack]) -> LookBack:
    """Of things that are read side by side."""
    found = tuple(parts)
    return LookBack(
        max((part.longest_s for part in found), default=0.0),
        frozenset().union(*(part.windows for part in found)),
        frozenset().union(*(part.unknown for part in found)),
    )


def _children(node: Expression) -> Iterator[Expression]:
    if isinstance(node, pql.BinaryExpr):
        yield from (node.lhs, node.rhs)
    elif isinstance(node, pql.Call):
        yield from node.args
    elif isinstance(node, pql.AggregateExpr):
        yield node.expr
        if node.param is not None:
            yield node.param
    elif isinstance(node, pql.ParenExpr | pql.UnaryExpr):
        yield node.expr


def _bare(node: Expression) -> Expression:
    while isinstance(node, pql.ParenExpr | pql.UnaryExpr):
        node = node.expr
    return node


def _is_bool(node: Expression) -> bool:
    return node.modifier is not None and bool(node.modifier.return_bool)


def _asked(selector: Expression) -> tuple[str, dict[str, str]]:
    """Name and label values that a selector insists on."""
    exact = {m.name: m.value for m in selector.matchers.matchers if m.op == pql.MatchOp.Equal}
    return selector.name or exact.get("__name__", ""), exact


def _may_match(fixed: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    return all(asked.get(label, value) == value for label, value in fixed.items())
