"""What an owner said about his job: it stays here for a while."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Keep"]


@dataclass(frozen=True, slots=True)
class Keep:
    """A job that no rule moves until `until_t`. `processes`: every process of it by boot id, pid and start time."""

    id: str
    processes: tuple[str, ...]
    pid: int
    uid: int
    user: str
    name: str
    created_t: float
    until_t: float
    by_uid: int
