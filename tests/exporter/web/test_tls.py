"""The listener with TLS: who gets in, who does not, and what the clients of before see when files change."""

import asyncio
import http.client
import re
import socket
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import raw_http
from certificates import Authority

from exporter.web.live import LiveWeb

TLS = "tls_server_config:\n  cert_file: node.crt\n  key_file: node.key\n"
REQUIRED = TLS + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"
IF_GIVEN = REQUIRED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: node\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n"


@pytest.fixture
def start(start_exporter, proc, folder):
    """Text of a web configuration → address of an exporter with it."""

    def run(text):
        (folder / "web.yml").write_text(text)
        exporter = start_exporter(f"--procfs={proc}", "--no-collector=gpu", f"--web.config.file={folder}/web.yml")
        url = urlsplit(exporter.url)
        assert url.scheme == "https"
        return url.hostname, url.port

    return run


@pytest.fixture
def web(folder):
    """Text → what the server makes of it."""

    def live(text):
        (folder / "web.yml").write_text(text)
        return LiveWeb(folder / "web.yml")

    return live


@pytest.fixture
def trusting(authority, tmp_path):
    """A client's TLS, with a certificate if there is a pair."""

    def context(pair=None):
        made = ssl.create_default_context(cadata=authority.certificate.decode())
        if pair is not None:
            made.load_cert_chain(*pair.write(tmp_path, f"client{id(pair)}"))
        return made

    return context


def refused(address, context):
    """Why the server does not let this client in. With TLS 1.3 a client learns it after its own handshake."""
    try:
        with raw_http.connect(address, context) as connection:
            connection.sendall(HEALTHY)
            return f"closed after {connection.recv(1)!r}"
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)


def healthy(address, context):
    with raw_http.connect(address, context) as connection:
        connection.sendall(HEALTHY)
        return raw_http.read_response(connection).status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_everything_over_tls(start, trusting, version):
    """Pages, kept and pipelined requests, HEAD, bad ones: as without TLS; and the metrics arrive whole."""
    address = start(TLS)
    context = trusting()
    context.minimum_version = context.maximum_version = version
    with raw_http.connect(address, context) as connection:
        assert connection.version() == {771: "TLSv1.2", 772: "TLSv1.3"}[version]
        connection.sendall(HEALTHY + METRICS + HEALTHY)
        got = [raw_http.read_response(connection) for _ in range(3)]
        assert [b"grid_node_cpu_cores" in response.body for response in got] == [False, True, False]
        for _ in range(3):
            connection.sendall(METRICS)
            assert b"grid_node_cpu_cores" in raw_http.read_response(connection).body
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)
        assert raw_http.read_response(connection).status == 431
        assert connection.recv(1) == b""
    client = http.client.HTTPSConnection("localhost", address[1], context=trusting(), timeout=10)
    client.request("HEAD", "/metrics")
    assert client.getresponse().status == 200
    client.close()


def test_http_to_the_tls_port(start):
    """A browser without the s is told; noise is shown the door; neither disturbs anybody."""
    address = start(TLS)
    (told,) = raw_http.responses(raw_http.exchange(address, METRICS))
    assert (told.status, told.body) == (400, b"This port speaks HTTPS.\n")
    for noise in (b"\x00" * 100, b"SSH-2.0-x\r\n", b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000):
        with suppress(ConnectionError):
            assert b"HTTP" not in raw_http.exchange(address, noise)
    (told,) = raw_http.responses(raw_http.exchange(address, METRICS))
    assert told.status == 400


def test_versions_and_ciphers(start, trusting):
    """What the file leaves out is not offered."""
    address = start(
        TLS + "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"
        "  curve_preferences: [CurveP384]\n"
    )
    with raw_http.connect(address, trusting()) as connection:
        assert connection.cipher()[:2] == ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2")
    other = trusting()
    other.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    assert "HANDSHAKE_FAILURE" in refused(address, other)
    modern = trusting()
    modern.minimum_version = ssl.TLSVersion.TLSv1_3
    assert "PROTOCOL_VERSION" in refused(address, modern)
    curve = trusting()
    curve.set_ecdh_curve("prime256v1")
    assert "HANDSHAKE_FAILURE" in refused(address, curve)


def test_client_certificates(start, trusting, authority):
    """Only one of the authority's own, still valid and made for clients, opens the door."""
    address = start(REQUIRED)
    assert healthy(address, trusting(authority.issue("prometheus", client=True)))
    assert re.search("CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE", refused(address, trusting()))
    assert "UNKNOWN_CA" in refused(address, trusting(Authority("test authority").issue("prometheus", client=True)))
    assert "EXPIRED" in refused(address, trusting(authority.issue("prometheus", client=True, days=-1)))
    assert "UNSUPPORTED_CERTIFICATE" in refused(address, trusting(authority.issue("prometheus")))


