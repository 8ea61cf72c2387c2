"""The controller's metric reference is what the controller exports."""

import re
import urllib.request

import pytest

from offloader.daemon.metric_table import METRICS
from offloader.daemon.reference import PAGES, main, metrics_page


def test_the_reference_is_up_to_date():
    """The pages are what the code declares; else: python -m offloader.daemon.reference."""
    assert main(["--check"]) == 0


def test_a_stale_page_is_told(tmp_path, capsys):
    for name, render in PAGES.items():
        assert main([f"--folder={tmp_path}"]) == 0
        (tmp_path / name).write_text(render() + "\n", encoding="utf-8")
        assert main(["--check", f"--folder={tmp_path}"]) == 1
        assert f"{name} is stale" in capsys.readouterr().err
    assert main([f"--folder={tmp_path}"]) == 0
    assert main(["--check", f"--folder={tmp_path}"]) == 0


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_every_metric_has_what_a_reader_needs(metric):
    assert metric.help.endswith(".")
    assert metric.unit
    assert (metric.kind == "counter") is metric.name.endswith("_total")
    assert f"| `{metric.name}` | {metric.kind} |" in metrics_page()


def test_examples_name_only_metrics_that_exist():
    names = {*METRICS, *(f"{name}_bucket" for name, metric in METRICS.items() if metric.kind == "histogram")}
    for metric in METRICS.values():
        assert set(re.findall(r"grid_\w+", metric.example)) <= names


def test_a_running_controller_exports_what_is_declared_and_nothing_else(daemon):
    """`process_*` is prometheus_client's own."""
    daemon.start()
    listen = daemon.json("config", "show")["controller"]["listen"]
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    typed = dict(line.split()[2:] for line in lines if line.startswith("# TYPE"))
    ours = {name: kind for name, kind in typed.items() if not name.startswith("process_") and "_created" not in name}
    assert ours == {name: metric.kind for name, metric in METRICS.items()}
