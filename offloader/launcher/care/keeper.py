"""The keeper of one service where no service manager runs: starts it, starts it again when it ends, ends it on TERM.

It is a subreaper, so that nothing of the service gets away from it, except where what the service starts is meant to
outlive it (the controller's guards). The service dies with its keeper, however that ends.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

from .. import kernel
from ..detach import Ready
from ..reaper import Tree
from ..wire import Document
from . import record

__all__ = ["Service", "keep"]

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGCHLD})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_STEADY_S = 60.0  # having run so long, it may fail again before pauses grow
_LOOK_S = 30.0
_LOG_BYTES = 16 << 20
_CANNOT_EXECUTE = 127


class Service(NamedTuple):
    """What is kept. `leaves`: what it starts may outlive it; `grace_s`: from TERM to KILL; `mark`: its settings'.

    `account`: as whom it runs, where that is not the keeper's own; `private`: what it writes is for that one alone.
    """

    argv: list[str]
    environ: dict[str, str]
    grace_s: float
    leaves: bool
    mark: str
    account: pwd.struct_passwd | None
    private: bool = False

    @classmethod
    def of(cls, spec: Document) -> Service:
        """From spec.json. Raises KeyError, TypeError, ValueError: it makes no sense."""
        argv, environ = [str(word) for word in spec["argv"]], {str(k): str(v) for k, v in spec["environ"].items()}
        if not argv or not argv[0].startswith("/"):
            raise ValueError("argv must begin with an absolute path")
        account = pwd.getpwnam(str(spec["user"]))
        other = account if account.pw_uid != os.geteuid() else None
        leaves, private = bool(spec["leaves"]), bool(spec.get("private"))
        return cls(argv, environ, float(spec["grace_s"]), leaves, str(spec["mark"]), other, private)


def keep(directory: Path, service: Service, ready: Ready) -> int:
    """Run until told to end. Returns the exit status of the keeper itself."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    if not service.leaves:
        kernel.become_subreaper()
    keeper = _Keeper(directory, service)
    keeper.start()
    ready()
    keeper.tend()
    return 0


class _Keeper:
    def __init__(self, directory: Path, service: Service) -> None:
        self._directory = directory
        self._service = service
        self._me = record.identity(os.getpid())
        self._tree = Tree()
        self._began = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._restarts = 0
        self._last: Document | None = None

    def start(self) -> None:
        log = os.open(self._directory / record.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_the_service(log, keeper)
        os.close(log)
        self._tree.adopt(pid)
        self._tree.leader_status = None
        self._began = time.monotonic()
        self._write(record.identity(pid))

    def tend(self) -> None:
        while True:
            if self._told_to_end(_LOOK_S):
                self._end()
                return
            self._tree.collect()
            _shorten(self._directory)
            if self._tree.leader_status is not None and self._rest():
                return

    def _rest(self) -> bool:
        """The service has ended: what is left of it ends, too, and after a pause it starts again. True: told to end."""
        status = self._tree.leader_status
        assert status is not None
        if not self._service.leaves:
            self._tree.kill()
        self._last = {"status": os.waitstatus_to_exitcode(status), "t": time.time()}
        if time.monotonic() - self._began > _STEADY_S:
            self._pause_s = _FIRST_PAUSE_S
        self._write(None)
        deadline = time.monotonic() + self._pause_s
        while (left := deadline - time.monotonic()) > 0:
            if self._told_to_end(left):
                self._write(None, over=True)
                return True
            self._tree.collect()
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)
        self._restarts += 1
        self.start()
        return False

    def _end(self) -> None:
        """TERM to the service itself, which knows its own parts best; after its grace KILL to all that is left."""
        assert self._tree.leader is not None
        deadline = time.monotonic() + self._service.grace_s
        self._tree.collect()
        if self._tree.leader_status is None:
            os.kill(self._tree.leader, signal.SIGTERM)  # our child, not reaped yet: nobody else can have its pid
        while self._tree.leader_status is None and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
            self._tree.collect()
        if not self._service.leaves:
            self._tree.kill()
        elif self._tree.leader_status is None:
            os.kill(self._tree.leader, signal.SIGKILL)
            os.waitpid(self._tree.leader, 0)
        self._write(None, over=True)

    def _write(self, child: Document | None, *, over: bool = False) -> None:
        record.write(
            self._directory,
            {
                "keeper": None if over else self._me,
                "child": child,
                "since_t": time.time(),
                "restarts": self._restarts,
                "last_exit": self._last,
                "mark": self._service.mark,
            },
        )

    @staticmethod
    def _told_to_end(limit_s: float) -> bool:
        found = signal.sigtimedwait(_SIGNALS, limit_s)
        return found is not None and found.si_signo == signal.SIGTERM

    def _become_the_service(self, log: int, keeper: int) -> None:
        """Never returns."""
        try:
            os.setsid()
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.closerange(3, 256)
            os.umask(0o077 if self._service.private else 0o022)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            service = self._service
            if service.account is not None:
                os.initgroups(service.account.pw_name, service.account.pw_gid)
                os.setresgid(*[service.account.pw_gid] * 3)
                os.setresuid(*[service.account.pw_uid] * 3)
            kernel.die_with_parent(keeper)  # after that: another account clears it (prctl(2))
            os.execve(service.argv[0], service.argv, service.environ)  # noqa: S606 - no shell, on purpose
        except OSError as error:
            os.write(2, f"{self._service.argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(_CANNOT_EXECUTE)


def _shorten(directory: Path) -> None:
    """Keep the log within bounds: it is copied aside and emptied, since the service has it open (O_APPEND)."""
    log = directory / record.LOG
    if log.stat().st_size > _LOG_BYTES:
        shutil.copyfile(log, directory / record.OLD_LOG)
        os.truncate(log, 0)