def test_client_certificates_if_given(start, trusting, authority):
    """None is fine, a wrong one is not."""
    address = start(IF_GIVEN)
    assert healthy(address, trusting())
    assert healthy(address, trusting(authority.issue("prometheus", client=True)))
    assert "UNKNOWN_CA" in refused(address, trusting(Authority().issue("prometheus", client=True)))


NAMES = ["prometheus.example.org", "192.0.2.7", "2001:db8::1", "ops@example.org", "spiffe://example.org/prometheus"]


@pytest.mark.parametrize("name", NAMES)
def test_allowed_names(start, trusting, authority, name):
    """DNS name, address, mail, URI: exactly one of the list, wherever it stands in the certificate."""
    address = start(REQUIRED + f"  client_allowed_sans: ['other', '{name}']\n")
    assert healthy(address, trusting(authority.issue("x.example.org", name, client=True)))
    for no in ("x.example.org", f"x{name}" if name[0].isalpha() else "192.0.2.8"):
        assert "closed after b''" in refused(address, trusting(authority.issue(no, client=True)))


def test_the_log_says_who_was_not_let_in(web, trusting, authority, serving, caplog):
    """By address and reason; once in a while, however often they come."""

    async def come(server, pair):
        with suppress(ssl.SSLError, ConnectionError):
            reader, writer = await asyncio.open_connection(
                *server.address, ssl=trusting(pair), server_hostname="localhost"
            )
            await reader.read()
            writer.close()

    async def main():
        async with serving(web=web(REQUIRED + "  client_allowed_sans: [a]\n")) as server:
            for _ in range(3):
                await come(server, authority.issue("b", client=True))

    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == [
        "no TLS with 127.0.0.1: its certificate has none of client_allowed_sans"
    ]


async def test_the_handshake_has_its_deadline(web, serving):
    """A client that opens the connection and says nothing, or half of it, goes with the time for a request."""
    hello = ssl.MemoryBIO()
    half = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    async with serving(web=web(TLS), request_seconds=0.3) as server:
        for sent in (b"", hello.read()[:50]):
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            await writer.wait_closed()


async def test_a_large_answer_to_a_slow_client(web, serving, trusting):
    """Complete, in order, and encrypted piece by piece: what is ready to be sent is bounded."""
    body = b"0123456789abcdef" * (1 << 18)
    async with serving(lambda _: (body, "text/plain"), web(TLS)) as server:
        reader, writer = await asyncio.open_connection(*server.address, ssl=trusting(), server_hostname="localhost")
        writer.write(METRICS)
        await reader.readuntil(b"\r\n\r\n")
        (connection,) = server._open
        got, most = b"", 0
        while len(got) < len(body):
            got += await asyncio.wait_for(reader.read(50_000), 10)
            most = max(most, connection._transport.get_write_buffer_size())
            await asyncio.sleep(0)
        assert got == body
        assert most < 1 << 18
        writer.close()
        await writer.wait_closed()


async def test_renewed_certificates_are_used_at_once(*, web, folder, serving, trusting, authority, caplog):
    """A new connection gets the new one; a kept one ends with its next answer; a broken pair changes nothing."""

    async def connect():
        reader, writer = await asyncio.open_connection(*server.address, ssl=trusting(), server_hostname="localhost")
        serial = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
        return reader, writer, serial

    async with serving(web=web(TLS)) as server:
        reader, kept, first = await connect()
        authority.issue("localhost").write(folder, "node")
        _, second, renewed = await connect()
        assert renewed != first
        kept.write(HEALTHY)
        assert b"Connection: close" in await asyncio.wait_for(reader.read(), 10)
        (folder / "node.key").write_bytes(authority.issue("localhost").key)
        _, third, same = await connect()
        assert same == renewed
        assert "in force stays" in caplog.text
        assert "the private key is not that of the certificate" in caplog.text
        caplog.clear()
        _, fourth, _ = await connect()
        assert caplog.text == ""  # said once
        authority.issue("localhost").write(folder, "node")
        _, fifth, newest = await connect()
        assert newest not in (first, renewed)
        for writer in (kept, second, third, fourth, fifth):
            writer.close()
            await writer.wait_closed()


async def test_tls_cannot_be_turned_off_by_a_slip(web, folder, serving, trusting, caplog):
    """A file that has lost its section leaves TLS as it is."""
    async with serving(web=web(TLS)) as server:
        (folder / "web.yml").write_text("")
        address = server.address
        assert await asyncio.to_thread(healthy, address, trusting())
        assert "in force stays: TLS cannot come or go" in caplog.text
        with socket.create_connection(address) as plain:
            plain.sendall(HEALTHY)
            assert b" 400 " in await asyncio.to_thread(plain.recv, 100)
