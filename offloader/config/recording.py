"""Recording rules as far as look-backs need them: which series are computed from what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from offloader.config.document import read_document
from offloader.config.promql import PromqlError, Recorded, parse
from offloader.errors import ConfigError

__all__ = ["read_recording_rules"]


def read_recording_rules(files: Iterable[Path]) -> tuple[dict[str, tuple[Recorded, ...]], tuple[str, ...]]:
    """Recording rules by the series they record, and warnings about what could not be read.

    These files are Prometheus' to check: what looks wrong here is left out, and said.
    """
    found: dict[str, tuple[Recorded, ...]] = {}
    warnings: list[str] = []
    for file in files:
        try:
            rules = list(_rules(read_document(file).value))
        except ConfigError as error:
            warnings += error.problems
            continue
        for rule in rules:
            try:
                expression = parse(str(rule.get("expr", "")))
            except PromqlError as error:
                warnings.append(f"{file}: {rule['record']}: {error.message}; its look-back is not known")
                continue
            found[rule["record"]] = (*found.get(rule["record"], ()), Recorded(expression, _labels(rule)))
    return found, tuple(warnings)


def _rules(value: Any) -> Iterable[Mapping[str, Any]]:
    """Every mapping with a `record:` in the groups of a rule file."""
    groups = value.get("groups") if isinstance(value, dict) else None
    for group in groups if isinstance(groups, tuple) else ():
        rules = group.get("rules") if isinstance(group, dict) else None
        for rule in rules if isinstance(rules, tuple) else ():
            if isinstance(rule, dict) and isinstance(rule.get("record"), str):
                yield rule


def _labels(rule: Mapping[str, Any]) -> dict[str, str]:
    labels = rule.get("labels")
    return {key: str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}
