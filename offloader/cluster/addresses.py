"""Hosts and ports, as configuration writes them and as sockets take them."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["joined", "of_url", "split"]


def of_url(url: str) -> tuple[str, int]:
    """Where that URL leads (RFC 9110, section 4.2)."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)


def split(address: str) -> tuple[str, int]:
    """HOST:PORT, the host in brackets if it has colons itself."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def joined(host: str, port: int) -> str:
    """The inverse of `split`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
