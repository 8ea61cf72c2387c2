"""A training that saves every ten steps, and at the end of a step when it is asked to."""

import os
import signal
import sys
import time

import signs
from signs import load

EVERY, STEP_S, SAVED = 10, 0.2, 85
STATE = signs.ROOT / "shared" / f"{signs.NAME}.state"
asked = False


def ask(*_: object) -> None:
    """USR1."""
    global asked  # noqa: PLW0603 (a signal handler has no other way)
    asked = True


def save(done: int) -> None:
    """Whole or not at all."""
    partial = STATE.with_suffix(".partial")
    partial.write_text(str(done), encoding="ascii")
    partial.rename(STATE)


signal.signal(signal.SIGUSR1, ask)
done = int(STATE.read_text(encoding="ascii")) if STATE.exists() else 0
told = signs.reporter()
signs.ready()
with signs.LOG.open("a", encoding="ascii") as log:
    while not signs.over():
        for _ in range(4):
            told.report()
            load.compute(STEP_S / 4, 0.1)
        done += 1
        print(done, time.time(), os.uname().nodename, file=log, flush=True)
        if asked or done % EVERY == 0:
            save(done)
        if asked:
            sys.exit(SAVED)
sys.exit(11)
