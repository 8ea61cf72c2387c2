"""Does this criu work on this kernel? Answered by doing it: a small process is dumped, ended, restored, and continues.

It listens on a TCP port while that happens: versions that are too old for the kernel fail there, or at the vDSO, and
`criu check` notices neither.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import LauncherError
from ..lease import boottime
from ..wire import Document
from . import arguments, tasks
from .arguments import DumpRequest, Options
from .cradle import Cradle
from .execution import Execution, complaint

__all__ = ["round_trip"]

_CODE = 42
_PROGRAM = f"""
import socket, sys
listening = socket.create_server(("127.0.0.1", 0))
sys.stdout.write(str(listening.getsockname()[1]) + "\\n")
sys.stdout.flush()
listening.accept()[0].sendall(b"here")
sys.exit({_CODE})
"""


def round_trip(criu: str, *, limit_s: float = 15.0) -> float:
    """The seconds it took.

    Raises:
        LauncherError: NO_CRIU with what went wrong; also when it was not over after `limit_s`.
    """
    began = boottime()
    folder = Path(tempfile.mkdtemp(prefix="grid-offload-probe-"))
    try:
        _there_and_back(criu, folder, began + limit_s)
    except LauncherError as error:
        raise LauncherError("NO_CRIU", f"{criu} does not work here: {error.detail}") from error
    except OSError as error:
        raise LauncherError("NO_CRIU", f"{criu} could not be tried: {error}") from error
    finally:
        shutil.rmtree(folder)
    return boottime() - began


def _there_and_back(criu: str, folder: Path, deadline: float) -> None:
    with contextlib.ExitStack() as stack:
        program = subprocess.Popen(
            [sys.executable, "-I", "-c", _PROGRAM],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        stack.callback(_end, program)
        port = int(_line(program, deadline))
        task = tasks.look(program.pid)
        if task is None:
            raise LauncherError("NO_CRIU", "the process to be dumped ended by itself")
        _dump(criu, program.pid, folder, deadline)
        _end(program)
        cradle = Cradle("probe", folder / "stderr")
        stack.callback(cradle.close)
        cradle.send(
            do="restore",
            criu=criu,
            images=str(folder),
            options=dataclasses.asdict(Options()),
            inherited=[],
            tasks=[task._replace(parent=0).document()],
            limit_s=max(0.0, deadline - boottime()),
        )
        _expect(cradle, "restored", deadline)
        cradle.send(do="cont")
        _expect(cradle, "continued", deadline)
        with socket.create_connection(("127.0.0.1", port), timeout=max(0.1, deadline - boottime())) as connection:
            if connection.recv(16) != b"here":
                raise LauncherError("NO_CRIU", "the restored process did not answer")
        ended = _expect(cradle, "exited", deadline)
        if ended["exit_code"] != _CODE:
            raise LauncherError("NO_CRIU", f"the restored process ended with {ended['exit_code']}, not {_CODE}")


def _end(program: subprocess.Popen[bytes]) -> None:
    program.kill()
    program.wait()
    if program.stdout is not None:
        program.stdout.close()


def _line(program: subprocess.Popen[bytes], deadline: float) -> bytes:
    assert program.stdout is not None
    if not select.select([program.stdout], [], [], max(0.0, deadline - boottime()))[0]:
        raise LauncherError("NO_CRIU", "the process to be dumped did not start in time")
    return program.stdout.readline()


def _dump(criu: str, pid: int, folder: Path, deadline: float) -> None:
    request = DumpRequest(leader=pid, freezer="", images=str(folder))
    execution = Execution(arguments.dump(criu, request), str(folder / "stderr"))
    try:
        status = execution.wait(deadline - boottime())
    finally:
        execution.close()
    if status != 0:
        words = complaint(str(folder / "dump.log")) if status is not None else "the dump did not end in time"
        raise LauncherError("NO_CRIU", words)


def _expect(cradle: Cradle, name: str, deadline: float) -> Document:
    """The next event, which must be this one."""
    while True:
        left = deadline - boottime()
        if left <= 0 or not select.select([cradle.descriptor], [], [], left)[0]:
            raise LauncherError("NO_CRIU", f"not {name} in time")
        events = cradle.receive()
        if events is None:
            raise LauncherError("NO_CRIU", f"the restoring process ended instead of being {name}")
        for event in events:
            if event["event"] == name:
                return event
            raise LauncherError("NO_CRIU", str(event.get("detail", event)))
