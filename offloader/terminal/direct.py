"""`run --local` where no terminal gives the input: the job gets our streams as they are, in our own process group.

The terminal's signals (Ctrl-C of a pipeline, say) then reach it without us. What is sent to us alone we pass on; the
kernel says which is which by si_code (sigaction(2)): SI_KERNEL for the terminal's.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from .endpoint import Ended
from .local_pty import RUN_MARK, NotStarted

__all__ = ["run_direct"]

_PASSED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})
_WAITED = (*_PASSED, signal.SIGCHLD)


def run_direct(argv: Sequence[bytes], environ: Mapping[bytes, bytes], *, name: str) -> Ended:
    """Run the command to its end. `name`: what GRID_OFFLOAD_RUN says. Raises NotStarted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    failed, failing = os.pipe()
    job = os.fork()
    if job == 0:
        try:
            for number in (*_WAITED, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.execvpe(argv[0], list(argv), {**environ, RUN_MARK: os.fsencode(name)})  # noqa: S606 (no shell)
        except OSError as error:
            os.write(failing, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(failing)
    reason = os.read(failed, 16)
    os.close(failed)
    try:
        return _until_over(job)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if reason:
            raise NotStarted(int(reason), os.fsdecode(argv[0]))


def _until_over(job: int) -> Ended:
    while True:
        pid, status = os.waitpid(job, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return Ended(exit_code=code) if code >= 0 else Ended(signal=-code)
        came = signal.sigwaitinfo(_WAITED)
        if came.si_signo in _PASSED and came.si_code <= 0:
            os.kill(job, came.si_signo)
