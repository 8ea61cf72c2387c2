"""What the server makes of the web configuration file while it runs."""

import asyncio

import pytest
import raw_http

from exporter.web.config import RateLimit
from exporter.web.live import Bucket, LiveWeb


async def headers(server, path="/-/healthy"):
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n".encode())
    (response,) = raw_http.responses(await asyncio.wait_for(reader.read(), 10))
    writer.close()
    await writer.wait_closed()
    return response


@pytest.fixture
def file(tmp_path):
    return tmp_path / "web.yml"


async def test_headers_are_in_every_answer_and_follow_the_file(file, serving, caplog):
    """Pages, 404, 400; a changed file counts for the next request, a broken one leaves what was."""
    file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    async with serving(web=LiveWeb(file)) as server:
        for path in ("/-/healthy", "/metrics", "/nothing", "/ x"):
            assert (await headers(server, path)).headers["x-frame-options"] == "deny"
        file.write_text("http_server_config: {headers: {X-Frame-Options: sameorigin}}\n")
        await headers(server)
        assert (await headers(server)).headers["x-frame-options"] == "sameorigin"
        file.write_text("http_server_config: {headers: {X-Frame-Options: no}}\n")
        assert (await headers(server)).headers["x-frame-options"] == "sameorigin"
        assert (await headers(server)).headers["x-frame-options"] == "sameorigin"
        assert caplog.text.count("in force stays") == 1
        file.unlink()
        assert (await headers(server)).headers["x-frame-options"] == "sameorigin"
        assert "No such file" in caplog.text
        file.write_text("")
        await headers(server)
        assert "x-frame-options" not in (await headers(server)).headers


async def test_a_replaced_file_of_the_same_size_counts(file, serving):
    """As editors and configuration management write: another file under the name."""
    file.write_text("http_server_config: {headers: {X-XSS-Protection: a}}\n")
    async with serving(web=LiveWeb(file)) as server:
        new = file.with_suffix(".new")
        new.write_text("http_server_config: {headers: {X-XSS-Protection: b}}\n")
        new.replace(file)
        await headers(server)
        assert (await headers(server)).headers["x-xss-protection"] == "b"


async def test_a_file_that_comes_later_is_noticed(file, serving, caplog, server_pair):
    """A new name is in the configuration before the certificate is in its place."""
    server_pair.write(file.parent, "one")
    file.write_text("tls_server_config: {cert_file: one.crt, key_file: one.key}\n")
    web = LiveWeb(file)
    before = web.tls
    file.write_text("tls_server_config: {cert_file: two.crt, key_file: two.key}\n")
    web.stream()
    assert web.tls is before
    assert "two.crt: No such file" in caplog.text
    server_pair.write(file.parent, "two")
    web.stream()
    assert web.tls is not before
    web.close()


PAIR = "tls_server_config:\n  cert_file: node.crt\n  key_file: node.key\n"
CLIENTS = PAIR + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"
NAMES = CLIENTS + "  client_allowed_sans: [a]\n"
USERS = "basic_auth_users: {a: $2y$04$" + "x" * 53 + "}\n"


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (PAIR, "", "TLS"),
        ("", PAIR, "TLS"),
        (USERS, "", "basic_auth_users"),
        (PAIR + USERS, PAIR, "basic_auth_users"),
        (CLIENTS, PAIR, "client_auth_type"),
        (CLIENTS, CLIENTS.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"), "client_auth_type"),
        (NAMES, CLIENTS, "client_allowed_sans"),
        ("", USERS, None),
        (PAIR, NAMES + USERS, None),
        (USERS, USERS.replace("a:", "b:"), None),
    ],
)
def test_a_running_exporter_does_not_open_its_doors(*, file, caplog, authority, server_pair, before, after, kept):
    """Half a file is often a valid one: what it lacks stays in force. More protection counts at once."""
    server_pair.write(file.parent, "node")
    (file.parent / "ca.crt").write_bytes(authority.certificate)
    file.write_text(before)
    web = LiveWeb(file)
    held = web._config
    file.write_text(after)
    web.stream()
    assert (web._config is held) == (kept is not None)
    assert (f"in force stays: {kept} cannot come or go" in caplog.text) == (kept is not None)
    web.close()


async def test_the_rate_limit(file, serving):
    """Requests beyond it are told so; connections are kept."""
    file.write_text("rate_limit: {interval: 1h, burst: 2}\n")
    async with serving(web=LiveWeb(file)) as server:
        assert [(await headers(server)).status for _ in range(4)] == [200, 200, 429, 429]
        file.write_text("rate_limit: {interval: 0}\n")
        assert (await headers(server)).status == 200


def test_the_bucket_fills_again():
    """One request each interval, at most `burst` saved up."""
    bucket = Bucket(RateLimit(10.0, 2))
    assert [bucket.take(now) for now in (0, 0, 0, 9, 10, 10, 1000, 1000, 1000)] == [
        True, True, False, False, True, False, True, True, False,
    ]  # fmt: skip
