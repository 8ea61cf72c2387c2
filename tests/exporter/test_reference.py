import re
from pathlib import Path

from exporter import reference
from exporter.classify import ProcessClass
from exporter.collectors import COLLECTORS


def test_the_page_is_up_to_date():
    """docs/metrics.md is what the code declares; else: python -m exporter.reference."""
    assert reference.main(["--check"]) == 0


def test_every_metric_and_class_is_on_it():
    """Nothing is exported that the reference does not explain."""
    page = reference.render()
    missing = [metric.name for collector in COLLECTORS for metric in collector.metrics if metric.name not in page]
    assert missing == []
    assert [kind for kind in ProcessClass if kind not in page] == []


def test_every_detail_that_may_be_missing_is_on_it():
    """Who sees the metric finds what helps."""
    golden = "".join(path.read_text() for path in (Path(__file__).parent / "golden").glob("*.txt"))
    details = set(re.findall(r'^grid_exporter_detail_missing\{detail="(\w+)"\}', golden, re.MULTILINE))
    page = reference.render()
    assert {"cpu", "gpu", "process_io"} <= details
    assert [detail for detail in details if f"\n| `{detail}` |" not in page] == []


def test_a_stale_page_is_noticed(tmp_path, capsys):
    """The check that CI runs."""
    stale = tmp_path / "metrics.md"
    stale.write_text("old")
    assert reference.main(["--check", f"--output={stale}"]) == 1
    assert "stale" in capsys.readouterr().err
