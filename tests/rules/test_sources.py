"""Other exporters as sources: the same series as from ours. What they record is in rules/tests, as data."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from promql import assert_promql

from offloader.config.load import check_cluster
from offloader.config.promql import look_back, parse
from offloader.config.recording import read_recording_rules
from offloader.config.shipped import shipped

PROJECT = Path(__file__).resolve().parent.parent.parent
OWN = shipped("rules", "prometheus", "grid_exporter.yml")
SOURCES = sorted(shipped("rules", "prometheus", "sources").glob("*.yml"))
OF_NODES, *OF_GPUS = sorted(SOURCES, key=lambda file: file.name != "node_exporter.yml")

NOT_DERIVED = {"grid:node_contended_gpus"}
"""No exporter but ours tells the users of a GPU. Its absence keeps the head's GPU rule from acting."""


def recorded(*files):
    """(series, resource it says it is of) of every recording rule, the sources' own steps left out."""
    return {
        (rule["record"], rule.get("labels", {}).get("resource", "") if "stall" not in rule["record"] else "")
        for file in files
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "record" in rule and not re.match(r"grid:(node_exporter|dcgm|nvidia_smi)_", rule["record"])
    }


@pytest.mark.parametrize("gpus", OF_GPUS, ids=lambda file: file.stem)
def test_the_sources_record_what_our_exporters_rules_record(gpus):
    """A series that is added to one of them, or renamed in it, is missing in the other for whoever reads it."""
    assert len(OF_GPUS) == 2
    ours = {(series, resource) for series, resource in recorded(OWN) if series not in NOT_DERIVED}
    assert recorded(OF_NODES, gpus) == ours
    assert recorded(OF_NODES) & recorded(gpus) == set()


def test_the_sources_reach_back_as_far_as_our_exporters_rules():
    """The look-back check of offload rules reads the shipped rules, whichever of them Prometheus has."""
    ours, _ = read_recording_rules([OWN])
    theirs, warnings = read_recording_rules(SOURCES)
    assert warnings == ()
    for series in {series for series, _ in recorded(*SOURCES)}:
        assert look_back(parse(series), theirs).longest_s == look_back(parse(series), ours).longest_s, series


@pytest.mark.promtool
@pytest.mark.parametrize("file", [OWN, *SOURCES], ids=lambda file: file.stem)
def test_no_file_records_what_follows_from_another_files_series(promtool, tmp_path, file):
    """Else two groups write one series, and it is two where they do not agree on its labels."""
    names = sorted({series for series, _ in recorded(OWN, *SOURCES)})
    given = {f'{name}{{job="other",instance="{name}",node="{name}",role="worker"}}': "1x15" for name in names}
    made = 'count by (instance) ({__name__=~"grid:.+",job="other"})'
    expected = [{"labels": f'{{instance="{name}"}}', "value": 1} for name in names]
    assert_promql(promtool, tmp_path, given, {made: expected}, rule_files=[file])


def test_what_cannot_be_derived_is_said_in_every_file_and_on_the_page():
    for file in (*SOURCES, PROJECT / "docs" / "sources.md"):
        assert set(re.findall(r"grid:\w+", file.read_text(encoding="utf-8"))) >= NOT_DERIVED, file


@pytest.mark.promtool
@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.stem)
def test_promtool_finds_nothing_wrong_in_the_sources(promtool, file):
    done = subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pages_example_is_fine_and_names_files_that_there_are(tmp_path):
    text = (PROJECT / "docs" / "sources.md").read_text(encoding="utf-8")
    blocks = {block.partition("\n")[0]: block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)}
    file = tmp_path / "cluster.yaml"
    file.write_text(blocks["# cluster.yaml"], encoding="utf-8")
    report = check_cluster(file)
    assert (report.problems, report.warnings) == ((), ())
    ours = re.findall(r"/usr/share/grid-offloader/(\S+)", blocks["# prometheus.yml"])
    assert len(ours) == 4
    assert all(shipped(*name.split("/")).is_file() for name in ours)
