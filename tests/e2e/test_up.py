"""From nodes with nothing but an SSH server to a monitored, controlled cluster by one command, and back."""

import json

import pytest
import readme
from managed import HEAD, pids, states

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.promtool, pytest.mark.timeout(900)]


def test_one_command_brings_everything_up_a_second_changes_nothing_and_stop_leaves_no_process(managed):
    managed.write_installing()
    up, status, stop = readme.SERVICES
    token_file = managed.private / "state/webhook.token"
    assert f"status page: http://127.0.0.1:9778/, its token: {token_file}" in managed.type(up).stderr
    document = managed.json("cluster", "status")
    assert set(states(document).values()) == {"running"}, states(document)
    assert document["ok"] is True
    first = pids(document)
    assert len(first) == 9

    token = managed.bed.exec(HEAD, ["cat", str(managed.private / "state/ray.token")]).stdout.strip()
    api = f"http://{managed.bed.ip(HEAD)}:8265/api/jobs/"
    assert (managed.ask(api, token), managed.ask(api), managed.ask(api, "wrong")) == (200, 401, 403)
    jobs = ("alertmanager", *["grid-exporter"] * 3, "grid-offloader", "prometheus")
    wanted = [(job, "up") for job in jobs]
    managed.bed.wait_for(lambda: managed.targets() == wanted, 30, "all targets up")
    assert managed.type(status).stdout.count("running") == 9
    assert managed.json("cluster", "check")["ok"] is True
    the_status_page_opens_with_the_token(managed, token_file)
    rules_reach_alertmanager_and_alerts_the_controller(managed)

    again = managed.cli("up", "--format", "json")
    assert "nothing to change" in again.stderr
    assert pids(json.loads(again.stdout)) == first

    managed.type(stop)
    assert managed.ours() == []
    assert managed.json("cluster", "status", code=1)["ok"] is False


def the_status_page_opens_with_the_token(managed, token_file):
    token = managed.bed.exec(HEAD, ["cat", str(token_file)]).stdout.strip()
    page = "http://127.0.0.1:9778/"
    assert managed.ask(page) == 200
    assert (managed.ask(f"{page}v1/status", token), managed.ask(f"{page}v1/status", "wrong")) == (200, 401)


def rules_reach_alertmanager_and_alerts_the_controller(managed):
    managed.bed.wait_for(lambda: "GridWatchdog" in managed.alerts(), 60, "the shipped rules' watchdog in Alertmanager")
    told = 'grid_offloader_webhook_total{outcome="unused"}'  # no rule names it
    assert managed.value(told) is None
    managed.alert(alertname="Trial", severity="none", offload="yes")
    managed.bed.wait_for(lambda: managed.value(told) == 1, 60, "an alert to reach the controller")
    assert managed.value('grid_offloader_webhook_total{outcome!="unused"}') is None


def test_a_dead_node_does_not_keep_the_others_and_is_made_up_for_later(managed):
    managed.bed.kill("gpu2")
    done = managed.cli("up", "--format", "json", code=9)
    rows = {row["node"]: row for row in json.loads(done.stdout)["nodes"]}
    assert (rows["gpu2"]["reachable"], rows["gpu2"]["ok"]) == (False, False)
    assert [rows[name]["ok"] for name in (HEAD, "gpu1")] == [True, True], rows
    assert "gpu2" in done.stderr
    managed.bed.start("gpu2")
    assert managed.json("up")["ok"] is True


def test_a_head_that_restarts_finds_its_moved_job_and_stop_refuses_while_it_runs(managed):
    managed.json("up")
    move = managed.moved("trial")
    refused = managed.cli("cluster", "stop", code=4)
    assert "--drain" in refused.stderr
    managed.cli("cluster", "restart", "gpu1", code=4)

    managed.cli("cluster", "restart", HEAD)
    managed.healthy()
    assert managed.json("status", move["id"])["job_state"] == "running"
    assert managed.bed.running("trial") == ["gpu1"]

    # The same when Ray on the head dies: control store and raylet.
    managed.kill(HEAD, "gcs_server", "raylet")
    managed.bed.wait_for(lambda: managed.status()["ok"], 120, "the head's Ray, started again by its keeper")
    ray = next(one for one in managed.status()["nodes"][0]["services"] if one["name"] == "ray")
    assert ray["restarts"] >= 1
    assert managed.json("status", move["id"])["job_state"] == "running"
    assert managed.bed.running("trial") == ["gpu1"]
    managed.end_job("trial", move)
