"""Working directories that follow their job: copied before the original is touched, results collected at its end.

Everything is repeatable, and nothing of it decides over the job: a copy that fails is a move that does not begin,
results that cannot be collected stay where they are until they can (docs/protocol.md, Staging).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.model import Obstacle, Reason, StagingLimits
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.staging_pass import Passed, one_pass
from offloader.moves.staging_rules import filters, notes, too_much

__all__ = ["FACT", "Collected", "Prospect", "Staged", "Staging"]

FACT = "staging"
"""The fact of a move under which its Staged is kept, until its results were collected or its copy was taken away."""

_OWNER = ("user", "uid", "gid", "groups", "group_names")
_NO_MANIFEST = "NO_MANIFEST"
_WEIGH_S = 45.0
"""Looking stops at the limits; and a survey's tokens, which preflight needs after it, stay for a minute."""

_LONG_S = 600.0
"""For what goes over a whole tree on one node: a manifest, a merge, a removal."""


@dataclass(frozen=True, slots=True)
class Staged:
    """One copy. `root` is in base64; `source` has the original of the tree, `target` the copy, made for `epoch`."""

    job: str
    epoch: int
    source: str
    target: str
    root: str
    owner: Mapping[str, Any]
    filters: tuple[str, ...]
    bytes: int
    files: int
    reserve_bytes: int

    def document(self) -> dict[str, Any]:
        """For the journal; holds no name of a file but the root's."""
        return asdict(self)

    @classmethod
    def recalled(cls, document: Mapping[str, Any]) -> Staged:
        """The inverse of `document`."""
        return cls(**{**document, "filters": tuple(document["filters"])})

    def request(self, **more: object) -> dict[str, Any]:
        """What every verb is told of it."""
        return {
            "owner": dict(self.owner),
            "root": self.root,
            "filters": list(self.filters),
            "task": f"{self.job}.{self.epoch}",
            "bytes": self.bytes,
            "files": self.files,
            "reserve_bytes": self.reserve_bytes,
            **more,
        }


@dataclass(frozen=True, slots=True)
class Prospect:
    """Whether a directory can be staged: obstacles, notes for people, and the copy that would be made."""

    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()
    staged: Staged | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """Results that came back: files and bytes sent, how many landed, in conflict (and where), removed."""

    files: int
    bytes: int
    landed: int
    conflicts: int
    removed: int
    beside: tuple[str, ...] = ()
    words: tuple[str, ...] = field(default=())


