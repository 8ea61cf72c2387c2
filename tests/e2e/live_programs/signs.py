"""What all of these programs do beside their work: tell the witness that they execute, and end when told to."""

import argparse
import os
import sys
from pathlib import Path

NAME, ROOT = sys.argv[1], Path(sys.argv[2])
"""Every program is called with its name and the test bed's directory."""

sys.path.insert(0, str(ROOT / "bin"))

import load  # noqa: E402 (the test bed's sample load; where it lies is an argument)

END = ROOT / "shared" / f"{NAME}.end"
LOG = ROOT / "shared" / f"{NAME}.log"
RESULT = ROOT / "shared" / f"{NAME}.result"
START_ID = os.urandom(8).hex()


def reporter(start_id: str = START_ID, *, leader: bool = True) -> load.Reporter:
    """Of this process."""
    options = argparse.Namespace(name=NAME, witness=load.WITNESS, period=load.PERIOD_S)
    return load.Reporter(options, start_id, leader=leader)


def ready() -> None:
    """Tell the test that the work has begun."""
    load.tell_ready(ROOT / "shared" / f"{NAME}.pid")


def over() -> bool:
    """Whether it is to end."""
    return END.exists()
