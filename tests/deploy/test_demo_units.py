"""What the demo makes of what it sees: events in the order in which they happened, whenever it looked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from _demo import prometheus, report, watch

RULE = {"threshold": 0.6, "relief": 0.45}
MOVE = {
    "id": "offload_103_42",
    "job": "01J",
    "pid": 42,
    "source": "gpu-master",
    "target": "gpu1",
    "strategy": "restart",
    "submission_id": "01J-1",
    "state": "done",
    "automatic": True,
    "detail": "",
}
STEPS = {"held": 104.0, "frozen": 105.0, "go": 106.0, "proven": 112.0, "ended": 113.0, "done": 113.5}
COPY = {"node": "gpu-master", "start_id": "a", "first_t": 90.0, "last_t": 105.0, "first_seq": 0, "last_seq": 9}


class Told:
    """A controller's client that tells everything at the first look."""

    def __init__(self, _: Path) -> None:
        pass

    async def status(self):
        return {"rules": [RULE], "moves_in_flight": [], "moves_recent": [MOVE]}

    async def events(self, after):
        data = {"value": 0.7, "node": "gpu-master"}
        told = [
            {"kind": "rule", "t": 100.4, "subject": "trial/cpu", "data": {**data, "to": "pending"}},
            {"kind": "rule", "t": 102.4, "subject": "trial/cpu", "data": {**data, "to": "firing"}},
            {"kind": "decision", "t": 102.4, "message": "moving", "data": {"kind": "move"}},
        ]
        return [{"id": number, **event} for number, event in enumerate(told, start=1)] if after == 0 else []

    async def show(self, _):
        return {**MOVE, "timeline": [{"event": name, "t": t, "detail": ""} for name, t in STEPS.items()]}


@pytest.fixture
def seen(monkeypatch):
    """What the demo has seen when Prometheus' newest sample was, look by look, one of these."""
    monkeypatch.setattr(watch, "Client", Told)
    monkeypatch.setattr(watch, "POLL_S", 0)

    async def look(*points):
        left = list(points)
        monkeypatch.setattr(prometheus, "newest", lambda *_: prometheus.Point(*left.pop(0)))
        one = watch.Watch(Path("none"), "none", lambda *_: None)
        assert await one.to_relief(10)
        assert left == []
        return one.seen

    return look


async def test_the_report_is_in_the_order_of_what_happened_though_all_of_it_was_seen_late(seen):
    out = report.document(await seen((100.0, 0.7), (114.0, 0.2)), {"chain": [COPY], "overlaps": 0, "running": ["a"]})
    assert [step["event"] for step in out["timeline"]] == list(watch.ORDER)
    assert set(out["timeline"][0]) == {"t", "event"}
    assert out["move"] == {name: value for name, value in MOVE.items() if name not in ("automatic", "detail")}
    assert out["pressure"] == {"before": 0.7, "after": 0.2}
    assert (out["witness"]["chain"], out["witness"]["overlaps"]) == ([COPY], 0)


async def test_a_head_that_is_calm_because_its_work_is_frozen_is_not_relieved_yet(seen):
    found = await seen((100.0, 0.7), (112.0, 0.1), (114.0, 0.2))
    assert found.after == prometheus.Point(114.0, 0.2)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ([{"metric": {}, "values": [[1700000000.5, "0.5"], [1700000002.5, "0.7"]]}], (1700000002.5, 0.7)),
        ([], None),
        ([{"metric": {"node": name}, "values": [[1, "1"]]} for name in "ab"], None),
    ],
)
def test_a_sample_has_the_time_at_which_it_was_taken(result, expected):
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(parse_qs(urlsplit(self.path).query)["query"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": {"result": result}}).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        found = prometheus.newest(f"http://127.0.0.1:{server.server_port}", "x{a='b'}")
    assert found == (expected and prometheus.Point(*expected))
    assert asked == [["x{a='b'}[30s]"]]
