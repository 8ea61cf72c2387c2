"""docs/exporter.md says what the exporter does."""

import re
from pathlib import Path

from exporter.__main__ import _parser
from exporter.web.config import read
from exporter.web.tls_section import ClientPolicy
from exporter.web.watched import Watched

PAGE = (Path(__file__).parents[3] / "docs/exporter.md").read_text(encoding="utf-8")


def test_every_option_is_there():
    """And none that is not one. --help and --version explain themselves."""
    known = {name for action in _parser()._actions for name in action.option_strings if name.startswith("--")}
    table = PAGE.partition("## Options")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"--[a-z.-]+", "".join(rows))) == known - {"--help", "--version"}


def test_the_example_is_a_web_configuration(tmp_path, authority, server_pair):
    """As it stands there, with the files that it names."""
    server_pair.write(tmp_path, "node")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    example = re.search(r"```yaml\n(# \S+/web\.yml\n.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "web.yml").write_text(example)
    config = read(tmp_path / "web.yml", Watched())
    assert config.tls.policy is ClientPolicy.REQUIRED
    assert list(config.users) == [b"prometheus"]
    assert config.warnings == ()
