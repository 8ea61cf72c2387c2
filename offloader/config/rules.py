"""Offload rule files → `model.Rule`s, with every problem of every file at once.

A group's mapping and each rule are validated by themselves; what is left of a broken rule still takes part in the
checks that look at several fields or several rules.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offloader.config.checkpointing import CheckpointSection
from offloader.config.document import Document, Location, read_document
from offloader.config.problems import Problem, raise_for
from offloader.config.promql import SyntaxCheck
from offloader.config.recording import read_recording_rules
from offloader.config.rule_checks import (
    Found,
    check_alerts,
    check_expressions,
    check_names,
    check_nodes,
    check_relief,
)
from offloader.config.rule_defaults import BACKENDS, FOR_S, RuleDefaults
from offloader.config.rule_models import GroupHeader, RuleEntry
from offloader.config.validate import Validated, validate
from offloader.errors import ConfigError
from offloader.model import CheckpointPattern, Resource, Rule, RuleMove, RuleSelect

__all__ = ["RuleDefaults", "RuleReport", "check_rules", "load_rules", "log_warnings"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What some rule files say. `rules` is empty when there are problems: nothing is applied by half."""

    rules: tuple[Rule, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]


def check_rules(
    paths: Sequence[Path],
    defaults: RuleDefaults,
    *,
    recording_files: Sequence[Path] = (),
    syntax: SyntaxCheck | None = None,
) -> RuleReport:
    """Read and check rule files.

    Args:
        paths: the files.
        defaults: what rules inherit and are checked against.
        recording_files: Prometheus rule files, for the look-back of the series that they record.
        syntax: Prometheus' own opinion on expressions, where promtool is there.

    Raises:
        ConfigError: files that cannot be read or parsed at all (all of them).
    """
    documents, unreadable = _documents(paths)
    if unreadable:
        raise ConfigError(unreadable)
    recorded, notes = read_recording_rules(recording_files)
    problems: list[Problem] = []
    found: list[Found] = []
    for document in documents:
        problems += document.problems
        found += _rules_in(document, defaults, problems)
    expressions = check_expressions(found, recorded, defaults.scrape_interval_s, syntax)
    problems += expressions.problems
    problems += check_names(found)
    problems += check_relief(found)
    problems += check_nodes(found, defaults.workers, defaults.head, defaults.backends)
    ordered = tuple(sorted(set(problems)))
    unheard = check_alerts(found, webhook=defaults.webhook)
    warnings = (*notes, *(str(warning) for warning in sorted({*expressions.warnings, *unheard})))
    rules = () if ordered else tuple(_rule(one, defaults, expressions.look_back_s[one.key]) for one in found)
    return RuleReport(rules, ordered, warnings)


def load_rules(
    paths: Sequence[Path],
    *,
    scrape_interval_s: float,
    thresholds: Mapping[Resource, float],
    recording_files: Sequence[Path] = (),
    interval_s: float = 5.0,
    cooldown_s: float = 30.0,
    workers: Collection[str] | None = None,
    head: str | None = None,
    backends: Collection[str] | None = BACKENDS,
) -> tuple[Rule, ...]:
    """The rules of some files; warnings go to the log. Without files: no rules.

    Raises:
        ConfigError: every problem of every file, each with line and column.
    """
    defaults = RuleDefaults(scrape_interval_s, interval_s, cooldown_s, thresholds, workers, head, backends)
    report = check_rules(paths, defaults, recording_files=recording_files)
    raise_for(report.problems)
    log_warnings(report)
    return report.rules


def log_warnings(report: RuleReport) -> None:
    """For those who have no screen to show them on."""
    for warning in report.warnings:
        log.warning("%s", warning)


def _documents(paths: Sequence[Path]) -> tuple[list[Document], tuple[str, ...]]:
    documents: list[Document] = []
    unreadable: list[str] = []
    for path in dict.fromkeys(paths):
        try:
            documents.append(read_document(path))
        except ConfigError as error:
            unreadable += error.problems
    return documents, tuple(unreadable)


