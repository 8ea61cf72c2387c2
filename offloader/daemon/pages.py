"""Where people's browsers find what belongs to a cluster; dashboards link there."""

from __future__ import annotations

from collections.abc import Mapping

from offloader.config.models import Cluster

__all__ = ["pages"]

_ANY_ADDRESS = ("0.0.0.0", "[::]")  # noqa: S104 -- compared with, not listened on


def pages(cluster: Cluster) -> Mapping[str, str]:
    """Page → URL without a slash at its end: `status` of the controller, and Ray's dashboard as `ray`.

    A controller that listens on every address is named by the head's; one that listens on the loopback by that:
    browsers elsewhere need a tunnel, which makes it the same there.
    """
    host, _, port = cluster.controller.listen.rpartition(":")
    if host in _ANY_ADDRESS:
        head = cluster.head.address
        host = f"[{head}]" if ":" in head else head
    return {"status": f"http://{host}:{port}", "ray": cluster.ray.address.rstrip("/")}
