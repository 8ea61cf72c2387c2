"""`cluster install`: on every node an environment with grid-offloader, and one of its own with Ray (ADR 25).

An environment's directory bears the hash of everything that decides its content, so what is right is found again and
left alone, what is new lies beside the old, and upgrading one never touches what runs from another.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from offloader.cluster.fleet import Fleet, environments_of
from offloader.cluster.outcome import Outcome
from offloader.cluster.wheel import digest_of
from offloader.config.models import Node
from offloader.config.privileged import privilege_of
from offloader.config.shipped import shipped
from offloader.errors import ExternalError, NodeUnreachable
from offloader.model import Role

__all__ = ["Sources", "install", "sources"]

_KINDS = ("app", "ray")
_SEND_S = 600.0
_NO_NEWS_S = 1800.0

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """What is installed from. `wheels`: a directory instead of a package index."""

    wheel: Path
    wheel_digest: str
    wheels: Path | None
    listing: dict[str, int]

    def lock(self, kind: str, node: Node, facts: Document) -> tuple[str, str]:
        """The requirements of an environment there, and the hash of all that decides its content."""
        name = "ray" if kind == "ray" else "head" if node.role is Role.HEAD else "worker"
        text = shipped("deploy", "locks", f"{name}.txt").read_text(encoding="utf-8")
        minor = ".".join(facts["python"]["version"].split(".")[:2])
        parts = [text, minor, facts["machine"], self.wheel_digest if kind == "app" else ""]
        return text, hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def release(self, node: Node, facts: Document) -> str:
        """What is installed there together, by name: `cluster upgrade --rollback` takes it back together."""
        return hashlib.sha256("".join(self.lock(kind, node, facts)[1] for kind in _KINDS).encode()).hexdigest()[:16]


def sources(wheel: Path, wheels: Path | None) -> Sources:
    """Raises ExternalError: the directory of wheels cannot be read."""
    try:
        listing = {path.name: path.stat().st_size for path in sorted(wheels.glob("*.whl"))} if wheels else {}
    except OSError as error:
        raise ExternalError(f"{wheels} cannot be read: {error.strerror}") from error
    if wheels and not listing:
        raise ExternalError(f"{wheels} holds no wheels: pip download -r … -d {wheels}")
    return Sources(wheel, digest_of(wheel), wheels, listing)


async def install(fleet: Fleet, nodes: Sequence[Node], given: Sources) -> list[Outcome]:
    """Both environments on every node; nodes side by side, one environment after the other."""

    async def node_by_node(node: Node) -> list[Outcome]:
        done: list[Outcome] = []
        for kind in _KINDS:
            act = partial(_install, fleet, kind=kind, given=given)
            done.append(await fleet.one(node, f"install {kind}", act))
            if not done[-1].ok:
                return done
        if fleet.cluster.multi_user and node.role is Role.WORKER:
            done.append(await fleet.one(node, "privilege", partial(_privileged, fleet)))
        return done

    found = await asyncio.gather(*(node_by_node(node) for node in nodes))
    return [outcome for some in found for outcome in some]


async def _install(fleet: Fleet, node: Node, *, kind: str, given: Sources) -> Outcome:
    facts = await fleet.facts(node)
    prepared = fleet.cluster.manage.app if kind == "app" else fleet.cluster.manage.ray
    document: Document = {"kind": kind, "state_dir": node.state_dir, "release": given.release(node, facts)}
    if prepared is not None:
        document |= {"directory": prepared, "lock": "given", "given": True}
    else:
        text, lock = given.lock(kind, node, facts)
        base = environments_of(fleet.cluster, node)
        document |= {"directory": f"{base}/{kind}-{lock[:16]}", "lock": lock, "requirements": text}
        if facts["installed"].get(kind, {}).get("lock") != lock:
            document |= await _sent(fleet, node, kind, base, given)
    answer = await _provided(fleet, node, kind, document)
    await fleet.facts(node, fresh=True)
    version = answer["versions"].get("ray" if kind == "ray" else "grid-offloader")
    if version is None:
        raise NodeUnreachable(f"{node.name}: {answer['directory']} holds no {kind}")
    state = "installed" if answer["changed"] else "present"
    return Outcome(node.name, f"install {kind}", ok=True, state=state, changed=answer["changed"], detail=version)


async def _privileged(fleet: Fleet, node: Node) -> Outcome:
    """Ray's account may have capsules opened there, and nothing else, as root."""
    answer = await fleet.verb(node, "privilege", document=privilege_of(fleet.cluster, node))
    state = "installed" if answer["changed"] else "present"
    return Outcome(node.name, "privilege", ok=True, state=state, changed=answer["changed"])


async def _sent(fleet: Fleet, node: Node, kind: str, base: str, given: Sources) -> Document:
    """What the node lacks is sent to it: our wheel, and the wheels of a directory that it does not see itself."""
    found: Document = {}
    if kind == "app":
        found["wheel"] = f"{base}/wheels/{given.wheel_digest[:16]}/{given.wheel.name}"
        await _send(fleet, node, given.wheel, found["wheel"])
    if given.wheels is not None:
        seen = await fleet.verb(node, "listing", str(given.wheels))
        if all(seen["files"].get(name) == size for name, size in given.listing.items()):
            return {**found, "wheels": str(given.wheels)}
        there = f"{base}/wheels/packages"
        held = (await fleet.verb(node, "listing", there))["files"]
        for name in (name for name, size in given.listing.items() if held.get(name) != size):
            await _send(fleet, node, given.wheels / name, f"{there}/{name}")
        found["wheels"] = there
    return found


async def _send(fleet: Fleet, node: Node, file: Path, path: str) -> None:
    data = await asyncio.to_thread(file.read_bytes)
    await fleet.agents[node.name].verb("put", path, "0644", stdin=data, timeout_s=_SEND_S)


async def _provided(fleet: Fleet, node: Node, kind: str, document: Document) -> Document:
    """The verb `provide`, whose steps are told as they come. Raises VerbFailed, NodeUnreachable."""
    said = json.dumps(document).encode()
    async with aclosing(fleet.agents[node.name].telling("provide", said=said, quiet_s=_NO_NEWS_S)) as answers:
        async for answer in answers:
            if answer.get("done"):
                return dict(answer)
            fleet.told(Outcome(node.name, f"install {kind}", ok=True, state="…", detail=str(answer["step"])))
    raise NodeUnreachable(f"{node.name}: the connection was lost while it installed; run this again")
