"""Jobs that their owners keep here: in the journal, hence across restarts; each for a limited time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from offloader.engine.schema import identity_key
from offloader.errors import UsageError
from offloader.model import Candidate, Keep, Move, Process, Reason

__all__ = ["KEEPS", "Keeps"]

KEEPS = "keeps"
"""Setting in the journal: a list of keeps."""

_PER_USER = 200


class Keeps:
    """The keeps of one controller. `settings`: the part of the journal that keeps settings."""

    def __init__(self, settings: Any, now: Callable[[], float]) -> None:
        self._settings = settings
        self._now = now
        stored = settings.setting(KEEPS) or []
        self._keeps = tuple(Keep(**{**one, "processes": tuple(one["processes"])}) for one in stored)

    def active(self) -> tuple[Keep, ...]:
        """Those that hold now, oldest first."""
        now = self._now()
        return tuple(one for one in self._keeps if one.until_t > now)

    def until(self, processes: Mapping[int, Process]) -> dict[int, float]:
        """Pids of kept processes, and until when."""
        by_process = {key: one.until_t for one in self.active() for key in one.processes}
        if not by_process:
            return {}
        keys = {pid: identity_key(process.identity) for pid, process in processes.items()}
        return {pid: by_process[key] for pid, key in keys.items() if key in by_process}

    def add(self, candidate: Candidate, *, until_t: float, by_uid: int) -> Keep:
        """Keep this job. An earlier keep of any of its processes is replaced.

        Raises:
            UsageError: its owner keeps very many already.
            JournalError: it could not be written down, so it does not hold.
        """
        leader, now = candidate.leader, self._now()
        keys = tuple(identity_key(member.identity) for member in candidate.members)
        others = [one for one in self.active() if not set(keys) & set(one.processes)]
        if sum(one.uid == leader.identity.uid for one in others) >= _PER_USER:
            raise UsageError(
                f"{leader.user} keeps {_PER_USER} jobs already: `grid-offloader keep --list`, then --release"
            )
        keep = Keep(
            id=f"keep_{int(now)}_{leader.pid}",
            processes=keys,
            pid=leader.pid,
            uid=leader.identity.uid,
            user=leader.user,
            name=leader.name,
            created_t=now,
            until_t=until_t,
            by_uid=by_uid,
        )
        self._store((*others, keep))
        return keep

    def release(self, keep: Keep) -> None:
        """It may be moved again. Raises JournalError."""
        self._store(tuple(one for one in self.active() if one.id != keep.id))

    def forget_gone(self, processes: Mapping[int, Process]) -> None:
        """Drop keeps whose processes have all ended. `processes`: every one of this machine. Raises JournalError."""
        alive = {identity_key(process.identity) for process in processes.values()}
        left = tuple(one for one in self.active() if alive & set(one.processes))
        if left != self._keeps:
            self._store(left)

    def forbidden(self, move: Move | None) -> tuple[Reason, str] | None:
        """Asked before every irreversible step of a move: a kept job is not moved automatically."""
        if move is None:
            return None
        key = identity_key(move.identity)
        if move.automatic and any(key in one.processes for one in self.active()):
            return Reason.KEPT, "its owner keeps it here"
        return None

    def _store(self, keeps: tuple[Keep, ...]) -> None:
        self._settings.set_setting(KEEPS, [asdict(one) for one in keeps])
        self._keeps = keeps
