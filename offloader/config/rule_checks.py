"""Checks of offload rules that need more than one field, one rule, or one file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from offloader.config.document import Document, Location
from offloader.config.problems import Problem, did_you_mean
from offloader.config.promql import (
    PromqlError,
    Recorded,
    SyntaxCheck,
    always_true,
    filters,
    look_back,
    parse,
    scalar_or_range,
)
from offloader.config.rule_defaults import RELIEF_POINTS, RuleDefaults
from offloader.config.rule_models import RuleEntry
from offloader.config.units import duration_text, ratio_text
from offloader.config.validate import Validated

__all__ = [
    "ExpressionFindings",
    "Found",
    "check_alerts",
    "check_expressions",
    "check_names",
    "check_nodes",
    "check_relief",
]

_SCRAPES = 2


@dataclass(frozen=True, slots=True)
class Found:
    """A rule as far as it could be understood, and where it stands."""

    document: Document
    at: Location
    group: str | None
    interval_s: float | None
    checked: Validated[RuleEntry]
    defaults: RuleDefaults

    @property
    def entry(self) -> RuleEntry | None:
        """What was understood of it; None: too little."""
        return self.checked.value

    @property
    def key(self) -> tuple[str, Location]:
        """Unique, whatever its name."""
        return self.document.file, self.at

    @property
    def threshold(self) -> float:
        """Its own, else its resource's default."""
        assert self.entry is not None
        own = self.entry.threshold
        return self.defaults.thresholds[self.entry.resource] if own is None else own

    @property
    def relief(self) -> float:
        """Its own, else the usual distance below the threshold, but never below half of it."""
        assert self.entry is not None
        if self.entry.relief is not None:
            return self.entry.relief
        return round(max(self.threshold - RELIEF_POINTS[self.entry.resource], self.threshold / 2), 9)

    def problem(self, *key: str | int, message: str) -> Problem:
        """A problem with the value of a key of this rule."""
        return self.document.problem((*self.at, *key), message)


class _Text(NamedTuple):
    """One expression of a rule."""

    rule: Found
    key: str
    text: str


