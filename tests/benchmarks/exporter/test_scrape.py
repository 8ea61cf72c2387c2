"""Counting what came, and the two figures that are the kernel's."""

import os
import time

from benchmarks.exporter.scrape import count_series, cpu_ns, resident


def test_series_are_lines_without_comments():
    assert count_series('# HELP a b\n# TYPE a gauge\na 1\na_b{c="#"} 2\n\n# EOF\n') == 2


def test_cpu_clock_is_that_of_the_process():
    before = time.process_time_ns()
    seen = cpu_ns(os.getpid())
    assert before <= seen <= time.process_time_ns()


def test_resident_now_and_at_most():
    block = bytearray(os.urandom(1)) * (32 << 20)
    now, peak = resident(os.getpid())
    assert len(block) <= now <= peak