def _rules_in(document: Document, defaults: RuleDefaults, problems: list[Problem]) -> list[Found]:
    """Every rule of a file as far as it can be understood; what is wrong is added to `problems`."""
    names: set[str] = set()
    found: list[Found] = []
    for index, group in enumerate(_list_at(document, document.value, (), "groups", problems)):
        at: Location = ("groups", index)
        if not isinstance(group, dict):
            problems.append(document.problem(at, "a group must be a mapping with name and rules"))
            continue
        header = validate(GroupHeader, group, document, at)
        problems += header.problems
        name = header.value.name if header.value is not None else None
        if name in names:
            problems.append(document.problem((*at, "name"), f'group "{name}" is there twice in this file'))
        names.update([name] if name is not None else [])
        interval_s = header.value.interval_s if header.value is not None else None
        for number, entry in enumerate(_list_at(document, group, at, "rules", problems, inside_group=True)):
            wrong, checked = _entry(entry, document, (*at, "rules", number))
            problems += wrong
            found.append(Found(document, (*at, "rules", number), name, interval_s, checked, defaults))
    return found


def _entry(entry: Any, document: Document, at: Location) -> tuple[list[Problem], Validated[RuleEntry]]:
    """One rule; the hint says what is wrong with a rule of Prometheus' own kind, no second message is needed."""
    value, hints = _offload_instead(entry, document, at)
    checked = validate(RuleEntry, value, document, at)
    return [*hints, *checked.problems], checked


def _list_at(
    document: Document, value: Any, at: Location, key: str, problems: list[Problem], *, inside_group: bool = False
) -> tuple[Any, ...]:
    """The list under `key` of a mapping; anything else is a problem."""
    if isinstance(value, dict) and isinstance(value.get(key), tuple):
        if not inside_group:
            unknown = [other for other in value if other != key]
            problems += [document.problem((*at, other), f'unknown key "{other}"', at_key=True) for other in unknown]
        entries: tuple[Any, ...] = value[key]
        return entries
    missing = not isinstance(value, dict) or key not in value
    problems.append(document.problem((*at, key), f'"{key}" is missing' if missing else f'"{key}" must be a list'))
    return ()


def _offload_instead(entry: Any, document: Document, at: Location) -> tuple[Any, list[Problem]]:
    """Prometheus' `alert:` and `record:` are refused here, with a hint; the rest of the rule is checked as if right."""
    if not isinstance(entry, dict):
        return entry, []
    foreign = [key for key in ("alert", "record") if key in entry]
    rest = {key: value for key, value in entry.items() if key not in foreign}
    if foreign and "offload" not in rest:
        rest["offload"] = entry[foreign[0]]
    hint = "belongs in Prometheus' rule files; a rule here starts with offload: NAME"
    return rest, [document.problem((*at, key), f'"{key}" {hint}', at_key=True) for key in foreign]


def _rule(found: Found, defaults: RuleDefaults, look_back_s: float) -> Rule:
    """The runtime rule of an entry without problems."""
    entry = found.entry
    assert entry is not None
    assert found.group is not None
    select, move = entry.select, entry.move
    return Rule(
        group=found.group,
        name=entry.offload,
        expr=entry.expr,
        resource=entry.resource,
        threshold=found.threshold,
        relief=found.relief,
        for_s=FOR_S[entry.resource] if entry.for_s is None else entry.for_s,
        keep_firing_for_s=entry.keep_firing_for_s,
        cooldown_s=defaults.cooldown_s if entry.cooldown_s is None else entry.cooldown_s,
        interval_s=defaults.interval_s if found.interval_s is None else found.interval_s,
        look_back_s=look_back_s,
        mode=entry.mode,
        when=entry.when,
        threshold_toggle=entry.threshold is None,
        on_alert=entry.on_alert,
        select=RuleSelect(
            select.classes, select.users, select.min_age_s, select.include, select.exclude, select.restart_safe,
            select.listeners,
        ),
        move=RuleMove(
            move.strategies,
            move.backend,
            move.nodes,
            move.max_lost_work_s,
            _checkpoint(move.checkpoint),
            move.close_connections,
        ),
        labels=dict(entry.labels),
        annotations=dict(entry.annotations),
    )  # fmt: skip


def _checkpoint(section: CheckpointSection | None) -> CheckpointPattern | None:
    return CheckpointPattern(section.signal, section.file, section.grace_s) if section is not None else None
