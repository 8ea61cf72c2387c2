"""The dashboards: in step with their code, without faults, and about metrics that exist."""

import json
import re
import shutil
from pathlib import Path

import promql_parser
import pytest
import yaml
from _check import schema, style
from _check.document import annotations, panels, queries, read, variables
from _check.template import Window, filled
from _dashboards.cli import FOLDER, main
from _dashboards.documents import documents

from exporter.collectors import COLLECTORS
from exporter.registry import OWN_METRICS
from offloader.config.models import Prometheus
from offloader.config.shipped import prometheus_rules, shipped
from offloader.daemon.metric_table import METRICS as CONTROLLER

DASHBOARDS = read(FOLDER)
PARTS = ("", "_bucket", "_sum", "_count")
NOT_OURS = {
    "ALERTS",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "up",
}
TITLES = {
    "Grid: head node",
    "Grid: workers and offers",
    "Grid: moves",
    "Grid: jobs and queues",
    "Grid: exporter and controller health",
}


def test_the_files_are_what_the_code_says():
    """Else: grafana/build."""
    assert main(["--check"]) == 0
    assert set(DASHBOARDS) == set(documents())


def test_a_stale_file_is_told_and_written_anew(tmp_path, capsys):
    assert main([f"--folder={tmp_path}"]) == 0
    file = tmp_path / "grid-moves.json"
    file.write_text("{}", encoding="utf-8")
    assert main(["--check", f"--folder={tmp_path}"]) == 1
    assert f"{file} is stale" in capsys.readouterr().err
    assert main([f"--folder={tmp_path}"]) == 0
    assert main(["--check", f"--folder={tmp_path}"]) == 0


def test_all_that_people_were_promised_is_there():
    assert {one["title"] for one in DASHBOARDS.values()} == TITLES


def test_none_has_a_fault():
    for name, document in DASHBOARDS.items():
        assert [*schema.faults(document), *style.faults(document)] == [], name
    assert list(style.together(DASHBOARDS)) == []


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_dashboard_has_variables_for_cluster_and_node_marks_of_moves_and_links(name):
    document = DASHBOARDS[name]
    assert {"datasource", "cluster", "node", "status_page", "ray"} <= {one["name"] for one in variables(document)}
    assert len(annotations(document)) == 3
    urls = [link.get("url", "") for link in document["links"]]
    assert any("${status_page:raw}" in url for url in urls)
    assert any("${ray:raw}" in url for url in urls)


def asked():
    """(dashboard and place, PromQL) of every query, variables' selectors included."""
    window = Window(0.0, 3600.0, 5.0)
    for name, document in DASHBOARDS.items():
        values = {one["name"]: [".*"] for one in variables(document)}
        for query in queries(document):
            yield f"{name}: {query.where}", filled(query.expr, values, window)
        for one in variables(document):
            if match := re.search(r"label_values\((.+), \w+\)", str(one["query"])):
                yield f"{name}: variable {one['name']}", filled(match[1], values, window)


def recorded():
    """Names of recorded series."""
    for file in prometheus_rules():
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from (rule["record"] for rule in group["rules"] if "record" in rule)


