"""Prometheus itself, with a client certificate and a password."""

import json
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import bcrypt
import pytest

pytestmark = pytest.mark.slow

PROMETHEUS = Path(__file__).parents[3] / ".cache/debian/usr/bin/prometheus"
WEB = """\
tls_server_config:
  cert_file: node.crt
  key_file: node.key
  client_ca_file: ca.crt
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [prometheus.example.org]
basic_auth_users:
  prometheus: {hash}
"""


@pytest.fixture
def exporter(start_exporter, proc, tmp_path, authority, server_pair):
    server_pair.write(tmp_path, "node")
    authority.issue("prometheus.example.org", client=True).write(tmp_path, "client")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(10)).decode()
    (tmp_path / "web.yml").write_text(WEB.format(hash=hashed))
    return start_exporter(f"--procfs={proc}", "--no-collector=gpu", f"--web.config.file={tmp_path}/web.yml")


@pytest.fixture
def prometheus(tmp_path, exporter):
    """Scrapes the exporter three times: as it should, without a certificate, and with a wrong password."""
    if not PROMETHEUS.exists():
        pytest.skip("needs Prometheus: run deploy/setup")

    def job(name, password="right", **tls):
        return {
            "job_name": name,
            "scheme": "https",
            "tls_config": {"ca_file": f"{tmp_path}/ca.crt", "server_name": "localhost", **tls},
            "basic_auth": {"username": "prometheus", "password": password},
            "static_configs": [{"targets": [urlsplit(exporter.url).netloc]}],
        }

    pair = {"cert_file": f"{tmp_path}/client.crt", "key_file": f"{tmp_path}/client.key"}
    jobs = [job("right", **pair), job("without certificate"), job("wrong password", "wrong", **pair)]
    configuration = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        PROMETHEUS,
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    yield f"http://127.0.0.1:{port}/api/v1/"
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)


def ask(url):
    """The data of an answer, None while there is none."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


EXPECTED = {
    "right": ("up", ""),
    "without certificate": ("down", ".*certificate.*"),
    "wrong password": ("down", "server returned HTTP status 401 Unauthorized"),
}
"""Job → health, and what its last error looks like."""


def is_expected(targets):
    health = {target["labels"]["job"]: (target["health"], target["lastError"]) for target in targets}
    return health.keys() == EXPECTED.keys() and all(
        health[job][0] == state and re.fullmatch(error, health[job][1]) for job, (state, error) in EXPECTED.items()
    )


def test_it_scrapes_what_it_may(prometheus):
    """Up with certificate and password, with metrics in its database; down without either, for that reason.

    Not at once: on a busy machine a first scrape comes too late.
    """
    deadline = time.monotonic() + 60
    query = prometheus + "query?" + urlencode({"query": 'grid_node_cpu_cores{job="right"}'})
    targets, found = [], []
    while not (found and is_expected(targets)) and time.monotonic() < deadline:
        time.sleep(0.2)
        targets = (ask(prometheus + "targets") or {}).get("activeTargets", [])
        found = (ask(query) or {}).get("result")
    assert is_expected(targets), targets
    assert found[0]["value"][1] == "4"
