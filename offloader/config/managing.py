"""The section `manage`: what `cluster install` and `cluster start` put on the nodes and keep running there."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from offloader.config.fields import ListenAddress, LocalPath, NodePath, NonEmpty, Size, Strict

__all__ = ["Manage", "Supervision"]


class Supervision(StrEnum):
    """Who keeps services running on a node."""

    AUTO = "auto"
    OWN = "own"
    SYSTEMD = "systemd"


class Manage(Strict):
    """How the cluster's services are installed and kept running, for those who let `grid-offloader up` do that."""

    environments: NodePath | None = Field(
        None, description="directory on the nodes for Python environments, which may be shared by them; default: `env` "
        "in the node's `state_dir`"
    )  # fmt: skip
    wheels: LocalPath | None = Field(
        None, description="directory of wheels to install from, for nodes that reach no package index"
    )
    app: NodePath | None = Field(
        None, description="an environment with grid-offloader that is on the nodes already; nothing is installed then"
    )
    ray: NodePath | None = Field(None, description="the same for Ray")
    supervision: Annotated[Supervision, Field(strict=False)] = Field(
        Supervision.AUTO,
        description="who keeps services running: `systemd`, `own` keepers, or `auto`: systemd where it runs",
    )  # fmt: skip
    ray_user: NonEmpty | None = Field(
        None, description="with `multi_user`: the ordinary account, nobody's own, that Ray runs as on every node"
    )  # fmt: skip
    shared: tuple[NodePath, ...] = Field((), description="directories that all nodes should see alike: checked")
    prometheus: bool | None = Field(
        None, description="whether a Prometheus of ours runs on the head, at `prometheus.url`; default: unless that is "
        "given"
    )  # fmt: skip
    prometheus_program: NodePath = Field("/usr/bin/prometheus", description="its program on the head")
    alertmanager: bool | None = Field(
        None, description="whether an Alertmanager of ours runs on the head, which our Prometheus tells; default: "
        "beside our Prometheus, where its program is there or `alertmanager_config` is given"
    )  # fmt: skip
    alertmanager_config: NodePath | None = Field(
        None, description="its configuration on the head; default: the routes of deploy/alerting, which tell the "
        "controller, and people not yet"
    )  # fmt: skip
    alertmanager_program: NodePath = Field("/usr/bin/prometheus-alertmanager", description="its program on the head")
    alertmanager_listen: ListenAddress = Field("127.0.0.1:9093", description="HOST:PORT where that one answers")
    prometheus_retention: Size = Field(2_000_000_000, description="how much disk its data may take; the oldest goes")