def selectors(node):
    """Every vector selector in a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "param", "vs"):
        if (inner := getattr(node, name, None)) is not None and not isinstance(inner, str):
            yield from selectors(inner)
    for inner in getattr(node, "args", None) or ():
        yield from selectors(inner)


def test_every_query_is_promql_about_metrics_that_exist_and_asks_for_the_chosen_cluster():
    exporter = {metric.name for metric in (*OWN_METRICS, *(one for kind in COLLECTORS for one in kind.metrics))}
    names = {*NOT_OURS, *recorded(), *exporter, *(name + part for name in CONTROLLER for part in PARTS)}
    count = 0
    for where, expr in asked():
        for selector in selectors(promql_parser.parse(expr)):
            count += 1
            assert selector.name in names, f"{where}: {selector.name}"
            matched = {matcher.name for matcher in selector.matchers.matchers}
            assert "cluster" in matched or where.endswith("cluster"), f"{where}: {expr}"
    assert count > 150


def test_all_nodes_of_a_dashboard_about_the_head_or_workers_are_those():
    """A value for all of them, such as `.*`, would bring in the others."""
    for name, role in {"grid-head.json": "head", "grid-workers.json": "worker"}.items():
        (node,) = [one for one in variables(DASHBOARDS[name]) if one["name"] == "node"]
        assert f'role="{role}"' in str(node["query"])
        assert node["includeAll"] is True
        assert not node.get("allValue")


def test_the_dashboard_of_the_head_shows_jobs_wherever_they_are():
    (table,) = [one for one in panels(DASHBOARDS["grid-head.json"]) if one["title"] == "Work that runs elsewhere"]
    assert "$node" not in table["targets"][0]["expr"]


def test_nothing_is_said_to_be_well_when_no_controller_answers():
    """A number that is made up where there is no series holds only for what Prometheus itself knows: alerts."""
    for where, expr in asked():
        assert "vector(" not in expr or "ALERTS" in expr, where


def test_a_table_of_several_queries_knows_the_value_of_one_that_alone_found_anything():
    """Grafana calls it `Value` then, not `Value #A`."""
    found = 0
    for document in DASHBOARDS.values():
        for table in (one for one in panels(document) if one["type"] == "table" and len(one["targets"]) > 1):
            (arranged,) = [one["options"] for one in table["transformations"] if one["id"] == "organize"]
            first = arranged["renameByName"].get("Value #A")
            assert arranged["renameByName"].get("Value") == first, table["title"]
            assert arranged["excludeByName"].get("Value", False) is (first is None), table["title"]
            found += 1
    assert found > 3


def test_thresholds_are_drawn_from_metrics_and_never_written_down():
    """0.8 in a file would stay 0.8 when somebody says `auto --threshold cpu=70`."""
    head = DASHBOARDS["grid-head.json"]
    for title in ("CPU", "Memory", "GPU"):
        (dial,) = [panel for panel in panels(head) if panel["title"] == title]
        assert "grid_offloader_threshold_ratio" in dial["targets"][1]["expr"]
        assert dial["transformations"][0]["id"] == "configFromData"
        assert [step["value"] for step in dial["fieldConfig"]["defaults"]["thresholds"]["steps"]] == [None]
        (graph,) = [panel for panel in panels(head) if panel["title"] == f"{title} in use"]
        assert [target["legendFormat"] for target in graph["targets"]] == ["{{node}}", "threshold", "relief"]


def test_a_row_of_moves_leads_to_the_status_page_and_one_of_jobs_to_ray():
    (table,) = [one for one in panels(DASHBOARDS["grid-jobs.json"]) if one["title"] == "Work that runs elsewhere"]
    links = {
        override["matcher"]["options"]: prop["value"][0]["url"]
        for override in table["fieldConfig"]["overrides"]
        for prop in override["properties"]
        if prop["id"] == "links"
    }
    assert links == {
        "move": "${status_page:raw}/#${__data.fields.move}",
        "submission": "${ray:raw}/#/jobs/${__data.fields.submission}",
    }


def provisioned(kind):
    (file,) = shipped("grafana", "provisioning", kind).glob("*.yml")
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def test_the_provisioned_data_source_is_the_prometheus_of_an_unchanged_configuration():
    (source,) = provisioned("datasources")["datasources"]
    defaults = Prometheus()
    assert (source["type"], source["url"]) == ("prometheus", defaults.url)
    assert source["jsonData"]["timeInterval"] == f"{defaults.scrape_interval_s:g}s"
    assert source["isDefault"] is True


def test_the_provisioned_folder_of_dashboards_is_told_in_the_documentation():
    (provider,) = provisioned("dashboards")["providers"]
    text = Path(__file__).resolve().parents[2].joinpath("docs/grafana.md").read_text(encoding="utf-8")
    assert provider["options"]["path"] in text
    assert provider["type"] == "file"


def test_dashboards_can_be_checked_where_the_project_is_installed(tmp_path):
    """No path of the checkout is written into them."""
    for name in DASHBOARDS:
        shutil.copy2(FOLDER / name, tmp_path / name)
    assert read(tmp_path) == DASHBOARDS
    assert str(FOLDER.parents[1]) not in json.dumps(DASHBOARDS)
