"""A real alert of a real Prometheus goes through a real Alertmanager and the webhook, and ends in one real move.

The rule alone would wait for ten minutes, so what moves here was hurried by an alert. Alertmanager is configured by
what deploy/ ships, but for addresses, and for a receiver that records what is delivered.
"""

import json
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from _testbed import controller

pytestmark = [pytest.mark.testbed, pytest.mark.ray]

PROJECT = Path(__file__).resolve().parents[2]
HEAD = "gpu-master"
RULES = """\
groups:
  - name: trial
    rules:
      - offload: cpu
        resource: cpu
        expr: grid:node_pressure:ratio{role="head",resource="cpu"}
        threshold: 60%
        relief: 30%
        for: 10m
        on_alert: [TrialHeadBusy]
        select: {min_age: 1s}
        move: {strategies: [restart]}
"""
ALERT = """\
groups:
  - name: trial
    interval: 1s
    rules:
      - alert: TrialHeadBusy
        expr: grid:node_pressure:ratio{role="head",resource="cpu"} > 0.6
        for: 4s
        labels: {severity: none, offload: "yes"}
"""


@pytest.fixture
def recorder(controlled):
    """A receiver of webhooks on the machine's own address of the test bed; `deliveries` are their documents."""
    deliveries = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            deliveries.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((controlled.settings.host_ip, 0), Handler)
    server.deliveries = deliveries
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def chain(controlled, recorder):
    """Starts Alertmanager and has Prometheus evaluate the alert; both end with the test."""
    bed = controlled.bed
    rules = bed.root / "prometheus/rules/trial.yml"

    def begin():
        rules.parent.mkdir(exist_ok=True)
        rules.write_text(ALERT, encoding="utf-8")
        reload_prometheus(bed)
        file = bed.root / "alertmanager.yml"
        file.write_text(json.dumps(configuration(controlled, recorder)), encoding="utf-8")
        bed.run("monitoring", "start-alertmanager", str(file))

    yield begin
    rules.unlink(missing_ok=True)
    bed.run("monitoring", "stop-alertmanager")
    reload_prometheus(bed)


def configuration(controlled, recorder):
    """What deploy/ ships, with this test bed's addresses; alerts of the severity `none` are recorded."""
    document = yaml.safe_load((PROJECT / "deploy/alerting/alertmanager.yml").read_text(encoding="utf-8"))
    receivers = {one["name"]: one for one in document["receivers"]}
    [ours] = receivers["grid-offloader"]["webhook_configs"]
    ours["url"] = f"http://{controlled.bed.ip(HEAD)}:9778/api/v1/alerts"
    ours["http_config"]["authorization"]["credentials_file"] = str(controller.webhook_token(controlled.settings))
    host, port = recorder.server_address
    for name in ("pager", "tickets", "dead-mans-switch", "nobody"):
        receivers[name]["webhook_configs"] = [{"url": f"http://{host}:{port}/{name}"}]
    for route in document["route"]["routes"]:
        route["group_wait"] = "0s"
    return document


def reload_prometheus(bed):
    opener().open(urllib.request.Request(f"{bed.prometheus}/-/reload", method="POST"), timeout=20).close()


