"""An exporter that does not run, or does not tell of processes, is no contender."""

import sys

import pytest

from benchmarks.errors import CannotRunError
from benchmarks.exporter.contenders import Contender, listening
from benchmarks.exporter.scrape import scraper


def test_one_that_does_not_start(tmp_path):
    """With the last thing it said."""
    fails = Contender("fails", ("sh", "-c", "echo no such port; exit 3"), "")
    with pytest.raises(CannotRunError, match=r"fails ended \(exit code 3\): no such port"), listening(fails, tmp_path):
        pass


@pytest.mark.slow
def test_an_answer_without_what_it_is_measured_for(tmp_path):
    ours = Contender("ours", (sys.executable, "-m", "exporter", "--collectors=load"), "grid_process_")
    told = "ours answered 200, without grid_process_"
    with listening(ours, tmp_path) as target, scraper(target) as scrapes, pytest.raises(CannotRunError, match=told):
        scrapes.scrape()


@pytest.mark.slow
def test_scrapes_of_one_that_ended_meanwhile(tmp_path):
    ours = Contender("ours", (sys.executable, "-m", "exporter", "--collectors=load"), "grid_exporter_build_info")
    with listening(ours, tmp_path) as target, scraper(target) as scrapes:
        first, second = scrapes.scrape(), scrapes.scrape()
        assert first.series == second.series > 2
        assert first.text_bytes >= first.body_bytes > 100
        target.process.kill()
        target.process.wait()
        with pytest.raises(CannotRunError, match=r"ours ended \(exit code -9\)"):
            scrapes.scrape()