class Staging:
    """Asks the launchers of both nodes."""

    def __init__(self, agents: Mapping[str, Agent], limits: StagingLimits) -> None:
        self._agents = agents
        self.limits = limits

    async def prospect(self, capture: Mapping[str, Any], *, job: str, epoch: int, source: str, target: str) -> Prospect:
        """Weigh a captured process's working directory and ask for room; touches nothing.

        Raises:
            NodeUnreachable: the source cannot be asked.
        """
        root = capture["cwd"]
        shown = base64.b64decode(root).decode("utf-8", "replace")
        staged = Staged(
            job=job,
            epoch=epoch,
            source=source,
            target=target,
            root=root,
            owner={name: capture[name] for name in _OWNER if name in capture},
            filters=filters(self.limits.excludes),
            bytes=0,
            files=0,
            reserve_bytes=self.limits.reserve_bytes,
        )
        limits = {
            "bytes": self.limits.max_bytes,
            "files": self.limits.max_files,
            "file_bytes": self.limits.max_file_bytes,
        }
        asked = json.dumps(staged.request(limits=limits)).encode()
        try:
            weight = await self._agents[source].verb("weigh", stdin=asked, timeout_s=_WEIGH_S)
        except VerbFailed as error:
            remedy = "install rsync there" if error.code == Reason.NO_EXECUTABLE else ""
            return Prospect((Obstacle(_reason(error.code), f"{source}: {error.detail}", remedy),))
        obstacles = too_much(weight, self.limits, shown)
        if obstacles:
            return Prospect(obstacles)
        staged = Staged(
            **{**asdict(staged), "filters": staged.filters, "bytes": weight["bytes"], "files": weight["files"]}
        )
        return Prospect(await self._room(staged, rehearse=True), notes(weight, shown), staged)

    async def copy(self, staged: Staged) -> Passed:
        """Make room and fill it: the first pass, while the original runs.

        Raises:
            VerbFailed: NOT_STAGED, NO_ROOM, NO_DIRECTORY, …
            NodeUnreachable, TimeoutError.
        """
        obstacles = await self._room(staged, rehearse=False)
        if obstacles:
            raise VerbFailed(obstacles[0].reason.value, "; ".join(one.seen for one in obstacles))
        return await self._pass(staged, self.limits.copy_s)

    async def catch_up(self, staged: Staged) -> Passed:
        """The second pass, of what changed since the first: nothing of the job runs. Then both trees are written down.

        Raises: as `copy`.
        """
        async with asyncio.timeout(self.limits.catch_up_s):
            passed = await self._pass(staged, self.limits.catch_up_s)
            await asyncio.gather(*(self._write_down(staged, node) for node in (staged.target, staged.source)))
        return passed

    async def _write_down(self, staged: Staged, node: str) -> None:
        asked = json.dumps(staged.request()).encode()
        limit_s = self.limits.catch_up_s
        await self._agents[node].verb("manifest", self._directory(node, staged), stdin=asked, timeout_s=limit_s)

    async def collect(self, staged: Staged) -> Collected:
        """Bring back what has changed in the copy, then take the copy away. Repeatable after any failure.

        Raises: as `copy`; the copy stays then.
        """
        here, there = self._agents[staged.source], self._agents[staged.target]
        try:
            passed = await one_pass(
                (there, (self._directory(staged.target, staged),)),
                (here, ()),
                staged.request(gone=self.limits.carry_deletions),
                at_most_s=self.limits.copy_s,
            )
        except VerbFailed as error:
            if error.code != _NO_MANIFEST:
                raise
            await self.withdraw(staged)  # as an earlier try did at the target, before it was interrupted
            return Collected(0, 0, 0, 0, 0, words=(error.detail,))
        asked = staged.request(node=staged.target, epoch=staged.epoch, gone=list(passed.header.get("gone", ())))
        merged = await here.verb(
            "merge", self._directory(staged.source, staged), stdin=json.dumps(asked).encode(), timeout_s=_LONG_S
        )
        collected = Collected(
            files=passed.files,
            bytes=passed.bytes,
            landed=int(merged["landed"]),
            conflicts=int(merged["conflicts"]),
            removed=int(merged["removed"]),
            beside=tuple(base64.b64decode(path).decode("utf-8", "replace") for path in merged["beside"]),
            words=passed.words,
        )
        await self.withdraw(staged)
        return collected

    async def withdraw(self, staged: Staged) -> None:
        """Take the copy away, with all that is in it, and what is remembered of both trees.

        Raises:
            NodeUnreachable: a node cannot be asked.
            VerbFailed: NOT_STAGED: something could not be removed.
        """
        for node in (staged.target, staged.source):
            answer = await self._agents[node].verb("unlodge", self._directory(node, staged), timeout_s=_LONG_S)
            if not answer["removed"]:
                raise VerbFailed(Reason.NOT_STAGED.value, f"{node}: {answer['left']}")

    async def _pass(self, staged: Staged, at_most_s: float) -> Passed:
        there = self._agents[staged.target]
        return await one_pass(
            (self._agents[staged.source], ()),
            (there, (self._directory(staged.target, staged),)),
            staged.request(),
            at_most_s=at_most_s,
        )

    async def _room(self, staged: Staged, *, rehearse: bool) -> tuple[Obstacle, ...]:
        target = staged.target
        asked = json.dumps(staged.request(epoch=staged.epoch, rehearse=rehearse)).encode()
        try:
            answer = await self._agents[target].verb("lodge", self._directory(target, staged), stdin=asked)
        except NodeUnreachable as error:
            return (Obstacle(Reason.TARGET_DOWN, str(error)),)
        except VerbFailed as error:
            return (Obstacle(_reason(error.code), f"{target}: {error.detail}"),)
        found = answer["obstacles"]
        return tuple(Obstacle(_reason(one["reason"]), one["seen"], one["remedy"]) for one in found)

    def _directory(self, node: str, staged: Staged) -> str:
        return self._agents[node].staging_dir(staged.job)


def _reason(code: str) -> Reason:
    return Reason(code) if code in Reason.__members__ else Reason.NOT_STAGED
