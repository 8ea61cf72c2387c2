"""The documentation of configuration and rules is what the code does."""

import re
from pathlib import Path

import pytest

from offloader.config.load import check_cluster
from offloader.config.reference import main, rendered
from offloader.config.rules import RuleDefaults, check_rules
from offloader.config.shipped import prometheus_rules

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def block(page, beginning):
    """The first YAML example of a page that begins so."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return next(found for found in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if found.startswith(beginning))


@pytest.mark.parametrize("page", ["configuration.md", "rules.md"])
def test_the_key_tables_are_up_to_date(page):
    """Mended by: python -m offloader.config.reference."""
    text = (DOCS / page).read_text(encoding="utf-8")
    assert rendered(text) == text
    assert main(["--check"]) == 0


def test_every_key_is_in_the_tables():
    """Also those of nested sections: each by its path."""
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    for key in (
        "ssh.known_hosts",
        "share.memory",
        "thresholds.cpu.min_free",
        "webhook_token_file",
        "stale_after",
        "owner",
    ):
        assert f"| `{key}` |" in text


def test_the_example_of_a_cluster_file_is_fine(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(block("configuration.md", "cluster:"), encoding="utf-8")
    report = check_cluster(file)
    assert (report.problems, report.warnings) == ((), ())


def test_the_example_of_a_rule_is_fine(tmp_path):
    file = tmp_path / "rules.yml"
    file.write_text(block("rules.md", "groups:"), encoding="utf-8")
    report = check_rules([file], RuleDefaults(workers=("gpu1", "gpu2")), recording_files=prometheus_rules())
    assert (report.problems, report.warnings) == ((), ())


def test_every_series_named_for_rule_authors_is_recorded():
    text = (DOCS / "rules.md").read_text(encoding="utf-8")
    recorded = {match for file in prometheus_rules() for match in re.findall(r"record: (\S+)", file.read_text("utf-8"))}
    assert set(re.findall(r"`(grid:[a-z_:]+)`", text)) <= recorded
