"""The nodes of one cluster, asked side by side: a dead one keeps nobody waiting but itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offloader.cluster.outcome import Outcome, Told
from offloader.cluster.services import Place, Service, programs, service_names, services
from offloader.config.managing import Supervision
from offloader.config.models import Cluster, Node
from offloader.errors import NodeUnreachable, OffloaderError
from offloader.model import Role
from offloader.moves.agent import Agent, VerbFailed

__all__ = ["Fleet", "environments_of", "units_wanted"]

Document = dict[str, Any]

_FACTS_S = 30.0


@dataclass(slots=True)
class Fleet:
    """A cluster and the launchers on its nodes. `config`: its file; `runtime_dir`: the account's on the head."""

    cluster: Cluster
    config: Path
    agents: Mapping[str, Agent]
    told: Told
    runtime_dir: str = ""
    _facts: dict[str, Document] = field(default_factory=dict)

    def chosen(self, names: Iterable[str]) -> tuple[Node, ...]:
        """The nodes named, all of them where none is; heads first."""
        wanted = set(names)
        nodes = [node for node in self.cluster.nodes if not wanted or node.name in wanted]
        return tuple(sorted(nodes, key=lambda node: node.role is not Role.HEAD))

    async def verb(self, node: Node, verb: str, *arguments: str, document: Document | None = None, **how: Any) -> Any:
        """A verb of the launcher there, with a document on its stdin. Raises NodeUnreachable, VerbFailed."""
        stdin = json.dumps(document).encode() if document is not None else b""
        return await self.agents[node.name].verb(verb, *arguments, stdin=stdin, **how)

    async def facts(self, node: Node, *, fresh: bool = False, **asked: Any) -> Document:
        """What the node is like. Raises NodeUnreachable, VerbFailed."""
        if fresh or asked or node.name not in self._facts:
            document = {
                "state_dir": node.state_dir,
                "directories": _directories(self.cluster, node),
                "programs": list(programs(self.cluster, node)),
                "criu": node.criu,
                "accounts": [name for name in (self.cluster.manage.ray_user,) if name],
                **asked,
            }
            began = time.time()
            answer = await self.verb(node, "facts", document=document, timeout_s=_FACTS_S)
            # The answer bears the node's time; ours when it was written is known as well as the journey was short.
            answer["skew_s"], answer["skew_within_s"] = _skew(began, answer["t"], time.time())
            self._facts[node.name] = answer
        return self._facts[node.name]

    async def services(self, node: Node, token: str) -> tuple[Service, ...]:
        """The node's services as they are to be. Raises NodeUnreachable: also where nothing is installed yet."""
        found = await self.facts(node)
        kinds = {kind: found["installed"].get(kind, {}).get("directory", "") for kind in ("app", "ray")}
        missing = [kind for kind, directory in kinds.items() if not directory]
        if missing:
            raise NodeUnreachable(
                f"{node.name}: not installed yet ({', '.join(missing)}): grid-offloader cluster install"
            )
        place = Place(
            app=kinds["app"],
            ray=kinds["ray"],
            user=found["user"],
            home=found["home"],
            runtime_dir=self.runtime_dir if node.role is Role.HEAD else "",
            token=token,
        )
        return services(self.cluster, node, place, self.config)

    async def states(self, node: Node) -> dict[str, Document]:
        """How each of the node's services is, by name. Raises NodeUnreachable, VerbFailed."""
        names = service_names(self.cluster, node)
        if units_wanted(self.cluster, await self.facts(node)):
            answer = await self.verb(node, "units", *(f"grid-{name}.service" for name in names))
        else:
            answer = await self.verb(node, "tended", *(f"{node.state_dir}/services/{name}" for name in names))
        return {str(state["name"]): state for state in answer["services"]}

    async def everywhere(
        self, nodes: Iterable[Node], step: str, act: Callable[[Node], Awaitable[Outcome]]
    ) -> list[Outcome]:
        """The same on every node at once; whatever goes wrong on one is its own outcome."""
        return list(await asyncio.gather(*(self.one(node, step, act) for node in nodes)))

    async def one(self, node: Node, step: str, act: Callable[[Node], Awaitable[Outcome]]) -> Outcome:
        """Carry out a step on one node, and tell of it."""
        began = time.monotonic()
        try:
            outcome = await act(node)
        except NodeUnreachable as error:
            outcome = Outcome(node.name, step, ok=False, state="unreachable", detail=str(error))
        except (OffloaderError, VerbFailed) as error:
            outcome = Outcome(node.name, step, ok=False, state="failed", detail=str(error))
        if not outcome.took_s:
            outcome = Outcome(
                outcome.node, outcome.step, outcome.ok, outcome.state, outcome.changed, outcome.detail,
                time.monotonic() - began, outcome.data,
            )  # fmt: skip
        self.told(outcome)
        return outcome


def environments_of(cluster: Cluster, node: Node) -> str:
    """The directory of environments there."""
    default = f"{node.state_dir}-env" if cluster.multi_user else f"{node.state_dir}/env"
    return cluster.manage.environments or default


def _directories(cluster: Cluster, node: Node) -> dict[str, str]:
    """Where the node's services write."""
    found = {"environments": environments_of(cluster, node), "state_dir": node.state_dir}
    if node.role is Role.HEAD:
        controller = cluster.controller
        found |= {"controller.state_dir": str(controller.state_dir), "runtime_dir": str(controller.runtime_dir)}
    return found


def units_wanted(cluster: Cluster, facts: Document) -> bool:
    """Whether systemd keeps that node's services."""
    match cluster.manage.supervision:
        case Supervision.AUTO:
            return facts["systemd"] is not None
        case Supervision.SYSTEMD:
            if facts["systemd"] is None:
                raise NodeUnreachable("systemd does not run there, or not for this account: manage.supervision: own")
            return True
        case Supervision.OWN:
            return False


def _skew(asked_t: float, there_t: float, answered_t: float) -> tuple[float, float]:
    """The node's clock against ours, and how far off that may be: it was read somewhere between question and answer."""
    half = (answered_t - asked_t) / 2
    return there_t - (asked_t + half), half
