"""What the server makes of the web configuration file while it runs."""

import asyncio
import errno
import os

import pytest
import raw_http

from exporter.web.config import RateLimit, WebConfigError
from exporter.web.live import Bucket, LiveWeb
from exporter.web.watched import Watched


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


@pytest.mark.parametrize("broken", ["memfd_create", "dup"])
def test_a_certificate_is_loaded_when_there_are_descriptors_again(*, file, caplog, monkeypatch, server_pair, broken):
    """No file changes then: it is tried with every connection, told now and then, and a problem at the start."""

    def none_left(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    server_pair.write(file.parent, "node")
    file.write_text("tls_server_config: {cert_file: node.crt, key_file: node.key}\n")
    web = LiveWeb(file)
    before = web.tls
    with monkeypatch.context() as patch:
        patch.setattr(os, broken, none_left)
        (file.parent / "node.crt").write_bytes((file.parent / "node.crt").read_bytes() + b"\n")
        for _ in range(3):
            web.stream()
        assert web.tls is before
        assert caplog.text.count("Too many open files") == 1
        with pytest.raises(WebConfigError, match="Too many open files"):
            LiveWeb(file)
    web.stream()
    assert web.tls is not before
    web.close()


def test_a_file_that_could_not_be_opened_is_tried_again(tmp_path, monkeypatch):
    """It is there and unchanged; descriptors had run out."""
    (tmp_path / "file").write_bytes(b"content")
    files = Watched()
    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "read_bytes", lambda _: os.open(tmp_path / "missing", os.O_RDONLY))
        with pytest.raises(OSError, match="No such file"):
            files.read(tmp_path / "file")
    assert files.changed()
    assert files.read(tmp_path / "file") == b"content"
    assert not files.changed()


PAIR = "tls_server_config:\n  cert_file: node.crt\n  key_file: node.key\n"
CLIENTS = PAIR + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"
NAMES = CLIENTS + "  client_allowed_sans: [a]\n"
USERS = "basic_auth_users: {a: $2y$04$" + "x" * 53 + "}\n"


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (PAIR, "", "TLS"),
        ("", PAIR, "TLS"),
        ("", PAIR + USERS, "TLS"),
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


@pytest.mark.parametrize(
    "odd",
    [
        "[" * 3000,
        f"rate_limit: {{interval: 1s, burst: {'9' * 5000}}}",
        r'a: "\UFFFFFFFF"',
        r'basic_auth_users: {"\ud800": x}',
        r'tls_server_config: {cert_file: "a\0b", key_file: a}',
    ],
)
def test_odd_yaml_changes_nothing(file, caplog, odd):
    """What Python itself stumbles over is a problem of the file, at the start and later, and nothing of it is told."""
    file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    web = LiveWeb(file)
    file.write_text(odd)
    web.stream()
    assert web.headers == ((b"X-Frame-Options", b"deny"),)
    assert f"in force stays: {file}: cannot be understood" in caplog.text
    with pytest.raises(WebConfigError, match=r"cannot be understood \(\w+\)$"):
        LiveWeb(file)
    web.close()


def test_an_authority_may_be_described_in_any_letters(file, authority, server_pair):
    """Bundles of authorities have comments, in UTF-8."""
    server_pair.write(file.parent, "node")
    (file.parent / "ca.crt").write_bytes("# Prüfstelle\n".encode() + authority.certificate)
    file.write_text(CLIENTS)
    web = LiveWeb(file)
    assert web.tls.cert_store_stats()["x509_ca"] == 1
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
