"""Fork, become the owner, restore the original's circumstances, execve: no shell anywhere.

The child reports over a pipe: one JSON line when a step fails, `R` right before execve, and end of file (close-on-exec)
when execve succeeded. Only async-signal-unsafe Python runs in the child, which is fine: the launcher has no threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from . import environment, output, owner, stdio
from .capsule import Capsule, Image
from .kernel import die_with_parent

__all__ = ["Launched", "launch", "outcome"]

_READY = b"R"
_REPORT_LIMIT = 4096


class Launched(NamedTuple):
    """The forked child and the pipe on which it reports."""

    pid: int
    report: int


def launch(capsule: Capsule, log: int) -> Launched:
    """Fork the successor. `log` is the open output.log, which belongs to the owner already."""
    openings, problems, _ = stdio.plan(capsule)
    if problems:
        raise OSError(0, problems[0].seen)
    variables = environment.build(capsule.image.environ, capsule.env_add, capsule.pass_env, os.environb)
    variables[b"OFFLOADING_TASK_ID"] = os.fsencode(capsule.task)
    with output.errors_log(log, capsule) as errors:
        reading, writing = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _Child(capsule.image, openings, variables, (log, errors), writing, parent).run()
    os.close(writing)
    os.set_blocking(reading, False)
    return Launched(pid, reading)


def outcome(report: bytes) -> str | None:
    """What a complete report means: None when execve succeeded, else what failed."""
    if report == _READY:
        return None
    with contextlib.suppress(ValueError):
        return str(json.loads(report.removeprefix(_READY))["failed"])
    return "it ended before its command could be executed"


@dataclass(frozen=True)
class _Child:
    """The steps between fork and execve, in their order."""

    _image: Image
    _openings: dict[int, stdio.Opening]
    _variables: dict[bytes, bytes]
    _logs: tuple[int, int]  # for standard output, for standard error
    _report: int
    _parent: int

    def run(self) -> NoReturn:
        """Never returns."""
        step = "starting"
        try:
            for name, action in (
                ("making a session", os.setsid),
                ("setting priorities", self._priorities),
                ("raising limits", self._raise_limits),
                ("resetting signals", self._signals),
                ("becoming the owner", lambda: owner.become(self._image)),
                ("tying its life to the launcher's", lambda: die_with_parent(self._parent)),
                ("entering the working directory", lambda: os.chdir(self._image.cwd)),
                ("opening its streams", self._streams),
                ("setting limits", self._limits),
                ("executing", self._execute),
            ):
                step = name
                action()
        except BaseException as error:  # noqa: BLE001 (the child must not run the parent's code)
            text = f"{step}: {getattr(error, 'strerror', None) or error}"
            os.write(self._report, json.dumps({"failed": text[:_REPORT_LIMIT]}).encode("ascii"))
        os._exit(127)

    def _priorities(self) -> None:
        """Best effort: an ordinary user may not raise them again, and a node may have other processors."""
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(self._image.oom_score_adj), encoding="ascii")
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, self._image.nice)
        if self._image.affinity is not None:
            with contextlib.suppress(OSError):  # none of those processors exists here: it stays where the launcher is
                os.sched_setaffinity(0, self._image.affinity)

    def _raise_limits(self) -> None:
        for number, (_, hard) in self._known_limits():
            soft_now, hard_now = resource.getrlimit(number)
            if _above(hard, hard_now):
                with contextlib.suppress(OSError, ValueError):
                    resource.setrlimit(number, (soft_now, hard))

    def _limits(self) -> None:
        """As captured, cut down to what this node allows."""
        for number, (soft, hard) in self._known_limits():
            hard_now = resource.getrlimit(number)[1]
            hard_new = hard_now if _above(hard, hard_now) else hard
            soft_new = hard_new if _above(soft, hard_new) else soft
            resource.setrlimit(number, (soft_new, hard_new))

    def _known_limits(self) -> list[tuple[int, tuple[int, int]]]:
        numbers = ((getattr(resource, f"RLIMIT_{name}", None), pair) for name, pair in self._image.rlimits.items())
        return [(number, pair) for number, pair in numbers if number is not None]

    def _signals(self) -> None:
        """Default everywhere (the launcher's Python ignores SIGPIPE), but for a SIGHUP that nohup ignored."""
        os.umask(self._image.umask)
        for number in range(1, signal.NSIG):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        if self._image.hup_ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def _streams(self) -> None:
        """Opened with the owner's rights: a symbolic link leads nowhere that the owner could not go itself."""
        opened = {number: self._open(number, opening) for number, opening in self._openings.items()}
        for number, descriptor in opened.items():
            if descriptor is None:
                with contextlib.suppress(OSError):
                    os.close(number)
            else:
                os.dup2(descriptor, number)
        # Whatever the backend left open (sockets, token files) must not reach the job.
        os.closerange(3, self._report)
        os.closerange(self._report + 1, os.sysconf("SC_OPEN_MAX"))

    def _open(self, number: int, opening: stdio.Opening) -> int | None:
        if opening.how == "closed":
            return None
        if opening.how == "log":
            return self._logs[number - 1]
        if opening.how == "file":
            return _above_streams(os.open(opening.path, opening.flags))
        return _above_streams(os.open("/dev/null", os.O_RDONLY if number == 0 else os.O_WRONLY))

    def _execute(self) -> None:
        os.write(self._report, _READY)
        os.execve(self._image.exe.path, self._image.argv, self._variables)  # noqa: S606 (no shell is the point)


def _above(limit: int, other: int) -> bool:
    """Whether a limit is higher than another one; infinity is -1."""
    if limit == resource.RLIM_INFINITY:
        return other != resource.RLIM_INFINITY
    return other != resource.RLIM_INFINITY and limit > other


def _above_streams(descriptor: int) -> int:
    """Out of the way of 0, 1 and 2, which are still to be filled."""
    if descriptor > 2:  # noqa: PLR2004 (the standard streams)
        return descriptor
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 3)
