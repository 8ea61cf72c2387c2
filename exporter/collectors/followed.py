"""What is known of a process that is exported: read when it begins to matter, and again as far as it may change."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from exporter.classify import classify, head_of
from exporter.collectors.process_metrics import INFO, MOVABLE, PER_PROCESS
from exporter.metrics import Metric, Sample, label_text
from exporter.movability import ALLOW, NEVER, STOPPED_STATES, WISH, Policy, container_of, hindrance_of, path_of
from exporter.procfs.pid import PF_FORKNOEXEC, PidStat
from exporter.procfs.process import ProcessFacts, Procfs
from exporter.procfs.scan import ScannedProcess

_UNKNOWN_UID = -1
_NAMES_KEPT = 1024
_IDENTIFY_EVERY = 64
"""Samples after which a process is looked at as if it were new: a program may execute another of the same name."""


@dataclass(frozen=True, slots=True)
class _Identity:
    """What is read of a process when it becomes significant, and again when it executes something else.

    `facts` are as of then; `forked`: it had executed nothing of its own yet; `told`: its environment and its executable
    could be looked at; `series` are the names of its series, rendered once.
    """

    comm: str
    labels: tuple[str, str, str, str]
    forked: bool
    facts: ProcessFacts
    told: bool
    wish: str | None
    series: dict[Metric, str]


@dataclass(frozen=True, slots=True)
class _Details:
    """What is read while a process works, and remembered while it sleeps. Bytes; None: gone or denied."""

    resident: int
    swap: int | None
    uss: int | None
    io: tuple[int, int] | None
    tracer_pid: int
    uid: int
    denied: bool


class _Condition(NamedTuple):
    """What of a process decides whether it is movable and may change while it runs."""

    uid: int
    stopped: bool
    tracer_pid: int
    pgid: int
    tty_nr: int
    tpgid: int


@dataclass(slots=True)
class Followed:
    """One exported process."""

    identity: _Identity
    details: _Details
    condition: _Condition
    movable: Sample | None


class Following:
    """Follows the exported processes, and remembers some that were exported.

    Args:
        min_uid: Accounts below are the system's.
        kept: How many processes are remembered.
    """

    def __init__(self, procfs: Procfs, min_uid: int, kept: int) -> None:
        self._procfs = procfs
        self._min_uid = min_uid
        self._kept = kept
        self._followed: dict[tuple[int, int], Followed] = {}
        self._looks = 0

    def begin(self) -> None:
        """Another sample begins."""
        self._looks += 1

    def follow(self, process: ScannedProcess) -> Followed | None:
        """Reads what may have changed. None for a process that is gone. Raises ParseError."""
        stat = process.stat
        key = stat.pid, stat.start_time
        followed = self._followed.pop(key, None)
        if followed is None or self._is_another(followed, process):
            followed = self._first_look(process)
        elif process.fresh:
            followed = self._another_look(followed, process)
        if followed is not None:
            self._followed[key] = followed  # at the end: the dictionary's order is the order of last use
        return followed

    def end(self) -> None:
        """The sample is complete: those not seen for the longest are forgotten."""
        while len(self._followed) > self._kept:
            del self._followed[next(iter(self._followed))]

    def _is_another(self, followed: Followed, process: ScannedProcess) -> bool:
        """Whether it executes something else by now, or may: that shows by its name, or not at all."""
        identity, stat = followed.identity, process.stat
        executed = identity.forked and not stat.flags & PF_FORKNOEXEC
        return identity.comm != stat.comm or executed or (stat.pid + self._looks) % _IDENTIFY_EVERY == 0

    def _first_look(self, process: ScannedProcess) -> Followed | None:
        stat = process.stat
        facts = self._procfs.facts(stat.pid)
        if facts is None:
            return None
        user = _user_name(facts.uid)
        labels = str(stat.pid), label_text(stat.comm), user, classify(facts.argv, comm=stat.comm).value
        series = {metric: metric.series(*labels) for metric in PER_PROCESS}
        series[INFO] = INFO.series(labels[0], str(stat.start_time), *labels[1:])
        environ = self._procfs.environ(stat.pid)
        identity = _Identity(
            comm=stat.comm,
            labels=labels,
            forked=bool(stat.flags & PF_FORKNOEXEC),
            facts=replace(facts, argv=head_of(facts.argv)),
            told=environ is not None and (facts.exe is not None or facts.exe_mode is not None),
            wish=_wish(environ or {}),
            series=series,
        )
        details = self._details(process)
        condition = _condition(stat, details)
        return Followed(identity, details, condition, self._movable(identity, stat, condition))

    def _another_look(self, followed: Followed, process: ScannedProcess) -> Followed | None:
        followed.details = self._details(process)
        condition = _condition(process.stat, followed.details)
        if condition.uid not in (followed.condition.uid, _UNKNOWN_UID):
            return self._first_look(process)
        if condition != followed.condition:
            followed.condition = condition
            followed.movable = self._movable(followed.identity, process.stat, condition)
        return followed

    def _details(self, process: ScannedProcess) -> _Details:
        pid, page = process.stat.pid, self._procfs.page_size
        status, io = self._procfs.status(process.memory), self._procfs.io(pid)
        statm = self._procfs.statm(process.memory)  # after io: who has this and not that is denied that
        return _Details(
            resident=(statm.resident if statm is not None else process.resident) * page,
            swap=status.swap if status is not None else None,
            uss=max(0, statm.resident - statm.shared) * page if statm is not None else None,
            io=(io.read_bytes, io.write_bytes) if io is not None else None,
            tracer_pid=status.tracer_pid if status is not None else 0,
            uid=status.uids[1] if status is not None else _UNKNOWN_UID,
            denied=io is None and statm is not None,
        )

    def _movable(self, identity: _Identity, stat: PidStat, now: _Condition) -> Sample | None:
        """None where nothing is seen that forbids it, but not everything can be seen."""
        facts = replace(
            identity.facts,
            uid=now.uid,
            state=stat.state,
            tracer_pid=now.tracer_pid,
            pgid=now.pgid,
            tty_nr=now.tty_nr,
            tpgid=now.tpgid,
        )
        hindrance = hindrance_of(facts, identity.wish, self._policy)
        if hindrance is None and not identity.told:
            return None
        return MOVABLE.sample(hindrance is None, *identity.labels, hindrance.value if hindrance is not None else "")

    @cached_property
    def _policy(self) -> Policy:
        own = self._procfs.cgroups(os.getpid()) or ()
        return Policy(self._min_uid, container_of(path_of(own)))


def _condition(stat: PidStat, details: _Details) -> _Condition:
    return _Condition(details.uid, stat.state in STOPPED_STATES, details.tracer_pid, stat.pgid, stat.tty_nr, stat.tpgid)


def _wish(environ: Mapping[bytes, bytes]) -> str | None:
    """What its owner said at its start. The rest of the environment holds secrets and goes at once."""
    wish = environ.get(WISH, b"").decode("ascii", "replace")
    return wish if wish in (ALLOW, NEVER) else None


_names: dict[int, str] = {}
"""Users' names by uid; a directory service may take its time."""


def _user_name(uid: int) -> str:
    """The name as a label; the number where there is none now, which is not remembered: the service may be away."""
    if uid in _names:
        return _names[uid]
    try:
        name = label_text(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)
    if len(_names) >= _NAMES_KEPT:
        _names.clear()
    _names[uid] = name
    return name
