"""`cluster start` and `stop`: services in their order, on all nodes side by side; what runs already is left alone.

Order: exporters, Alertmanager, Prometheus, Ray on the head, Ray on the workers, the controller; stopping goes the other
way. Every step is idempotent, so going on after a failure is doing it again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from offloader.cluster.alertmanager_files import webhook_token_file
from offloader.cluster.fleet import Fleet, units_wanted
from offloader.cluster.outcome import Outcome
from offloader.cluster.services import ORDER, Service, service_names
from offloader.cluster.unit_text import unit_name, unit_text
from offloader.config.complete import RAY_TOKEN_NAME
from offloader.config.models import Cluster, Node
from offloader.config.secrets import read_secret
from offloader.errors import ConfigError
from offloader.model import Role

__all__ = ["make_token", "make_webhook_token", "restart", "start", "stop", "token_file"]

_SPARE_S = 15.0
_TOKEN_BYTES = 32

Stage = tuple[str, Callable[[Node], bool]]
Document = dict[str, Any]

_STAGES: tuple[Stage, ...] = (
    ("exporter", lambda _: True),
    ("alertmanager", lambda node: node.role is Role.HEAD),
    ("prometheus", lambda node: node.role is Role.HEAD),
    ("ray", lambda node: node.role is Role.HEAD),
    ("ray", lambda node: node.role is not Role.HEAD),
    ("controller", lambda node: node.role is Role.HEAD),
)


def token_file(cluster: Cluster) -> Path:
    """Where Ray's token lies on the head."""
    return cluster.ray.token_file or cluster.controller.state_dir / RAY_TOKEN_NAME


def make_token(cluster: Cluster) -> str:
    """Ray's token; made where there is none yet.

    Raises:
        ConfigError: it cannot be read or made, or others can read it.
    """
    return _made(token_file(cluster))


def make_webhook_token(cluster: Cluster) -> None:
    """That of the controller's webhook and status page; made where there is none yet. Raises ConfigError, as above."""
    _made(webhook_token_file(cluster))


def _made(path: Path) -> str:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return read_secret(path)
    except OSError as error:
        raise ConfigError((f"{path} cannot be made: {error.strerror}",)) from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(_TOKEN_BYTES))
        file.flush()
        os.fsync(descriptor)
    return read_secret(path)


async def start(fleet: Fleet, nodes: Sequence[Node], wanted: Collection[str] = ORDER) -> list[Outcome]:
    """Start what is not running. A node where a step failed is left out of the later ones, the others go on."""
    token = make_token(fleet.cluster)
    make_webhook_token(fleet.cluster)
    outcomes: list[Outcome] = []
    failed: set[str] = set()
    for name, here in _STAGES:
        meant = [node for node in nodes if name in wanted and here(node) and name in service_names(fleet.cluster, node)]
        head_failed = any(one.node == fleet.cluster.head.name and not one.ok for one in outcomes if one.step == "ray")
        if name == "ray" and head_failed:
            outcomes += [_skipped(fleet, node, name, "the head's Ray does not run") for node in meant]
            continue
        done = await fleet.everywhere(
            [node for node in meant if node.name not in failed], name, partial(_start, fleet, token=token, name=name)
        )
        # An exporter that does not start is no reason to do without Ray there; a node that is away is.
        failed |= {one.node for one in done if one.state == "unreachable"}
        outcomes += done
    return outcomes


async def stop(fleet: Fleet, nodes: Sequence[Node], wanted: Collection[str] = ORDER) -> list[Outcome]:
    """Stop what runs. Whether moved jobs run there was asked before."""
    outcomes: list[Outcome] = []
    failed: set[str] = set()
    for name, here in reversed(_STAGES):
        meant = [node for node in nodes if name in wanted and here(node) and node.name not in failed]
        done = await fleet.everywhere(meant, name, partial(_stop, fleet, name=name))
        failed |= {one.node for one in done if one.state == "unreachable"}
        # Asked for all the same: it may run from a time when the cluster file had it.
        outcomes += [one for one in done if one.state != "absent"]
    return outcomes


async def restart(fleet: Fleet, nodes: Sequence[Node], wanted: Collection[str] = ORDER) -> list[Outcome]:
    """Stop and start, with whatever has changed. What cannot be stopped is not started either."""
    stopped = await stop(fleet, nodes, wanted)
    bad = {one.node for one in stopped if not one.ok}
    return [one for one in stopped if not one.ok] + await start(
        fleet, [node for node in nodes if node.name not in bad], wanted
    )


async def _start(fleet: Fleet, node: Node, *, token: str, name: str) -> Outcome:
    service = next(one for one in await fleet.services(node, token) if one.name == name)
    before = (await fleet.states(node)).get(name, {})
    runs = before.get("state") == "running"
    if not runs:
        for file in service.files:
            await fleet.agents[node.name].verb(
                "put", file.path, file.mode, *([file.owner] if file.owner else []), stdin=file.text.encode()
            )
    answer = await _started(fleet, node, service)
    if not answer["ready"]:
        said = str(answer.get("said", "")).splitlines()[-3:]
        words = "; ".join(said) or "it said nothing"
        return Outcome(
            node.name, name, ok=False, state="failed", changed=answer["changed"], detail=f"not ready: {words}"
        )
    outdated = answer.get("mark") != service.mark
    detail = f"runs with other settings than the cluster file's: cluster restart {node.name}" if outdated else ""
    state = "started" if answer["changed"] else "running"
    return Outcome(node.name, name, ok=True, state=state, changed=answer["changed"], detail=detail)


async def _started(fleet: Fleet, node: Node, service: Service) -> Document:
    limit_s = service.ready_s + _SPARE_S
    if units_wanted(fleet.cluster, await fleet.facts(node)):
        text = unit_text(service, system=(await fleet.facts(node))["uid"] == 0)
        document = {"text": text, "listens": service.listens, "ready_s": service.ready_s}
        answer = await fleet.verb(node, "unit-start", unit_name(service.name), document=document, timeout_s=limit_s)
    else:
        directory = f"{node.state_dir}/services/{service.name}"
        answer = await fleet.verb(node, "tend", directory, document=service.document(), timeout_s=limit_s)
    return dict(answer)


async def _stop(fleet: Fleet, node: Node, *, name: str) -> Outcome:
    limit_s = 60.0 + _SPARE_S
    if units_wanted(fleet.cluster, await fleet.facts(node)):
        answer = await fleet.verb(node, "unit-stop", unit_name(name), timeout_s=limit_s)
    else:
        answer = await fleet.verb(node, "untend", f"{node.state_dir}/services/{name}", timeout_s=limit_s)
    ok = answer["state"] in {"stopped", "absent"}
    state = answer["state"] if ok else "failed"
    return Outcome(node.name, name, ok=ok, state=state, changed=answer["changed"], detail="" if ok else answer["state"])


def _skipped(fleet: Fleet, node: Node, name: str, why: str) -> Outcome:
    outcome = Outcome(node.name, name, ok=False, state="skipped", detail=why)
    fleet.told(outcome)
    return outcome
