import gzip
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
import raw_http


def ask(address, sent):
    """The only response to these bytes, after which the server closed the connection."""
    (response,) = raw_http.responses(raw_http.exchange(address, sent))
    return response


def get(path, *headers, method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: node", *headers, "", ""]).encode()


def test_pages(exporter, address):
    """A landing page for people, health for probes, 404 that says what there is."""
    assert "/metrics" in exporter.get("/")
    assert exporter.get("/-/healthy") == "grid-exporter is healthy.\n"
    nothing = ask(address, get("/nothing", "Connection: close"))
    assert (nothing.status, nothing.body) == (404, b"There is /metrics, /-/healthy and /.\n")


def test_formats_and_compression(exporter, address):
    """What Prometheus asks for: OpenMetrics, gzip, several requests on one connection."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    wanted = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
    for _ in range(3):
        connection.request("GET", "/metrics", headers=wanted)
        answer = connection.getresponse()
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.read()).endswith(b"# EOF\n")
    connection.close()


def test_no_compression_for_who_forbids_it(address):
    """q=0 means no."""
    response = ask(address, get("/metrics", "Accept-Encoding: gzip;q=0", "Connection: close"))
    assert "content-encoding" not in response.headers
    assert b"grid_node_cpu_cores" in response.body


def test_repeated_requests_get_new_answers(address):
    """The same bytes again and again, as Prometheus sends them: the sample is a new one, and other pages are others."""
    deadline = time.monotonic() + 10
    samples = set()
    with raw_http.connect(address) as connection:
        while len(samples) < 2 and time.monotonic() < deadline:
            connection.sendall(get("/metrics"))
            body = raw_http.read_response(connection).body
            samples.add(re.search(rb"^grid_exporter_sample_time_seconds (.*)$", body, re.MULTILINE)[1])
        for path, begin in [("/-/healthy", b"grid-exp"), ("/x", b"There is"), ("/x", b"There is"), ("/", b"<!doctype")]:
            connection.sendall(get(path))
            assert raw_http.read_response(connection).body.startswith(begin)
    assert len(samples) == 2


@pytest.mark.parametrize("path", ["/-/healthy", "/metrics"])
def test_head_is_get_without_the_body(address, path):
    """The same headers, the length too; the connection goes on."""
    with raw_http.connect(address) as connection:
        connection.sendall(get(path, method="HEAD") * 2)
        for _ in range(2):
            head = raw_http.read_response(connection, head=True)
            assert head.status == 200
            assert int(head.headers["content-length"]) > 20
        connection.sendall(get("/-/healthy"))
        assert raw_http.read_response(connection).body == b"grid-exporter is healthy.\n"


def test_other_methods_are_refused(address):
    """Nothing here takes input; a small body is read over, and the connection is good for more."""
    with raw_http.connect(address) as connection:
        connection.sendall(get("/metrics", "Content-Length: 5", method="POST") + b"input" + get("/-/healthy"))
        refused = raw_http.read_response(connection)
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
        assert raw_http.read_response(connection).status == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),  # TLS
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),  # no Host
        (get("/metrics", "no colon"), 400),
        (b"\r\n" + get("/metrics"), 400),
        (get("/metrics", "Content-Length: 1", "Content-Length: 2"), 400),
        (get("/metrics", "Transfer-Encoding: gzip"), 501),
        (get("/metrics", "X: " + "x" * 20000), 431),
        (get("/" + "x" * 20000), 431),
        (get("/metrics", *(f"X-{number}: 1" for number in range(3000))), 431),
        (b"x" * 100_000, 431),
        (get("/metrics", "Content-Length: 100000", method="POST") + b"x" * 50_000, 413),
        (get("/metrics", "Content-Length: 100000", "Expect: 100-continue", method="PUT"), 413),
        (get("/metrics", "Transfer-Encoding: chunked", method="POST") + b"1000\r\n%b\r\n" % (b"x" * 4096) * 5, 413),
        (get("/metrics", "Content-Length: 99999999999999999999"), 413),
        (get("/metrics", "Content-Length: 100000", method="HEAD"), 413),
        (get("/metrics", "Content-Length: 100000", "Expect: 100-continue", method="HEAD"), 413),
        (get("/metrics", "Transfer-Encoding: chunked", method="HEAD") + b"no number\r\n", 400),
    ],
)
def test_bad_requests_get_an_answer_and_the_door(exporter, address, sent, status):
    """The reason reaches the client even if it has sent more than was read; the exporter is as before."""
    response = ask(address, sent)
    assert (response.status, response.headers["connection"]) == (status, "close")
    assert b"Traceback" not in response.body
    assert not (response.body and sent.startswith(b"HEAD"))
    assert exporter.get("/-/healthy") == "grid-exporter is healthy.\n"


def test_requests_may_come_together_and_in_pieces(address):
    """Pipelined requests are answered in order, one that arrives byte by byte too."""
    paths = ["/-/healthy", "/metrics", "/nothing", "/metrics", "/-/healthy"]
    with raw_http.connect(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in get("/-/healthy"):
            connection.sendall(bytes([byte]))
        assert raw_http.read_response(connection).status == 200
        connection.sendall(b"".join(map(get, paths)))
        got = [raw_http.read_response(connection) for _ in paths]
    assert [response.status for response in got] == [200, 200, 404, 200, 200]
    assert [b"grid_node_cpu_cores" in response.body for response in got] == [False, True, False, True, False]


def test_hundreds_of_requests_in_one_go(address):
    """More than one read can hold; none is lost."""
    sent = get("/-/healthy") * 500 + get("/metrics", "Connection: close")
    got = raw_http.responses(raw_http.exchange(address, sent))
    assert [response.status for response in got] == [200] * 501
    assert b"grid_node_cpu_cores" in got[-1].body


def test_a_client_that_says_that_it_has_said_all(address):
    """It closes its half after the request, as `nc -N` does: it still gets the answer, then the end."""
    (response,) = raw_http.responses(raw_http.exchange(address, get("/metrics"), finish=True))
    assert b"grid_node_cpu_cores" in response.body


def test_old_and_odd_but_allowed(address):
    """HTTP/1.0, an absolute target as proxies send it, a query, an upgrade that is not taken, 100-continue."""
    old = ask(address, b"GET /-/healthy HTTP/1.0\r\n\r\n")
    assert (old.status, old.headers["connection"]) == (200, "close")
    for request in (
        get("http://node:9777/-/healthy"),
        get("/-/healthy?name[]=x"),
        get("/-/healthy", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "Connection: Upgrade"),
    ):
        with raw_http.connect(address) as connection:
            connection.sendall(request * 2)
            assert [raw_http.read_response(connection).status for _ in range(2)] == [200, 200]
    with raw_http.connect(address) as connection:
        connection.sendall(get("/-/healthy", "Content-Length: 3", "Expect: 100-continue"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"abc")
        assert raw_http.read_response(connection).status == 200


def test_nothing_private_in_the_output(exporter):
    """No arguments, no environment, no path of a user's process."""
    text = exporter.get()
    assert not re.search("do-not-export|SECRET|--note|two words|/home/alice|out.log|train_", text)


def test_listens_on_ipv6(start_exporter, proc):
    """The address in brackets, also in what the log says."""
    exporter = start_exporter(f"--procfs={proc}", "--web.listen-address=[::1]:0")
    assert exporter.url.startswith("http://[::1]:")
    assert exporter.get("/-/healthy") == "grid-exporter is healthy.\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(start_exporter, proc, number):
    """Exit status 0, within a moment, also with connections that are kept open, used and unused, or half a request."""
    exporter = start_exporter(f"--procfs={proc}")
    url = urlsplit(exporter.url)
    connections = [raw_http.connect((url.hostname, url.port)) for _ in range(3)]
    connections[0].sendall(get("/-/healthy"))
    raw_http.read_response(connections[0])
    connections[1].sendall(b"GET /metr")
    exporter.process.send_signal(number)
    assert exporter.process.wait(4) == 0
    for connection in connections:
        with connection:
            assert connection.recv(1) == b""


def test_concurrent_scrapes(exporter):
    """All of twenty at once are answered."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(exporter.get())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20


def test_an_unreadable_file_costs_one_collector(exporter, proc):
    """loadavg breaks under the running exporter: the scrape stays 200 and says which collector failed."""
    (proc / "loadavg").write_text("soon\n")
    text = exporter.get()
    assert 'grid_exporter_collector_success{collector="load"} 0.0' in text
    assert 'grid_exporter_collector_success{collector="cpu"} 1.0' in text
    assert "grid_node_load1 " not in text
    assert "grid_node_memory_total_bytes " in text


@pytest.mark.root
def test_as_an_ordinary_user_on_the_real_node():
    """Starts without root, scrapes with every collector successful, and says what it cannot see."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    # Imported before: the checkout may lie where others cannot go.
    code = (
        "from exporter.__main__ import build, parse;"
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "print(build(parse([])).scrape('')[0].decode())"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 'grid_exporter_detail_missing{detail="process_io"} 1.0' in text
    assert re.findall(r"^grid_exporter_collector_success.* 0.0$", text, re.MULTILINE) == []