def opener():
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def deliver(controlled, document, token):
    """POST a delivery to the controller; status and answer."""
    address = f"http://{controlled.bed.ip(HEAD)}:9778/api/v1/alerts"
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(address, json.dumps(document).encode(), headers)
    try:
        with opener().open(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def delivery(status, *, fingerprint="0123456789abcdef", starts=None):
    """A delivery as Alertmanager makes it."""
    alert = {
        "status": status,
        "labels": {"alertname": "TrialHeadBusy", "node": HEAD, "offload": "yes"},
        "annotations": {},
        "startsAt": (starts or datetime.now(UTC)).isoformat().replace("+00:00", "Z"),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": fingerprint,
    }
    return {"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": status, "alerts": [alert]}


def rule_state(controlled):
    [rule] = controlled.status()["rules"]
    return rule["state"]


def some_checks_later(controlled, checks=4):
    ticks = controlled.status()["data"]["ticks"]
    controlled.bed.wait_for(lambda: controlled.status()["data"]["ticks"] >= ticks + checks, 60, "some checks more")


def still_waits(controlled, moves):
    """Some checks later the rule is over its threshold, waits for its `for`, and nothing more was moved."""
    some_checks_later(controlled)
    controlled.bed.wait_for(lambda: rule_state(controlled) == "pending", 60, "the load to show in between")
    assert all_moves(controlled) == moves


def all_moves(controlled):
    status = controlled.status()
    return [one["id"] for one in (*status["moves_in_flight"], *status["moves_recent"])]


def the_new_move(controlled, known, seconds=90):
    def found():
        return [one for one in all_moves(controlled) if one not in known]

    [move] = controlled.bed.wait_for(found, seconds, "a move that was hurried")
    return move


@pytest.mark.timeout(600)
def test_load_alert_alertmanager_webhook_move_and_each_alert_counts_once(controlled, recorder, chain):
    bed = controlled.bed
    rules = bed.shared / "hurried.yml"
    rules.write_text(RULES, encoding="utf-8")
    times = {"check_interval": "1s", "cooldown": "2s", "initial_cooldown": "1s"}
    controlled.start(changes={"auto_offload": {**times, "rule_files": [str(rules)]}})
    controlled.ready()
    controlled.json("auto", "--enable")
    bed.start_load(HEAD, "hurried", cpu=0.5, environment={"GRID_OFFLOAD": "allow"})
    bed.wait_for(lambda: rule_state(controlled) == "pending", 60, "the load to show")
    a_wrong_token_changes_nothing(controlled)

    chain()
    first = the_new_move(controlled, [])
    over = controlled.final(first)
    assert (over["state"], over["automatic"], over["rule"]) == ("done", True, "trial/cpu"), over
    controlled.one_copy("hurried", on=over["target"])
    assert "an alert stands in" in controlled.log()
    recorded = bed.wait_for(lambda: busy(recorder.deliveries), 30, "the delivery in the recorder")
    bed.wait_for(lambda: "TrialHeadBusy is resolved" in controlled.log(), 150, "relief to have come all the way, too")

    bed.run("monitoring", "stop-alertmanager")
    bed.start_load(HEAD, "second", cpu=0.5, environment={"GRID_OFFLOAD": "allow"})
    bed.wait_for(lambda: rule_state(controlled) == "pending", 90, "the second load to show")
    the_same_deliveries_move_nothing_more(controlled, recorded, [first])
    three_deliveries_of_a_new_alert_are_one_move(controlled, [first])


def busy(deliveries):
    """The first recorded delivery in which the alert fires."""
    return next(
        (
            one
            for one in list(deliveries)
            if any(a["labels"]["alertname"] == "TrialHeadBusy" and a["status"] == "firing" for a in one["alerts"])
        ),
        None,
    )


def a_wrong_token_changes_nothing(controlled):
    for token in ("not-the-token", None):
        status, answer = deliver(controlled, delivery("firing"), token)
        assert (status, answer["error"]["code"]) == (401, "not_authenticated")
    still_waits(controlled, [])


def the_same_deliveries_move_nothing_more(controlled, recorded, moves):
    """What Alertmanager really sent, three times more: under load again, and the rule still waits for its `for`."""
    token = controller.webhook_token(controlled.settings).read_text(encoding="ascii").strip()
    for _ in range(3):
        status, answer = deliver(controlled, recorded, token)
        assert (status, answer["new"], answer["duplicate"]) == (200, 0, 1), answer
    still_waits(controlled, moves)


def three_deliveries_of_a_new_alert_are_one_move(controlled, moves):
    token = controller.webhook_token(controlled.settings).read_text(encoding="ascii").strip()
    fresh = delivery("firing")
    answers = [deliver(controlled, fresh, token)[1] for _ in range(3)]
    assert [(one["new"], one["duplicate"]) for one in answers] == [(1, 0), (0, 1), (0, 1)]
    second = the_new_move(controlled, moves)
    over = controlled.final(second)
    assert over["state"] == "done", over
    controlled.one_copy("second", on=over["target"])
    some_checks_later(controlled)
    assert sorted(all_moves(controlled)) == sorted([*moves, second])
