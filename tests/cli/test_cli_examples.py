"""Examples in help texts stand one to a line, as they would be typed."""

import pytest
from click.testing import CliRunner

from offloader.cli.main import cli


@pytest.mark.parametrize("command", [["move"], ["auto"], ["scan"], ["why"], ["config", "init"]])
def test_examples_are_not_run_together(command):
    text = CliRunner().invoke(cli, [*command, "--help"]).output
    examples = [line.strip() for line in text.splitlines() if line.strip().startswith("grid-offloader ")]
    assert examples
    assert "\\b" not in text
