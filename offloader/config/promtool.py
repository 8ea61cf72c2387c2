"""Prometheus' own opinion on expressions: what to give promtool, and what its answer means. Runs nothing itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from offloader.config.promql import PromqlError

__all__ = ["check_argv", "errors_in", "rule_file"]

_ERROR = re.compile(
    r'group "g", rule (?P<rule>\d+), .*?: could not parse expression: '
    r"(?P<line>\d+):(?P<column>\d+): (?:parse error: )?(?P<message>.*)"
)


def rule_file(expressions: Sequence[str]) -> str:
    """A rule file that records each expression, for `promtool check rules`. JSON, which is YAML."""
    rules = [{"record": f"e:{index}", "expr": text} for index, text in enumerate(expressions)]
    return json.dumps({"groups": [{"name": "g", "rules": rules}]})


def check_argv(promtool: str, file: str) -> tuple[str, ...]:
    """The command that checks such a file."""
    return (promtool, "check", "rules", file)


def errors_in(output: str) -> dict[int, PromqlError]:
    """Promtool's complaints by position of the expression, with line and column within it."""
    return {
        int(match["rule"]) - 1: PromqlError(match["message"], int(match["line"]), int(match["column"]))
        for match in _ERROR.finditer(output)
    }
