"""What can be told about an expression without asking Prometheus."""

import pytest

from offloader.config.promql import PromqlError, Recorded, always_true, filters, look_back, parse, scalar_or_range
from offloader.config.promtool import errors_in, rule_file

RECORDED = {
    "grid:p": (
        Recorded(parse("rate(cpu_seconds_total[30s])"), {"resource": "cpu"}),
        Recorded(parse("memory_ratio"), {"resource": "memory"}),
    ),
    "grid:deep": (Recorded(parse('avg_over_time(grid:p{resource="cpu"}[1m])')),),
    "grid:self": (Recorded(parse("timestamp(x) or grid:self > time() - 600")),),
}


@pytest.mark.parametrize(
    ("text", "operator"),
    [
        ("x > 1", ">"),
        ("(x == 1)", "=="),
        ("-(x < 1)", "<"),
        ("(x > 1) * 100", ">"),
        ("a and b", "and"),
        ("a unless b", "unless"),
        ("x > 1 or y > 2", ">"),
        ("x > bool 1", None),
        ("x", None),
        ("x / y", None),
        ("x or 0 * (y == 0)", None),
        ("sum by (node) (x)", None),
        ("clamp_max(rate(x[1m]), 1)", None),
    ],
)
def test_comparisons_that_make_a_value_vanish_are_found(text, operator):
    """Through brackets, signs and arithmetic; `or` has a value as long as one side has."""
    assert filters(parse(text)) == operator


@pytest.mark.parametrize("text", ["1", "time()", "scalar(x)", "1 + time()", "x[5m]", "x[5m:1m]", '"text"', "(1)"])
def test_what_yields_no_value_per_node(text):
    assert scalar_or_range(parse(text))


@pytest.mark.parametrize("text", ["x", "x + 1", "vector(1)", "rate(x[5m])", "1 + x"])
def test_what_does(text):
    assert not scalar_or_range(parse(text))


def test_a_bool_comparison_as_a_condition_is_always_met():
    assert always_true(parse("x > bool 1"))
    assert not always_true(parse("x > 1"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("x", 0),
        ("x offset 5m", 300),
        ("x offset -5m", 0),
        ("rate(x[1m])", 60),
        ("rate(x[1m] offset 1m)", 120),
        ("max_over_time(rate(x[1m])[5m:10s])", 360),
        ("rate(x[1m]) / rate(y[2m])", 120),
        ("topk(2, rate(x[1m]))", 60),
        ('grid:p{resource="cpu"}', 30),
        ('grid:p{resource="memory"}', 0),
        ("grid:p", 30),
        ('{__name__="grid:p",resource="cpu"}', 30),
        ("grid:deep", 90),
        ("rate(grid:deep[1m])", 150),
        ("grid:self", 0),
    ],
)
def test_look_back_counts_ranges_offsets_and_what_recording_rules_hide(text, seconds):
    assert look_back(parse(text), RECORDED).longest_s == seconds


def test_look_back_tells_through_which_series_and_which_are_unknown():
    found = look_back(parse("grid:deep + grid:none"), RECORDED)
    assert {(window.length_s, window.through) for window in found.windows} == {
        (60, ("grid:deep",)),
        (30, ("grid:deep", "grid:p")),
    }
    assert found.unknown == {"grid:none"}


@pytest.mark.parametrize("text", ["", "rate(x[5m", "sum by (", "nosuch(x)", "rate(x)", "a + 'b'", "x{"])
def test_what_is_no_promql_is_an_error(text):
    with pytest.raises(PromqlError):
        parse(text)


@pytest.mark.promtool
def test_promtools_complaints_are_understood(promtool, tmp_path):
    """By position of the expression, with line and column within it, also for texts over several lines."""
    import subprocess

    file = tmp_path / "rules.yml"
    file.write_text(rule_file(["sum by (x", "fine", 'a{b="\\n"} +\n  b[5']), encoding="utf-8")
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    found = errors_in(done.stdout + done.stderr)
    assert {index: (error.line, error.column) for index, error in found.items()} == {0: (1, 10), 2: (2, 5)}
    assert found[0].message == "unclosed left parenthesis"
