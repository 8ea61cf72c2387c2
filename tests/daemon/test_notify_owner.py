"""`notify.owner` of the cluster file, with a running controller: the site's command is told before and after."""

import json

import pytest

pytestmark = pytest.mark.slow

SAVES = """\
#!/usr/bin/python3
import sys
with open(sys.argv[2], "a") as told:
    told.write(sys.argv[1] + " " + sys.stdin.read().replace("\\n", " ") + "\\n")
"""


def told(path):
    """What the command got so far, after its first argument."""
    lines = path.read_text().splitlines() if path.exists() else []
    assert all(line.startswith("two words {") for line in lines)
    return [json.loads(line.removeprefix("two words ")) for line in lines]


def test_the_sites_command_hears_of_the_notice_and_of_what_became_of_it(
    daemon, prometheus, acting_file, load, tmp_path
):
    """The worker cannot be reached, so the move that was announced is taken back."""
    command, heard = tmp_path / "tell-owner", tmp_path / "told"
    command.write_text(SAVES)
    command.chmod(0o755)
    text = acting_file.read_text().replace("owners: {notice: 0s}", "owners: {notice: 2s}")
    acting_file.write_text(f"{text}notify: {{owner: [{command}, two words, {heard}], timeout: 10s}}\n")
    prometheus.pressure["head1"]["cpu"] = 0.97
    daemon.start("--log-level", "info")
    daemon.json("auto", "--enable")
    daemon.until(lambda: [one["kind"] for one in told(heard)][:2] == ["notice", "rolled_back"])
    notice, after = told(heard)[:2]
    assert (notice["pid"], notice["source"], notice["target"]) == (load.pid, "head1", "gpu1")
    assert (notice["rule"], notice["value"], notice["threshold"]) == ("test/cpu", 0.97, 0.8)
    assert f"grid-offloader keep {load.pid}" in " ".join(notice["lines"])
    [move] = daemon.status()["moves_recent"]
    assert (after["move"], after["reason"]) == (move["id"], move["reason"])
