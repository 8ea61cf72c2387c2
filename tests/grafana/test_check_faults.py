"""What the checker finds without a Prometheus: against the schema, and against what readers need."""

import copy
import json

import pytest
from _check import schema, style
from _check.cli import main
from _check.document import panels, read
from _dashboards.cli import FOLDER

HEAD = read(FOLDER)["grid-head.json"]


@pytest.fixture
def document():
    """The dashboard of the head, to be spoilt."""
    return copy.deepcopy(HEAD)


def panel(document, title):
    return next(one for one in panels(document) if one["title"] == title)


def test_an_unknown_key_is_told_with_its_place(document):
    panel(document, "CPU")["colour"] = "red"
    (fault,) = schema.faults(document)
    assert fault.startswith("panels[")
    assert fault.endswith(".colour is no key of Panel")


def test_a_missing_key_is_told(document):
    del document["schemaVersion"]
    assert list(schema.faults(document)) == ["schemaVersion is missing in Dashboard"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("title", 7, "title: 7 is no str"),
        ("tags", "grid", "tags: 'grid' is no list"),
        ("tags", ["grid", 1], "tags[1]: 1 is no str"),
        ("editable", "no", "editable: 'no' is no bool"),
        ("graphTooltip", 5, "graphTooltip: 5 is none of [0, 1, 2]"),
        ("time", {"from": "now-1h"}, "time.to is missing in DashboardDashboardTime"),
        ("annotations", [], "annotations: [] is no AnnotationContainer"),
    ],
)
def test_a_wrong_value_is_told(document, key, value, said):
    document[key] = value
    assert list(schema.faults(document)) == [said]


def test_options_and_fields_of_a_panel_are_those_of_its_type(document):
    dial = panel(document, "CPU")
    dial["options"]["graphMode"] = "area"  # a stat has it
    panel(document, "Load")["fieldConfig"]["defaults"]["custom"]["fillOpacity"] = "much"
    found = list(schema.faults(document))
    assert len(found) == 2
    assert any("options.graphMode is no key of Options" in fault for fault in found)
    assert any("defaults.custom.fillOpacity: 'much' is no float" in fault for fault in found)


def test_a_query_is_one_of_its_data_source(document):
    target = panel(document, "CPU")["targets"][0]
    target["expression"] = target.pop("expr")
    target["datasource"]["type"] = "prometheus"
    found = list(schema.faults(document))
    assert [fault.partition(".targets[0].")[2] for fault in found] == [
        "expr is missing in Dataquery",
        "expression is no key of Dataquery",
    ]


def test_what_the_data_source_prometheus_reads_of_an_annotation_is_allowed_and_nothing_else(document):
    document["annotations"]["list"][0]["colour"] = "red"
    assert list(schema.faults(document)) == ["annotations.list[0].colour is no key of AnnotationQuery"]


def test_a_panel_type_that_does_not_exist_is_told(document):
    panel(document, "CPU")["type"] = "thermometer"
    assert any("no panel type is called 'thermometer'" in fault for fault in schema.faults(document))


def test_deprecated_panels_are_told_with_what_took_their_place(document):
    panel(document, "Load")["type"] = "graph"
    assert list(style.faults(document)) == ["Load: panels of type graph are deprecated; use timeseries"]


@pytest.mark.parametrize("key", ["title", "description"])
def test_a_panel_without_title_or_description_is_told(document, key):
    panel(document, "Load")[key] = " "
    (fault,) = style.faults(document)
    assert fault.endswith(f"the panel: no {key}")


def test_a_panel_without_a_unit_is_told(document):
    del panel(document, "Load")["fieldConfig"]["defaults"]["unit"]
    assert list(style.faults(document)) == ["Load: no unit"]


def test_a_data_source_of_somebody_s_own_grafana_is_told(document):
    panel(document, "Load")["targets"][1]["datasource"]["uid"] = "P1809F7CD0C75ACF3"
    (fault,) = style.faults(document)
    assert fault == "Load: the data source must be the one that people chose, not 'P1809F7CD0C75ACF3'"


def test_panels_that_lie_over_each_other_or_beyond_the_edge_are_told(document):
    one, other = panel(document, "CPU"), panel(document, "Memory")
    other["gridPos"] = dict(one["gridPos"])
    panel(document, "Load")["gridPos"]["w"] = 30
    found = list(style.faults(document))
    assert "CPU: lies over Memory" in found
    assert "Load: wider than the dashboard" in found


def test_ids_and_queries_are_there_once(document):
    load = panel(document, "Load")
    load["id"] = panel(document, "CPU")["id"]
    load["targets"][1]["refId"] = "A"
    found = list(style.faults(document))
    assert f"panel id {load['id']} is there 2 times" in found
    assert "Load: query 'A' is there 2 times" in found


def test_variables_that_are_missing_or_of_no_use_are_told(document):
    panel(document, "Load")["targets"][0]["expr"] = 'up{rack="$rack"}'
    document["templating"]["list"].append({"name": "shelf", "type": "query", "query": "label_values(up, shelf)"})
    assert list(style.faults(document)) == ["there is no variable rack", "nothing uses the variable shelf"]


def test_a_link_to_a_dashboard_that_does_not_exist_is_told(document):
    document["links"][0]["url"] = "/d/grid-nowhere"
    assert list(style.together({"x.json": document})) == ["x.json: no dashboard has the uid 'grid-nowhere'"]
    assert "uid 'grid-head' is there 2 times" in list(style.together({"x.json": HEAD, "y.json": HEAD}))


def test_the_command_lists_faults_and_fails(document, tmp_path, capsys):
    del document["description"]
    (tmp_path / "mine.json").write_text(json.dumps(document), encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "mine.json: the dashboard: no description",
        "1 dashboards: 1 faults",
    ]


@pytest.mark.parametrize("text", [None, "[]", "{"])
def test_a_folder_without_dashboards_or_with_something_else_is_no_success(text, tmp_path, capsys):
    if text is not None:
        (tmp_path / "mine.json").write_text(text, encoding="utf-8")
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("grafana/check: ")