@dataclass(slots=True)
class ExpressionFindings:
    """What the expressions of all rules gave; `look_back_s` by `Found.key`."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    look_back_s: dict[tuple[str, Location], float] = field(default_factory=dict)


def check_expressions(
    found: Sequence[Found],
    recorded: Mapping[str, Sequence[Recorded]],
    scrape_interval_s: float,
    syntax: SyntaxCheck | None,
) -> ExpressionFindings:
    """Syntax, shape and look-back of every `expr` and `when`."""
    texts = [_Text(rule, key, text) for rule in found for key, text in _expressions(rule)]
    opinion = syntax([text.text for text in texts]) if syntax is not None and texts else {}
    findings = ExpressionFindings()
    for index, text in enumerate(texts):
        error = opinion.get(index)
        try:
            expression = parse(text.text)
        except PromqlError as own:
            error = error or own
        if error is not None:
            findings.problems.append(_syntax_problem(text, error))
            continue
        shape = _value_shape(expression) if text.key == "expr" else _condition_shape(expression)
        if shape is not None:
            findings.problems.append(text.rule.problem(text.key, message=f"{text.key}: {shape}"))
        _look_back(text, expression, recorded, scrape_interval_s, findings)
    return findings


def check_names(found: Sequence[Found]) -> Iterator[Problem]:
    """A rule is there once in all files: its name is what people type and read."""
    rules: dict[str, Found] = {}
    for one in found:
        if one.entry is None:
            continue
        first = rules.setdefault(one.entry.offload, one)
        if first is not one:
            where = f"{first.document.file}:{first.document.place((*first.at, 'offload')).line}"
            yield one.problem("offload", message=f'rule "{one.entry.offload}" is there already ({where})')


def check_relief(found: Sequence[Found]) -> Iterator[Problem]:
    """Relief lies below the threshold, and the threshold above nothing."""
    for one in found:
        if one.entry is None or not (one.checked.sound("threshold") and one.checked.sound("resource")):
            continue
        if one.threshold <= 0:
            yield one.problem("threshold", message="threshold: 0 would always be exceeded")
        elif one.checked.sound("relief") and one.relief >= one.threshold:
            whose = "" if one.entry.threshold is not None else f" (the default for {one.entry.resource})"
            text = f"relief {ratio_text(one.relief)} must be below the threshold {ratio_text(one.threshold)}{whose}"
            yield one.problem("relief", message=text)


def check_nodes(
    found: Sequence[Found],
    workers: Collection[str] | None,
    head: str | None,
    backends: Collection[str] | None,
) -> Iterator[Problem]:
    """Nodes and backends that a rule names exist. None: there is nothing to compare with."""
    for one in found:
        if one.entry is None or not one.checked.sound("move"):
            continue
        move = one.entry.move
        for index, node in enumerate(move.nodes):
            if node == head:
                yield one.problem("move", "nodes", index, message=f"{node} is the head: never a target")
            elif workers is not None and node not in workers:
                hint = did_you_mean(node, workers)
                yield one.problem("move", "nodes", index, message=f'no worker is called "{node}"{hint}')
        if backends is not None and move.backend not in backends:
            hint = did_you_mean(move.backend, backends)
            yield one.problem("move", "backend", message=f'no backend is called "{move.backend}"{hint}')


def check_alerts(found: Sequence[Found], *, webhook: bool | None) -> Iterator[Problem]:
    """What hurries a rule can reach the controller. None: there is nothing to compare with."""
    for one in found:
        if webhook is False and one.entry is not None and one.entry.on_alert:
            message = "on_alert: has no effect: without controller.webhook_token_file nobody can tell of alerts"
            yield one.problem("on_alert", message=message)


def _expressions(rule: Found) -> Iterator[tuple[str, str]]:
    if rule.entry is None:
        return
    if rule.checked.sound("expr"):
        yield "expr", rule.entry.expr
    if rule.entry.when is not None and rule.checked.sound("when"):
        yield "when", rule.entry.when


def _syntax_problem(text: _Text, error: PromqlError) -> Problem:
    location = (*text.rule.at, text.key)
    document = text.rule.document
    place = document.place(location)
    if error.column is not None:
        place = document.place_in_text(location, error.line, error.column)
    return Problem(document.file, place.line, place.column, f"{text.key}: no valid PromQL: {error.message}")


def _value_shape(expression: object) -> str | None:
    if scalar_or_range(expression):
        return "must yield one value per node, not a single number, text or a range"
    operator = filters(expression)
    if operator is None:
        return None
    what = f'"{operator}"' if operator in ("and", "unless") else f'the comparison "{operator}"'
    return (
        f"{what} leaves a healthy node without a value, which is unknown, not false; "
        "yield the value itself, put limits into threshold and conditions into when"
    )


def _condition_shape(expression: object) -> str | None:
    if scalar_or_range(expression):
        return "must yield samples per node, not a single number, text or a range"
    if always_true(expression):
        return 'a comparison with "bool" yields a sample in any case, so the condition would always be met; drop bool'
    return None


def _look_back(
    text: _Text,
    expression: object,
    recorded: Mapping[str, Sequence[Recorded]],
    scrape_interval_s: float,
    findings: ExpressionFindings,
) -> None:
    back = look_back(expression, recorded)
    if text.key == "expr":
        findings.look_back_s[text.rule.key] = back.longest_s
    short = [window for window in back.windows if window.length_s < _SCRAPES * scrape_interval_s]
    if short:
        least = min(short, key=lambda window: (window.length_s, window.through))
        through = f" (through {' and '.join(least.through)})" if least.through else ""
        message = (
            f"{text.key}: looks back {duration_text(least.length_s)}{through}, less than two scrape intervals "
            f"({_SCRAPES} x {duration_text(scrape_interval_s)}): there may be no two samples to compare"
        )
        findings.problems.append(text.rule.problem(text.key, message=message))
    for name in sorted(back.unknown):
        message = f"{text.key}: no recording rule for {name} was found: how far back it looks is not known"
        findings.warnings.append(text.rule.problem(text.key, message=message))
