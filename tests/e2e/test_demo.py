"""`./deploy/demo` as a newcomer runs it: a measurement that passes with the rule, and fails without."""

import json
import os
import re
import shlex
import subprocess
import urllib.request
from http import HTTPStatus
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
ORDER = [
    *("above_threshold", "pending", "firing", "decided", "held", "frozen"),
    *("launched", "proven", "committed", "below_relief"),
]
BED = {"GRID_TESTBED_NAME": "gtdemo", "GRID_TESTBED_SUBNET": "10.84.0.0/24"}

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.root, pytest.mark.timeout(600)]


@pytest.fixture
def demo(tmp_path):
    """Runs the demo on a test bed of its own, and removes what a demo that was ended by force would leave."""
    environment = {**os.environ, **BED}
    environment.pop("GRID_TESTBED_DIR", None)

    def run(*options):
        file = tmp_path / "out.json"
        line = [PROJECT / "deploy/demo", "--json", file, *options]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=580, check=False)
        return done, json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    yield run
    subprocess.run([PROJECT / "deploy/testbed", "down"], env=environment, check=True, capture_output=True, timeout=60)


def test_the_head_gets_out_of_trouble_and_the_report_says_how(demo):
    done, out = demo()
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [step["event"] for step in out["timeline"]] == ORDER
    times = [step["t"] for step in out["timeline"]]
    assert times == sorted(times)
    move = out["move"]
    assert (move["source"], move["strategy"], move["state"]) == ("gpu-master", "restart", "done")
    assert move["target"] in ("gpu1", "gpu2")
    assert move["id"].startswith("offload_")
    assert move["id"].endswith(f"_{move['pid']}")
    assert move["job"]
    assert move["submission_id"]
    assert out["pressure"]["after"] < out["pressure"]["before"]
    chain = out["witness"]["chain"]
    assert [copy["node"] for copy in chain] == ["gpu-master", move["target"]]
    assert {"node", "start_id", "first_t", "last_t", "first_seq", "last_seq"} <= set(chain[0])
    assert chain[0]["last_t"] < chain[1]["first_t"]
    assert out["witness"]["overlaps"] == 0
    for told in ("Proven", "head CPU", "Next"):
        assert told in done.stderr
    assert not Path(f"/var/lib/grid-testbed-{BED['GRID_TESTBED_NAME']}").exists(), "it left its test bed behind"


def test_without_the_rule_nothing_moves_and_it_fails_and_with_keep_all_of_it_is_left_to_look_at(demo):
    done, out = demo("--no-rule", "--keep")
    assert done.returncode == 1, done.stderr
    assert out["move"] is None
    assert "decided" not in [step["event"] for step in out["timeline"]]
    assert [copy["node"] for copy in out["witness"]["chain"]] == ["gpu-master"]
    assert "nothing was moved" in done.stderr
    for service in ("Prometheus", "controller"):
        address = re.search(rf"^ +{service} +(http://\S+)$", done.stderr, re.MULTILINE)[1]
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=20) as answer:
            assert answer.status == HTTPStatus.OK
    look = re.search(r"^ +look +(.+)$", done.stderr, re.MULTILINE)[1]
    status = subprocess.run(shlex.split(look), capture_output=True, text=True, timeout=60, check=False)
    assert (status.returncode, "gpu-master" in status.stdout) == (0, True), status.stderr
