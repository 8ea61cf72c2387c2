"""Every query is asked as Grafana asks it, and an error or an empty answer fails the check."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from _check.asking import Outcome, asked
from _check.cli import main
from _check.prometheus import Prometheus
from _check.template import Window, filled, own
from _dashboards.cli import FOLDER

WINDOW = Window(1_700_000_000.0, 1_700_003_600.0, 5.0)
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
CLUSTER = {
    "name": "cluster",
    "type": "query",
    "query": "label_values(grid:up, cluster)",
    "includeAll": True,
    "allValue": ".*",
}
NODE = {
    "name": "node",
    "type": "query",
    "query": 'label_values(grid:up{cluster=~"$cluster"}, node)',
    "includeAll": True,
}


class Fake:
    """A Prometheus that answers what it was told to, and remembers what it was asked."""

    def __init__(self):
        self.values = {"cluster": ["lab"], "node": ["gpu1", "gpu2"]}
        self.answers = {}
        self.asked = []
        self.otherwise = [({"node": "gpu1"}, "1")]
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                split = urlsplit(self.path)
                query = {key: value[0] for key, value in parse_qs(split.query).items()}
                fake.asked.append((split.path, query))
                status, document = fake.answer(split.path, query)
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path, query):
        if path.startswith("/api/v1/label/"):
            return 200, {"status": "success", "data": self.values[path.split("/")[4]]}
        found = self.answers.get(query["query"], self.otherwise)
        if isinstance(found, str):
            return 400, {"status": "error", "errorType": "bad_data", "error": found}
        if path.endswith("query"):
            result = [{"metric": labels, "value": [float(query["time"]), value]} for labels, value in found]
            return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}
        result = [{"metric": labels, "values": [[float(query["end"]), value]]} for labels, value in found]
        return 200, {"status": "success", "data": {"resultType": "matrix", "result": result}}

    def queries(self):
        return [query["query"] for _, query in self.asked if "query" in query]


@pytest.fixture
def fake():
    made = Fake()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def board(expr="x", *, variables=(), annotations=(), **target):
    one = {"refId": "A", "expr": expr, "datasource": PROMETHEUS, **target}
    return {
        "panels": [{"type": "row", "panels": [{"type": "stat", "title": "P", "targets": [one]}]}],
        "templating": {"list": [*variables]},
        "annotations": {"list": [{"datasource": PROMETHEUS, **annotation} for annotation in annotations]},
    }


def results(fake, document, **chosen):
    return list(asked(document, Prometheus(fake.url, 5), WINDOW, chosen))


def outcomes(found):
    return [result.outcome for result in found]


def test_a_graph_is_asked_over_the_window_and_a_present_value_at_its_end(fake):
    results(fake, board("a"))
    results(fake, board("b", instant=True))
    (path, graph), (instant_path, instant) = fake.asked
    assert path == "/api/v1/query_range"
    assert (float(graph["start"]), float(graph["end"]), float(graph["step"])) == (WINDOW.start, WINDOW.end, 5.0)
    assert (instant_path, float(instant["time"])) == ("/api/v1/query", WINDOW.end)


def test_variables_are_asked_in_turn_and_put_into_the_queries(fake):
    found = results(fake, board('up{cluster=~"$cluster",node=~"${node:regex}"}', variables=[CLUSTER, NODE]))
    assert outcomes(found) == [Outcome.GOOD] * 3
    assert fake.asked[1][1]["match[]"] == 'grid:up{cluster=~".*"}'
    assert fake.queries() == ['up{cluster=~".*",node=~"(gpu1|gpu2)"}']


def test_what_people_choose_is_put_in(fake):
    results(fake, board('up{cluster="$cluster",node=~"[[node]]"}', variables=[CLUSTER, NODE]), cluster=["lab"])
    assert fake.queries() == ['up{cluster="lab",node=~"(gpu1|gpu2)"}']


def test_a_variable_without_values_is_empty(fake):
    fake.values["cluster"] = []
    assert outcomes(results(fake, board(variables=[CLUSTER]))) == [Outcome.EMPTY, Outcome.GOOD]


def test_a_variable_that_the_checker_does_not_know_is_an_error_not_a_success(fake):
    odd = {**CLUSTER, "query": "query_result(up)"}
    assert outcomes(results(fake, board(variables=[odd]))) == [Outcome.ERROR, Outcome.GOOD]


@pytest.mark.parametrize("answer", [[], [({}, "NaN")]])
def test_no_series_and_nothing_but_nan_are_empty(fake, answer):
    fake.answers["x"] = answer
    assert outcomes(results(fake, board())) == [Outcome.EMPTY]
    assert outcomes(results(fake, board(instant=True))) == [Outcome.EMPTY]


def test_what_prometheus_says_against_a_query_is_told(fake):
    fake.answers["x("] = "parse error: unclosed left parenthesis"
    (result,) = results(fake, board("x("))
    assert (result.outcome, result.said) == (Outcome.ERROR, "parse error: unclosed left parenthesis")


def test_a_prometheus_that_does_not_answer_is_an_error(fake):
    fake.server.shutdown()
    fake.server.server_close()
    (result,) = asked(board(), Prometheus(fake.url, 5), WINDOW, {})
    assert result.outcome is Outcome.ERROR


def test_a_query_with_a_variable_that_does_not_exist_is_an_error(fake):
    (result,) = results(fake, board("up{$rack}"))
    assert (result.outcome, result.said) == (Outcome.ERROR, "there is no variable rack")


def test_a_legend_of_labels_that_no_series_has_is_an_error(fake):
    assert outcomes(results(fake, board(legendFormat="{{node}} {{gpu}}"))) == [Outcome.GOOD]
    (result,) = results(fake, board(legendFormat="{{rack}}"))
    assert (result.outcome, result.said) == (Outcome.ERROR, "no series has a label of ['rack']")


def test_an_annotation_whose_times_are_seconds_marks_nothing_and_is_empty(fake):
    fake.answers |= {"m": [({}, str((WINDOW.end - 5) * 1000))], "s": [({}, str(WINDOW.end - 5))]}
    marks = [{"name": name, "expr": name, "useValueForTime": True} for name in ("m", "s")]
    assert outcomes(results(fake, board(annotations=marks)))[1:] == [Outcome.GOOD, Outcome.EMPTY]


def test_a_panel_s_least_step_is_the_step_and_the_interval(fake):
    document = board("increase(x[$__interval])")
    document["panels"][0]["panels"][0]["interval"] = "1m"
    results(fake, document)
    assert fake.queries() == ["increase(x[60s])"]
    assert float(fake.asked[0][1]["step"]) == 60.0
    document["panels"][0]["panels"][0]["interval"] = "often"
    (result,) = results(fake, document)
    assert (result.outcome, result.said) == (Outcome.ERROR, "'often' is no interval")


def test_grafana_s_own_variables_have_its_values():
    values = own(Window(0.0, 86400.0, 5.0))
    assert (values["__interval"], values["__range"], values["__rate_interval"]) == ("86400ms", "86400s", "91400ms")
    short = own(WINDOW)
    assert (short["__interval"], short["__rate_interval"]) == ("5s", "20s")
    assert filled("rate(x[$__rate_interval])", {}, WINDOW) == "rate(x[20s])"


def test_the_command_lists_every_query_and_fails_on_the_empty_one(fake, tmp_path, capsys):
    (tmp_path / "grid-head.json").write_text((FOLDER / "grid-head.json").read_text(encoding="utf-8"), encoding="utf-8")
    fake.values["url"] = ["http://127.0.0.1:9778"]
    fake.otherwise = []
    line = [str(tmp_path), "--prometheus", fake.url]
    assert main(line) == 1
    told = capsys.readouterr().out.splitlines()
    total = len([line for line in told if line.startswith("  ")])
    assert told[0] == "1 dashboards: 0 faults"
    assert told[-1] == f"{total} queries: 0 errors, {total - 4} empty"
    assert main([*line, "--may-be-empty", "."]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1].endswith(f"0 empty, {total - 4} empty where that was allowed")
    named = [line for line in told if line.startswith("  none ")]
    assert len(named) == total - 4
    assert all(line.endswith(": allowed by --may-be-empty .") for line in named)


def test_the_window_ends_now(fake, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(board()), encoding="utf-8")
    before = time.time()
    main([str(tmp_path), "--prometheus", fake.url, "--window", "60"])
    (_, query) = fake.asked[0]
    assert before <= float(query["end"]) <= time.time()
    assert float(query["end"]) - float(query["start"]) == pytest.approx(60, abs=0.01)
