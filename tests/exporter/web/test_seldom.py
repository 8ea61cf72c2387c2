"""Lines that clients cause do not flood the log."""

import logging

from exporter.web.seldom import Seldom


def test_one_line_a_minute_that_counts_the_others(caplog):
    """Arguments are those of the line that is written."""
    now = iter([0, 1, 59, 60, 61, 500])
    seldom = Seldom(logging.getLogger("test"), clock=lambda: next(now))
    for number in range(6):
        seldom.warning("client %d", number)
    assert [record.getMessage() for record in caplog.records] == [
        "client 0",
        "client 3 (2 more of these since the last line)",
        "client 5 (1 more of these since the last line)",
    ]
