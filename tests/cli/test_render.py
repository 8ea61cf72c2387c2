"""What people see: tables that fit, words for numbers, nothing that a terminal would obey."""

import sys

import pytest

from offloader.cli import render
from offloader.cli.render import Column


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        (-3.0, "0.0 s"),
        (2.14, "2.1 s"),
        (31.0, "31 s"),
        (240.0, "4 min"),
        (11520.0, "3 h 12 min"),
        (5 * 86400.0, "5 d"),
    ],
)
def test_durations_in_words(value, words) -> None:
    assert render.seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "-"), (0, "0 B"), (999, "999 B"), (5.12e9, "5.1 GB"), (7e12, "7.0 TB"), (9e15, "9000.0 TB")],
)
def test_sizes_in_words(value, words) -> None:
    assert render.size(value) == words


def test_a_table_into_a_pipe_is_never_shortened(capsys) -> None:
    render.show_table([Column("A", flex=True), Column("N", right=True)], [("x" * 300, "1"), ("y", "22")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 300 + "   1"
    assert lines[2].startswith("y ")
    assert lines[2].endswith(" 22")


def test_a_table_on_a_terminal_fits_by_shortening_flexible_columns_last_first(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    columns = [Column("ID"), Column("NAME", flex=True), Column("WHY", flex=True)]
    render.show_table(columns, [("offload_1700000000_4242", "short name", "w" * 200)])
    line = capsys.readouterr().out.splitlines()[1]
    assert len(line) <= 60
    assert "offload_1700000000_4242  short name" in line
    assert line.endswith("...")


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch) -> None:
    assert render.style("x", fg="red") == "x"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert render.style("x", fg="red") != "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert render.style("x", fg="red") == "x"


def test_control_bytes_are_shown_not_sent() -> None:
    assert render.clean("a\x1b[31m\nb\udcffc\u202e") == "a\\x1b[31m\\nb\\xffc\\u202e"
    assert render.clean("grün ok") == "grün ok"


def test_coloured_words_keep_the_alignment(capsys) -> None:
    columns = [Column("S"), Column("T")]
    render.show_table(columns, [("up", "x"), ("draining", "y")], colours={"up": "green"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].index("x") == lines[2].index("y")


def test_a_terminal_that_is_too_narrow_loses_spare_columns_first_and_no_others(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    columns = [Column("PID"), Column("AGE", spare=True), Column("EFFORT", spare=True), Column("REASON")]
    render.show_table(columns, [("1234567", "12 min", "medium", "SHELL_WAITING")])
    assert capsys.readouterr().out.splitlines()[1] == "1234567  12 min  SHELL_WAITING"


def test_long_values_go_on_below_their_beginning(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    render.show_pairs([("next", "would move train.py to gpu1 by head-cpu"), ("x", "")])
    assert capsys.readouterr().out.splitlines() == ["next  would move train.py to", "      gpu1 by head-cpu", "x"]
