"""The init of a restored job's namespaces: restores, proves, continues, reaps. Started by `cradle`."""

from __future__ import annotations

import os
import select
import selectors
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import proc
from ..errors import LauncherError
from ..lease import boottime
from ..reaper import descendants, signal_one
from ..stopping import stopped
from ..wakeup import Wakeup
from ..wire import Document, LineBuffer, encode
from . import arguments, tasks
from .arguments import Inherited, Options, RestoreRequest
from .execution import Execution, complaint
from .session import Session

__all__ = ["Init", "free_stretch", "main"]

_PAUSE_S = 0.001
_NEEDED_PIDS = 64  # criu's own: one for itself, one for each helper
_FIRST_PID = 300  # the kernel's own restart value (kernel/pid.c, RESERVED_PIDS)


def free_stretch(taken: Sequence[int], most: int) -> int:
    """A pid after which the next 64 are none of those taken, so that criu never sits where a task belongs."""
    last = _FIRST_PID
    for pid in sorted(one for one in taken if one >= _FIRST_PID):
        if pid - last > _NEEDED_PIDS:
            return last
        last = pid
    return last if most - last > _NEEDED_PIDS else _FIRST_PID


class Init:
    """Waiting, restoring, stopped, running, over: in this order, and never back."""

    def __init__(self, control: int, terminal: int | None, passed: Sequence[int]) -> None:
        self._control = control
        self._session = Session.on(terminal)
        self._passed = list(passed)
        self._buffer = LineBuffer()
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._wakeup = Wakeup(self._selector, (signal.SIGCHLD,))
        self._execution: Execution | None = None
        self._message: Document = {}
        self._began = self._deadline = 0.0
        self._leader = 0
        self._leader_status: int | None = None
        self._continued = False

    def run(self) -> int:
        """Until the tree has ended; returns the leader's exit code (128 + signal). Whatever goes wrong ends it."""
        try:
            while True:
                limit = self._deadline - boottime() if self._execution is not None else None
                for key, _ in self._selector.select(limit):
                    if key.data is None:
                        self._listen()
                self._wakeup.drain()
                if not self._reap():
                    return self._tell_exit()
                self._restoring()
        except LauncherError as error:
            self._say({"event": "failed", "reason": error.code, "detail": error.detail})
        except EOFError:
            pass  # the launcher is gone, or wants no more of it
        return 1

    def _listen(self) -> None:
        data = os.read(self._control, 1 << 16)
        if not data:
            raise EOFError
        for message in self._buffer.feed(data):
            if message.get("do") == "restore" and not self._message:
                self._restore(message)
            elif message.get("do") == "cont":
                self._continue()
            elif message.get("do") == "signal":
                self._session.signal(int(message["number"]))

    def _restore(self, message: Document) -> None:
        self._message = message
        self._began = boottime()
        self._deadline = self._began + float(message["limit_s"])
        _keep_clear([int(task["pid"]) for task in message["tasks"]])
        inherited = [Inherited(int(number), resource) for number, resource in message["inherited"]]
        request = RestoreRequest(message["images"], Options(**message["options"]), inherited)
        self._execution = Execution(
            arguments.restore(message["criu"], request),
            os.path.join(message["images"], "stderr"),
            passed=[one.descriptor for one in inherited],
            terminal=self._session.terminal,
        )

    def _restoring(self) -> None:
        """Whether criu has ended, and how."""
        if self._execution is None:
            return
        status = self._execution.status
        if status is None:
            if boottime() >= self._deadline:
                raise LauncherError("TIMEOUT", f"criu did not restore it in {self._message['limit_s']} s")
            return
        images = self._message["images"]
        if status != 0:
            raise LauncherError("LAUNCH_FAILED", f"criu: {complaint(os.path.join(images, 'restore.log'))}")
        os.close(self._execution.descriptor)
        self._execution = None
        self._leader = int(Path(images, "restored.pid").read_text(encoding="ascii"))
        self._prove()
        self._session.let_have(self._leader, self._message.get("foreground"))
        for descriptor in self._passed:
            os.close(descriptor)  # or the job would keep its own pipes open for ever
        self._say({"event": "restored", "pid": self._leader, "took_s": round(boottime() - self._began, 6)})

    def _prove(self) -> None:
        """Every task is there, is who it was, and has stopped before it executed anything."""
        while True:
            pids = [stat.pid for stat in descendants(os.getpid())]
            found = tasks.look_all(pids)
            wrong = tasks.differences(self._message["tasks"], found)
            if wrong:
                raise LauncherError("NOT_PROVEN", "; ".join(wrong[:5]))
            if all(stopped(pid) for pid in pids):
                return
            if boottime() >= self._deadline:
                raise LauncherError("TIMEOUT", "not every restored process stopped")
            select.select([], [], [], _PAUSE_S)

    def _continue(self) -> None:
        """Children first, so that no parent sees a stopped child."""
        if not self._leader:
            raise LauncherError("BAD_MESSAGE", "nothing was restored that could continue")
        if not self._continued:
            self._continued = True
            for stat in reversed(descendants(os.getpid())):
                signal_one(stat, signal.SIGCONT)
        self._say({"event": "continued"})

    def _reap(self) -> bool:
        """Take whoever ended; False when the job was restored and nobody of it is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | self._session.watched)
            except ChildProcessError:
                return not self._leader
            if pid == 0:
                return True
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                if pid == self._leader and self._continued and (news := self._session.news(status)) is not None:
                    self._say(news)
            elif self._execution is not None and pid == self._execution.pid:
                self._execution.status = status
            elif pid == self._leader:
                self._leader_status = status
                self._session.ended()

    def _tell_exit(self) -> int:
        code = os.waitstatus_to_exitcode(self._leader_status or 0)
        number = -code if code < 0 else None
        self._say({"event": "exited", "exit_code": code if number is None else 128 + number, "signal": number})
        return code if number is None else 128 + number

    def _say(self, document: Document) -> None:
        os.write(self._control, encode(document))


def _keep_clear(taken: Sequence[int]) -> None:
    """Let criu's own pids begin where no task's are (proc_sys_kernel(5): ns_last_pid)."""
    most = int(proc.read_bytes("/proc/sys/kernel/pid_max"))
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(free_stretch(taken, most)), encoding="ascii")


def main(arguments: list[str]) -> None:
    """Be the init: the control socket, its terminal (-1: it has none), descriptors for restored processes."""
    control, terminal, *passed = map(int, arguments)
    status = Init(control, terminal if terminal >= 0 else None, passed).run()
    sys.stderr.flush()
    os._exit(status)
