import gzip
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
from urllib.parse import urlsplit

import pytest


@pytest.fixture
def exporter(start_exporter, proc):
    return start_exporter(f"--procfs={proc}", "--no-collector=gpu")


def test_pages(exporter):
    """A landing page for people, health for probes, 404 that says what there is."""
    assert "/metrics" in exporter.get("/")
    assert exporter.get("/-/healthy") == "grid-exporter is healthy.\n"
    with pytest.raises(urllib.error.HTTPError) as caught:
        exporter.get("/nothing")
    with caught.value as error:
        assert (error.code, b"/metrics" in error.read()) == (404, True)


def test_formats_and_compression(exporter):
    """What Prometheus asks for: OpenMetrics, gzip, several requests on one connection."""
    connection = http.client.HTTPConnection(urlsplit(exporter.url).netloc, timeout=10)
    wanted = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
    for _ in range(2):
        connection.request("GET", "/metrics", headers=wanted)
        answer = connection.getresponse()
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert gzip.decompress(answer.read()).endswith(b"# EOF\n")
    connection.close()


def test_other_methods_are_refused(exporter):
    """Nothing here takes input."""
    connection = http.client.HTTPConnection(urlsplit(exporter.url).netloc, timeout=10)
    connection.request("POST", "/metrics", body=b"x")
    assert connection.getresponse().status == 501
    connection.close()


def test_nothing_private_in_the_output(exporter):
    """No arguments, no environment, no path of a user's process."""
    text = exporter.get()
    assert not re.search("do-not-export|SECRET|--note|two words|/home/alice|out.log|train_", text)


def test_many_idle_connections_do_not_stop_the_scrape(exporter):
    """Connections beyond the bound are closed; the bound leaves the process up and answering."""
    address = urlsplit(exporter.url)
    idle = [socket.create_connection((address.hostname, address.port)) for _ in range(60)]
    for connection in idle:
        connection.close()
    assert "grid_node_cpu_cores" in exporter.get_until("grid_node_cpu_cores")


def test_sigterm_finishes_and_exits_cleanly(start_exporter, proc):
    """Exit status 0, within a moment, also with a connection that is kept open."""
    exporter = start_exporter(f"--procfs={proc}")
    address = urlsplit(exporter.url)
    with socket.create_connection((address.hostname, address.port)):
        exporter.process.send_signal(signal.SIGTERM)
        assert exporter.process.wait(5) == 0


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
    """meminfo breaks under the running exporter: the scrape stays 200 and says which collector failed."""
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
