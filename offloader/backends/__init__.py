"""Where submissions run: `base.py` says what a backend is; one file each, in the tuple that the contract tests read."""

from offloader.backends.base import Backend, NodeAddress, Submission, SubmissionState, SubmissionStatus
from offloader.backends.fake import FakeBackend
from offloader.backends.ray import RayBackend

__all__ = [
    "BACKENDS",
    "Backend",
    "FakeBackend",
    "NodeAddress",
    "RayBackend",
    "Submission",
    "SubmissionState",
    "SubmissionStatus",
]

BACKENDS: tuple[type[RayBackend] | type[FakeBackend], ...] = (RayBackend, FakeBackend)
