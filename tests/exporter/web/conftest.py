"""A server inside the test, with bounds that a test can wait for, and everything that a web configuration names."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from certificates import Authority

from exporter.server import ExporterServer
from exporter.web.connection import Limits


@pytest.fixture
def serving():
    """`async with serving(scrape, web, LIMIT=…) as server`: it listens on server.address until `await server.end()`."""

    @asynccontextmanager
    async def serve(scrape=lambda _: (b"metrics\n", "text/plain"), web=None, **limits):
        server = ExporterServer("127.0.0.1", 0, scrape, web, Limits(**limits))
        url = urlsplit(server.url)
        server.address = (url.hostname, url.port)
        stop = asyncio.Event()
        running = asyncio.create_task(server.run(stop))

        async def end():
            stop.set()
            await running

        server.end = end
        try:
            yield server
        finally:
            await end()

    return serve


@pytest.fixture(scope="session")
def authority():
    """Signs the certificates of servers and clients that trust each other."""
    return Authority()


@pytest.fixture(scope="session")
def server_pair(authority):
    """The exporter's certificate and key."""
    return authority.issue("localhost", "127.0.0.1")


@pytest.fixture
def folder(tmp_path, authority, server_pair):
    """node.crt, node.key, ca.crt."""
    server_pair.write(tmp_path, "node")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    return tmp_path
