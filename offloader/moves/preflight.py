"""Preflight: everything in the way of a move, found before anything is touched.

The one code behind the hand-off's first step and `move --dry-run`. It looks at both ends and leaves nothing there: the
capsule goes to the target's `check` by stdin, tokens on shared file systems live as long as the survey is listened to.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from offloader.backends.base import Backend
from offloader.errors import NodeUnreachable
from offloader.launcher.criu.obstacles import Allowed
from offloader.model import Move, Obstacle, Reason, StrategyName
from offloader.moves import terminals
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.capsule import compose, differences
from offloader.moves.likeness import Likeness
from offloader.moves.original import Copiers
from offloader.moves.plan import MovePlan
from offloader.moves.staging import Prospect, Staged, Staging
from offloader.moves.submitted import not_ready
from offloader.strategies.base import Strategy

__all__ = ["Findings", "Preflight"]


@dataclass(frozen=True, slots=True)
class Findings:
    """What preflight saw. With obstacles nothing may be done.

    `capture` is the source's picture of the leader (private: it holds the environment), `shared` the file systems that
    both nodes see (device numbers there and here), `streams` what becomes of standard input and outputs ("0" to "2":
    file, log, null, closed), `notes` what people should know although it stops nobody, `staged` the copy that is to be
    made of its working directory, `copiers` what copies a job that moves live.
    """

    capture: Mapping[str, Any]
    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()
    shared: tuple[tuple[int, int], ...] = ()
    streams: Mapping[str, str] | None = None
    staged: Staged | None = None
    copiers: Copiers | None = None


class Preflight:
    """Asks the launchers of both nodes, and the backend."""

    def __init__(
        self,
        agents: Mapping[str, Agent],
        strategies: Mapping[StrategyName, Strategy],
        backends: Mapping[str, Backend],
        staging: Staging | None = None,
        likeness: Likeness | None = None,
    ) -> None:
        """Args: backends: of one that is not among them nothing is known, which is no obstacle.

        staging: None: working directories are never copied.
        likeness: None: no job is copied.
        """
        self._agents = agents
        self._strategies = strategies
        self._backends = backends
        self._staging = staging
        self._likeness = likeness

    async def best(self, plan: MovePlan, move: Move) -> tuple[MovePlan, Findings]:
        """The plan by the first of its strategies that nothing is in the way of, with notes on why not by those before.

        With something in the way of each: the plan as it is, and what is in the way of its first. Raises as `examine`.
        """
        passed: list[str] = []
        refused: tuple[MovePlan, Findings] | None = None
        for strategy in (plan.strategy, *plan.fallbacks):
            asked = replace(plan, strategy=strategy, fallbacks=())
            found = await self.examine(asked, move)
            if not found.obstacles:
                return asked, replace(found, notes=(*passed, *found.notes))
            refused = refused or (plan, found)
            passed.append(f"not by {strategy}: {found.obstacles[0].seen}")
        assert refused is not None
        return refused

    async def examine(self, plan: MovePlan, move: Move) -> Findings:
        """Every obstacle, those of the source first. What the target lacks is not asked for another process's sake.

        Raises:
            VerbFailed: the source's launcher says no (its code is a reason: ARGV_REWRITTEN, NO_SUCH_PROCESS, …).
            NodeUnreachable: the source cannot be asked. A target that cannot is an obstacle.
        """
        source = self._agents[move.source]
        capture = await source.verb("capture", str(move.identity.pid))
        reused = differences(capture, plan.candidate)
        if reused:
            return Findings(capture, reused)
        strategy = self._strategies[plan.strategy]
        own = strategy.obstacles(plan.candidate, capture)
        others = [member.pid for member in plan.candidate.members if member.pid != move.identity.pid]
        terminal = await terminals.kept(source, capture, move) if strategy.copies else None
        goes_along = {"terminal": True} if isinstance(terminal, terminals.Kept) else {}
        state_in = [base64.b64encode(one).decode() for one in strategy.state_in(plan.candidate, capture)]
        pids = map(str, (move.identity.pid, *others))
        said = json.dumps({"state_in": state_in}).encode()
        async with source.answering("survey", "-", *pids, said=said) as survey:
            asked = {
                "capsule": {**compose(capture, move, plan), **goes_along},
                "survey": survey,
                "memory_bytes": plan.candidate.needs.memory_bytes,
            }
            there = await self._at_target(move.target, json.dumps(asked).encode())
            prospect, there = await self._staged(asked, there, move.source, move.target, allowed=plan.stage)
        own = (*own, *await self._of_backend(move.backend, move.target))
        found = _with(prospect, _findings(capture, own, there))
        left = tuple(one for one in found.obstacles if one.reason not in strategy.lifts)
        if not strategy.copies:
            return replace(found, obstacles=left)
        if self._likeness is None:
            return replace(found, obstacles=(*left, Obstacle(Reason.NO_CRIU, "no job is copied here")))
        job = (move.identity.pid, *others)
        staged = found.staged.root if found.staged is not None else ""
        along = terminal if isinstance(terminal, terminals.Kept) else None
        allowed = Allowed(
            staged=staged,
            terminal=along.device if along is not None else "",
            close_connections=plan.candidate.only_live is not None,
        )
        unlike, copiers = await self._likeness.examine(job, move.source, move.target, found.shared, allowed)
        if copiers is not None and along is not None:
            copiers = replace(copiers, terminal=along)
        if isinstance(terminal, str):
            unlike = tuple(_and_why(one, terminal) for one in unlike)
        return replace(found, obstacles=(*left, *unlike), copiers=copiers)

    async def arrived(self, plan: MovePlan, move: Move, found: Findings) -> tuple[Obstacle, ...]:
        """What a job that moves live has open and still lacks at the target, once its directory was copied there.

        What was left behind by a pattern, or is no plain file, would be missed only when it is restored. Raises as
        `examine`.
        """
        if found.staged is None or found.copiers is None or self._likeness is None:
            return ()
        members = (member.pid for member in plan.candidate.members if member.pid != move.identity.pid)
        terminal = found.copiers.terminal
        allowed = Allowed(
            staged=found.staged.root,
            arrived=True,
            terminal=terminal.device if terminal is not None else "",
            close_connections=found.copiers.tcp_close,
        )
        job = (move.identity.pid, *members)
        lacking, _ = await self._likeness.examine(job, move.source, move.target, found.shared, allowed)
        return lacking

    async def _staged(
        self, asked: dict[str, Any], there: Mapping[str, Any], source: str, target: str, *, allowed: bool | None
    ) -> tuple[Prospect, Mapping[str, Any]]:
        """Where the working directory is not there: whether it can be copied, and what is in the way of that then."""
        missing = any(one["reason"] == Reason.NO_DIRECTORY.value for one in there["obstacles"])
        if self._staging is None or not missing:
            return Prospect(), there
        if not (self._staging.limits.enabled if allowed is None else allowed):
            return Prospect(), there
        capsule = asked["capsule"]
        prospect = await self._staging.prospect(
            capsule["process"], job=capsule["job"], epoch=capsule["epoch"], source=source, target=target
        )
        if prospect.staged is not None:
            carried = {**asked, "capsule": {**capsule, "staged": [prospect.staged.root]}, "coming": True}
            there = await self._at_target(target, json.dumps(carried).encode())
        return prospect, there

    async def again(self, capsule: dict[str, Any], source: str, target: str, *, backend: str) -> Findings:
        """For a job whose original is gone: what the target lacks for its capsule alone.

        At the source itself the files are where they were. Raises VerbFailed, NodeUnreachable (both of the source).
        """
        if target == source:
            streams = capsule["process"]["stdio"].values()
            own = [[stream["dev"], stream["dev"]] for stream in streams if "dev" in stream]
            asked = {"capsule": {**capsule, "shared": own, "staged": []}}
            return _findings({}, (), await self._at_target(target, json.dumps(asked).encode()))
        async with self._agents[source].answering("vouch", said=json.dumps(capsule).encode()) as survey:
            asked = {"capsule": {**capsule, "staged": []}, "survey": survey}
            there = await self._at_target(target, json.dumps(asked).encode())
            allowed = True if capsule.get("staged") else None  # as it was the first time
            prospect, there = await self._staged(asked, there, source, target, allowed=allowed)
        return _with(prospect, _findings({}, await self._of_backend(backend, target), there))

    async def _of_backend(self, name: str, target: str) -> tuple[Obstacle, ...]:
        backend = self._backends.get(name)
        found = None if backend is None else await not_ready(backend, self._agents[target].node)
        return () if found is None else (found,)

    async def _at_target(self, target: str, asked: bytes) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = await self._agents[target].verb("check", stdin=asked)
        except NodeUnreachable as error:
            remedy = f"see whether the controller's account can log in to {target}, and runs Python there"
            return {"obstacles": [{"reason": Reason.TARGET_DOWN.value, "seen": str(error), "remedy": remedy}]}
        except VerbFailed as error:
            return {"obstacles": [{"reason": error.code, "seen": f"{target}: {error.detail}"}]}
        return answer


def _and_why(found: Obstacle, terminal: str) -> Obstacle:
    """`terminal`: why the one that `run --local` should keep cannot go along."""
    if found.reason is not Reason.TERMINAL:
        return found
    return replace(found, seen=f"{found.seen}, and {terminal}", remedy="see whether its `run --local` is still there")


def _findings(capture: Mapping[str, Any], own: tuple[Obstacle, ...], there: Mapping[str, Any]) -> Findings:
    return Findings(
        capture,
        obstacles=(*own, *(_obstacle(item) for item in there["obstacles"])),
        notes=tuple(str(note) for note in there.get("notes", ())),
        shared=tuple((int(source), int(target)) for source, target in there.get("shared", ())),
        streams=there.get("streams"),
    )


def _with(prospect: Prospect, found: Findings) -> Findings:
    """What keeps it from being staged comes first: with it, the rest would be mended."""
    return replace(
        found,
        obstacles=(*prospect.obstacles, *found.obstacles),
        notes=(*prospect.notes, *found.notes),
        staged=prospect.staged,
    )


def _obstacle(item: Mapping[str, Any]) -> Obstacle:
    code = str(item.get("reason", ""))
    reason = Reason(code) if code in Reason.__members__ else Reason.LAUNCH_FAILED
    return Obstacle(reason, str(item.get("seen", "")), str(item.get("remedy", "")))
