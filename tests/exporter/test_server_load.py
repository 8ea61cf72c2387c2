"""More clients than anybody has, and hostile ones: the exporter stays up, small, and there for Prometheus."""

import asyncio
import re
import resource
import ssl
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from certificates import Authority

pytestmark = pytest.mark.slow

METRICS = b"GET /metrics HTTP/1.1\r\nHost: node\r\nAccept-Encoding: gzip\r\n"
DEADLINE = 30
MOST_RESIDENT = 96 << 20


@pytest.fixture(autouse=True)
def _enough_descriptors():
    """For the clients' side."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"needs 4096 open files, this account may have {hard}: raise the hard limit (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def bounds(exporter):
    """Threads now, and bytes resident at most until now."""
    status = Path(f"/proc/{exporter.process.pid}/status").read_text()
    threads, peak = (int(re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)[1]) for name in ("Threads", "VmHWM"))
    return threads, peak * 1024


async def scrape(address, **tls):
    """The status of one scrape on a connection of its own."""
    reader, writer = await asyncio.open_connection(*address, **tls)
    try:
        writer.write(METRICS + b"Connection: close\r\n\r\n")
        return int((await reader.read()).split(maxsplit=2)[1])
    finally:
        writer.close()


async def test_a_thousand_scrapes_at_once(exporter, address):
    """Every one is answered, twice over, by the same few threads."""
    await scrape(address)
    threads, _ = bounds(exporter)
    for _ in range(2):
        async with asyncio.timeout(DEADLINE):
            assert await asyncio.gather(*[scrape(address) for _ in range(1000)]) == [200] * 1000
    after, peak = bounds(exporter)
    assert after == threads
    assert peak < MOST_RESIDENT


async def wait(reader, writer, sent):
    """Sends this once, and waits to be closed."""
    writer.write(sent)
    await reader.read()


async def talk(reader, writer, sent):
    """Sends this again half a second after each answer, until it is closed."""
    while True:
        writer.write(sent)
        if not await reader.read(65536):
            return
        await asyncio.sleep(0.5)


@asynccontextmanager
async def crowd(address, sent, behave=wait):
    """Six hundred clients that send this, and come back when they are closed."""
    begun = 0

    async def come_again():
        nonlocal begun
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(*address)
                begun += 1
                try:
                    await behave(reader, writer, sent)
                finally:
                    writer.close()

    clients = [asyncio.create_task(come_again()) for _ in range(600)]
    try:
        while begun < 600:
            await asyncio.sleep(0.01)
        yield
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def test_six_hundred_slow_clients(exporter, address):
    """They stop in the middle of a request, more than there are places; scrapes are answered all the while."""
    async with crowd(address, METRICS):
        for _ in range(3):
            async with asyncio.timeout(10):
                assert await scrape(address) == 200
    _, peak = bounds(exporter)
    assert peak < MOST_RESIDENT
    assert exporter.get("/-/healthy") == "grid-exporter is healthy.\n"


async def test_six_hundred_clients_that_keep_asking(exporter, address):
    """More than there are places, each with a question every half second: scrapes are answered all the while."""
    async with crowd(address, b"GET / HTTP/1.1\r\nHost: node\r\n\r\n", talk):
        for _ in range(3):
            async with asyncio.timeout(10):
                assert await scrape(address) == 200
    _, peak = bounds(exporter)
    assert peak < MOST_RESIDENT


async def test_six_hundred_clients_that_never_finish_the_handshake(start_exporter, proc, tmp_path):
    """They hold no place either: with TLS scrapes are answered as well."""
    authority = Authority()
    authority.issue("localhost").write(tmp_path, "node")
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: node.crt, key_file: node.key}\n")
    exporter = start_exporter(f"--procfs={proc}", "--no-collector=gpu", f"--web.config.file={tmp_path}/web.yml")
    url = urlsplit(exporter.url)
    address = url.hostname, url.port
    trusting = ssl.create_default_context(cadata=authority.certificate.decode())
    async with crowd(address, b"\x16\x03\x01\x01"):
        for _ in range(3):
            async with asyncio.timeout(10):
                assert await scrape(address, ssl=trusting, server_hostname="localhost") == 200
    _, peak = bounds(exporter)
    assert peak < MOST_RESIDENT
