"""Making this machine ready, as the first step of whatever needs it."""

import subprocess

from _testbed.errors import MissingRequirementError
from _testbed.settings import PROJECT

__all__ = ["ensure_setup"]


def ensure_setup() -> None:
    """Run deploy/setup; quick when nothing is to be done. Raises MissingRequirementError: it has said why."""
    if subprocess.run([str(PROJECT / "deploy" / "setup")], check=False).returncode:
        raise MissingRequirementError("deploy/setup failed; its message is above")
