import os
import threading
import time

from exposition import samples_of

from exporter.collectors.base import Collector
from exporter.metrics import Kind, Metric
from exporter.registry import Registry

VALUE = Metric("grid_test_value", Kind.GAUGE, "A value.", "none")


class Counting(Collector):
    name = "counting"
    metrics = (VALUE,)

    def __init__(self, delay=0.0):
        self.calls = 0
        self.delay = delay

    def collect(self):
        self.calls += 1
        time.sleep(self.delay)
        yield VALUE.sample(self.calls)


class Broken(Collector):
    name = "broken"
    metrics = (Metric("grid_test_broken", Kind.GAUGE, "Never seen.", "none"),)

    def __init__(self):
        pass

    def collect(self):
        yield self.metrics[0].sample(1)
        raise OSError("the disk is gone")


class Undeclared(Collector):
    name = "undeclared"
    metrics = ()

    def __init__(self):
        pass

    def collect(self):
        yield VALUE.sample(1)


class Untidy(Collector):
    name = "untidy"
    metrics = (Metric("grid_test_untidy", Kind.GAUGE, "What a kernel may hand out.", "none", ("name",)),)

    def __init__(self):
        pass

    def collect(self):
        yield self.metrics[0].sample(1, os.fsdecode(b"caf\xe9"))


def _values(registry):
    return samples_of(registry.scrape("")[0].decode())


def test_a_failing_collector_costs_only_its_own_metrics(caplog):
    """Half a collector's samples are none, the others are all there, and it is said."""
    values = _values(Registry([Broken(), Counting()]))
    assert values["grid_exporter_collector_success", "broken"] == 0
    assert values["grid_exporter_collector_success", "counting"] == 1
    assert values["grid_test_value",] == 1
    assert ("grid_test_broken",) not in values
    assert "the disk is gone" in caplog.text


def test_a_metric_that_was_not_declared_costs_only_its_own_collector(caplog):
    """A scrape is lost to no mistake in one collector."""
    values = _values(Registry([Undeclared(), Counting()]))
    assert values["grid_exporter_collector_success", "undeclared"] == 0
    assert values["grid_test_value",] == 1
    assert "grid_test_value is none of the metrics that it declares" in caplog.text


def test_a_label_that_is_no_text_costs_no_scrape():
    values = _values(Registry([Untidy(), Counting()]))
    assert values["grid_test_untidy", "caf?"] == 1
    assert values["grid_test_value",] == 1


def test_concurrent_scrapes_share_one_sample():
    """Two Prometheus servers cost as much as one."""
    collector = Counting(delay=0.2)
    registry = Registry([collector])
    threads = [threading.Thread(target=registry.collect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collector.calls == 1


def test_a_later_scrape_samples_anew():
    """Never a value older than the shortest interval."""
    now = [0.0]
    collector = Counting()
    registry = Registry([collector], lambda: now[0])
    registry.prime()
    assert _values(registry)["grid_test_value",] == 2
    now[0] = 0.4
    assert _values(registry)["grid_test_value",] == 2
    now[0] = 0.6
    assert _values(registry)["grid_test_value",] == 3
