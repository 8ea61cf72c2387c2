"""PrometheusSource against servers that misbehave in every way seen in the field, and against a real Prometheus."""

import asyncio
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from offloader.adapters.gather import gather
from offloader.adapters.prometheus import PrometheusSource
from offloader.config import series
from offloader.model import Reason, Resource, Role, Rule, Truth

pytestmark = pytest.mark.slow

Answer = Callable[[BaseHTTPRequestHandler], None]


def vector(*samples: tuple[dict[str, str], str], **more: object) -> bytes:
    result = [{"metric": labels, "value": [1700000000.5, value]} for labels, value in samples]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}, **more}).encode()


def replies(body: bytes, code: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


class Server:
    """A local HTTP server; `answer` is what it does with each request, `requests` what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = replies(vector())
        self.requests: list[tuple[str, str | None]] = []  # path, Authorization
        self.stop = threading.Event()  # ends endless answers
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers.get("Authorization")))
                try:
                    outer.answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
async def source(server):
    source = PrometheusSource(server.url, deadline_s=2.0, max_bytes=100_000)
    yield source
    await source.close()


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("prometheus")]


async def test_samples_come_with_labels_value_and_time(server, source):
    server.answer = replies(vector(({"node": "gpu-master"}, "0.93"), ({"node": "gpu1"}, "+Inf")))
    (result,) = await source.query('grid:node_pressure:ratio{resource="cpu"} + 0')
    assert result.error is None
    assert [(dict(one.labels), one.value, one.t) for one in result.samples] == [
        ({"node": "gpu-master"}, 0.93, 1700000000.5),
        ({"node": "gpu1"}, float("inf"), 1700000000.5),
    ]
    asked = parse_qs(urlsplit(server.requests[0][0]).query)
    assert asked["query"] == ['grid:node_pressure:ratio{resource="cpu"} + 0']


async def test_a_moment_in_the_past_is_asked_for(server, source):
    server.answer = replies(vector(({"node": "a"}, "1")))
    await source.query("x", at=1764403200.125)
    await source.query("x")
    asked = [parse_qs(urlsplit(path).query) for path, _ in server.requests]
    assert [one.get("time") for one in asked] == [["1764403200.125"], None]


async def test_a_scalar_is_one_sample_without_labels(server, source):
    server.answer = replies(b'{"status":"success","data":{"resultType":"scalar","result":[17,"3"]}}')
    (result,) = await source.query("scalar(x)")
    assert [(dict(one.labels), one.value) for one in result.samples] == [({}, 3.0)]


async def test_warnings_are_kept(server, source):
    """The client library drops them; partial answers of Thanos and friends show in nothing else."""
    server.answer = replies(vector(({"node": "a"}, "1"), warnings=["one store did not answer"]))
    (result,) = await source.query("x")
    assert result.warnings == ("one store did not answer",)


async def test_answers_keep_the_order_of_the_questions(server, source):
    def echo(handler: BaseHTTPRequestHandler) -> None:
        (expr,) = parse_qs(urlsplit(handler.path).query)["query"]
        replies(vector(({"node": expr}, "1")))(handler)

    server.answer = echo
    names = [f"q{n}" for n in range(20)]
    assert [one.samples[0].labels["node"] for one in await source.query(*names)] == names


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (replies(b'{"status":"error","errorType":"bad_data","error":"1:5: unexpected end"}', 400), "bad_data: 1:5"),
        (replies(b'{"status":"error","errorType":"timeout","error":"too long"}', 503), "timeout: too long"),
        (replies(b"<html>login please</html>"), "not JSON"),
        (replies(b"Bad Gateway", 502), "502"),
        (replies(b"", 500), "500"),
        (replies(b"", 200), "not JSON"),
        (replies(b"[1, 2]"), "no object"),
        (replies(b'{"status":"success"}'), "without a result"),
        (replies(b'{"status":"success","data":{"resultType":"vector"}}'), "without a result"),
        (replies(b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}'), "as documented"),
        (replies(b'{"status":"success","data":{"resultType":"vector","result":7}}'), "as documented"),
        (replies(vector(({"node": "a"}, "lots"))), "as documented"),
        (replies(b'{"status":"success","data":{"resultType":"matrix","result":[]}}'), "a matrix"),
        (replies(b"[" * 90_000), "not JSON"),
        (replies(b"x" * 200_000), "more than 100000 bytes"),
        (replies(b"", 302, Location="http://127.0.0.1:1/login"), "redirects"),
        (replies(b"", 401), "401"),
    ],
)
async def test_bad_answers_are_errors_that_say_what_came(server, source, answer, says):
    """None of them raises, none of them looks like an empty result."""
    server.answer = answer
    (result,) = await source.query("x")
    assert result.error is not None
    assert says in result.error
    assert server.url in result.error
    assert result.samples == ()
    assert len(result.error) < 2000
    assert len(server.requests) == 1  # neither redirects nor retries


async def test_an_answer_that_breaks_off_is_an_error(server, source):
    def cut_off(handler: BaseHTTPRequestHandler) -> None:
        replies(vector(({"node": "a"}, "1"))[:-2], Content_Length="5000")(handler)
        handler.close_connection = True

    server.answer = cut_off
    (result,) = await source.query("x")
    assert result.error is not None
    assert result.samples == ()


async def test_nothing_listens_says_refused():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = PrometheusSource(f"http://127.0.0.1:{port}", deadline_s=2.0)
    (result,) = await gone.query("x")
    await gone.close()
    assert "refused" in (result.error or "")


def drips_body(stop: threading.Event) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not stop.wait(0.05):
            handler.wfile.write(b" ")

    return answer


def drips_headers(stop: threading.Event) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not stop.wait(0.05):
            handler.wfile.write(b"a")

    return answer


def silent(stop: threading.Event) -> Answer:
    def answer(_: BaseHTTPRequestHandler) -> None:
        stop.wait(30)

    return answer


@pytest.mark.parametrize("kind", [drips_body, drips_headers, silent])
async def test_a_slow_server_holds_neither_the_answer_nor_the_thread(server, kind):
    """A byte now and then resets requests' time-outs for ever; the deadline counts for the whole answer."""
    server.answer = kind(server.stop)
    source = PrometheusSource(server.url, deadline_s=0.4)
    began = time.monotonic()
    results = await source.query("a", "b", "c")
    assert all("did not answer within 0.4 s" in (one.error or "") for one in results)
    server.answer = replies(vector(({"node": "a"}, "1")))
    deadline = began + 25
    while any(one.error for one in await source.query(*"abcdefgh")):  # needs all the threads back
        assert time.monotonic() < deadline, "did not happen in time"
    await source.close()
    await until(lambda: not threads(), deadline)


async def until(true: Callable[[], bool], deadline: float) -> None:
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


async def test_one_bad_answer_does_not_spoil_the_others(server, source):
    def picky(handler: BaseHTTPRequestHandler) -> None:
        good = "query=good" in handler.path
        (replies(vector(({"node": "a"}, "1"))) if good else replies(b"oops", 500))(handler)

    server.answer = picky
    bad, good = await source.query("bad", "good")
    assert bad.error is not None
    assert good.samples[0].value == 1.0


async def test_the_token_is_read_anew_and_sent_only_as_a_header(server, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    source = PrometheusSource(server.url, token_file=token)
    await source.query("x")
    token.write_text("second\n")
    await source.query("x")
    token.unlink()
    (missing,) = await source.query("x")
    await source.close()
    assert [sent for _, sent in server.requests] == ["Bearer first", "Bearer second"]
    assert "token" in (missing.error or "")
    assert not any("first" in path for path, _ in server.requests)


async def test_proxies_of_the_environment_are_not_used(server, source, monkeypatch):
    """A login node's http_proxy must not come between controller and Prometheus."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    (result,) = await source.query("x")
    assert result.error is None


CONFIG = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: grid
    static_configs:
      - {targets: ["127.0.0.1:PORT"], labels: {node: gpu-master, role: head}}
"""
RULES = """
groups:
  - name: grid
    interval: 1s
    rules:
      - {record: "grid:up", expr: "up"}
      - {record: "grid:sample_age_seconds", expr: "time() - timestamp(up)"}
      - {record: "grid:node_pressure:ratio", expr: "up * 0.93", labels: {resource: cpu}}
      - {record: "grid:node_pressure:ratio", expr: "up * 0.40", labels: {resource: memory}}
      - {record: "grid:node_cores", expr: "up * 4"}
"""
RULE = Rule("head", "cpu", series.PRESSURE + '{resource="cpu"}', Resource.CPU, 0.8, 0.65, 120.0, when="up == 1")
BROKEN = Rule("head", "broken", "sum by (node", Resource.CPU, 0.8, 0.65, 120.0)
NODES = {"gpu-master": Role.HEAD, "gpu1": Role.WORKER}


@pytest.fixture
def prometheus(promtool, tmp_path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Prometheus that scrapes itself as if it were the head."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "prometheus.yml").write_text(CONFIG.replace("PORT", str(port)))
    (tmp_path / "rules.yml").write_text(RULES)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                promtool.with_name("prometheus"),
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    yield f"http://127.0.0.1:{port}", process
    process.terminate()
    process.wait(20)


@pytest.mark.promtool
async def test_a_real_prometheus_gives_values_ages_and_its_own_words_for_errors(prometheus):
    """The whole way: scrape, recording rules, our queries, readings."""
    url, _ = prometheus
    source = PrometheusSource(url)
    deadline = time.monotonic() + 60
    while True:
        found = await gather(source, [RULE, BROKEN], NODES, now=time.time(), limit_s=3.5)
        value = found.values["head/cpu", "gpu-master"]
        if value.problem is None or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    await source.close()
    assert value.value == pytest.approx(0.93)
    assert 0 <= (value.age_s or 0) <= 3.5
    assert found.whens == {("head/cpu", "gpu-master"): Truth.TRUE}
    broken = found.values["head/broken", "gpu-master"]
    assert broken.problem is Reason.QUERY_FAILED
    assert "parse error" in broken.detail
    head, worker = found.nodes["gpu-master"], found.nodes["gpu1"]
    assert (head.up, head.total.cores) == (True, 4.0)
    assert head.pressure[Resource.MEMORY].value == pytest.approx(0.40)
    assert worker.up is False
    assert "is it among its targets" in worker.offer_reason


@pytest.mark.promtool
async def test_a_prometheus_whose_rules_stopped_is_stale_not_healthy(prometheus, tmp_path):
    """A recorded series is found for five minutes after its last evaluation, looking fresh."""
    url, process = prometheus
    source = PrometheusSource(url)
    deadline = time.monotonic() + 60

    async def problem() -> Reason | None:
        found = await gather(source, [RULE], NODES, now=time.time(), limit_s=3.5)
        return found.values["head/cpu", "gpu-master"].problem

    while await problem() is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    (tmp_path / "rules.yml").write_text(RULES.replace("interval: 1s", "interval: 1h"))
    process.send_signal(signal.SIGHUP)  # reload
    while await problem() is not Reason.STALE:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    await source.close()
