"""The figures and the verdicts."""

import pytest

from benchmarks.exporter.summary import Goal, Ratios, Verdict, kernel_cpu_s, percentile, ratios, summarise, verdicts


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3, 1, 2], 50, 2),
        ([4, 1, 3, 2], 50, 2),
        ([5], 99, 5),
        (range(1, 101), 99, 99),
        (range(1, 201), 99, 198),
        ([2, 1], 0, 1),
        ([2, 1], 100, 2),
    ],
)
def test_percentile_is_one_of_the_values(values, percent, expected):
    assert percentile(list(values), percent) == expected


def test_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_summary_counts_the_work_between_scrapes_apart(course):
    """The whole measurement by its scrapes, and the scrapes alone."""
    summary = summarise(course(1, 2, 6, between=4.0))
    assert summary.cpu_s == pytest.approx(0.007)
    assert summary.scrape_cpu_s == pytest.approx(0.003)
    assert (summary.scrape_cpu_s_p50, summary.scrape_cpu_s_p99) == (0.002, 0.006)
    assert (summary.latency_s_p50, summary.latency_s_p99) == (0.004, 0.012)
    assert (summary.rss_bytes, summary.rss_peak_bytes) == (20 << 20, 21 << 20)
    assert (summary.series, summary.body_bytes, summary.text_bytes) == (400, 1000, 5000)


def test_ratios_are_to_the_sum_of_the_pair_and_to_the_kernel(measured, course):
    """What an exporter does between scrapes counts in the first, not in the second."""
    run = measured(course(4, 6, rss_mib=10, between=5.0))
    found = ratios(run)
    assert found.cpu_to_pair == pytest.approx(0.1)
    assert found.scrape_cpu_to_pair == pytest.approx(0.05)
    assert found.rss_to_pair == pytest.approx(0.25)
    assert kernel_cpu_s(run) == pytest.approx(0.005)
    assert found.cpu_to_kernel_limit == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (100, {"cpu_to_pair": (0.5, 0.3), "rss_to_pair": (1.0, None)}),
        (1000, {"cpu_to_pair": (0.15, 0.09), "rss_to_pair": (1.0, None)}),
        (5000, {"cpu_to_pair": (0.08, 0.046), "rss_to_pair": (1.0, None), "cpu_to_kernel_limit": (2.5, None)}),
        (20, {"rss_to_pair": (1.0, None)}),
    ],
)
def test_goals_by_number_of_processes(processes, expected):
    judged = verdicts(processes, Ratios(0.05, 0.05, 0.9, 2.0))
    assert {verdict.ratio: (verdict.goal.limit, verdict.goal.aim) for verdict in judged} == expected


def test_a_verdict_takes_the_ratio_that_counts_everything():
    """Not the one of the scrapes alone."""
    cpu, rss, kernel = verdicts(5000, Ratios(0.081, 0.01, 1.0, 2.51))
    assert (cpu.value, cpu.holds) == (0.081, False)
    assert (rss.value, rss.holds) == (1.0, True)
    assert (kernel.value, kernel.holds) == (2.51, False)


@pytest.mark.parametrize(
    ("value", "aim", "holds", "reached"),
    [(0.5, 0.3, True, False), (0.3, 0.3, True, True), (0.51, 0.3, False, False), (0.4, None, True, None)],
)
def test_goal_and_aim(value, aim, holds, reached):
    verdict = Verdict("cpu_to_pair", value, Goal(0.5, aim))
    assert (verdict.holds, verdict.aim_reached) == (holds, reached)
