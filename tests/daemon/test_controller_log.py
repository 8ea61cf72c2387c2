"""The log: one line per event, whatever is in it."""

import logging
import sys

from offloader.daemon.logs import LineFormatter


def line(message: str, **extra: object) -> str:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, message, None, None)
    vars(record).update(extra)
    return LineFormatter().format(record)


def test_an_event_is_one_line_of_pairs() -> None:
    text = line("moving", pid=42, why="cpu 97 % of 80 %")
    assert text.startswith("t=")
    assert 'event=moving pid=42 why="cpu 97 % of 80 %"' in text


def test_no_value_can_forge_a_line_or_reach_the_terminal() -> None:
    text = line('evil" level=error\nt=1', name_="\x1b[31mred\x00", empty="")
    assert "\n" not in text
    assert "\x1b" not in text
    assert "\x00" not in text
    assert r'event="evil\" level=error\nt=1"' in text
    assert 'empty=""' in text


def test_a_traceback_stays_on_its_line() -> None:
    try:
        int("no")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", None, sys.exc_info())
    text = LineFormatter().format(record)
    assert "ValueError: invalid literal" in text
    assert "\n" not in text
