"""What is said to Ray's job API and what its answers mean. Pure: no connection, no import of Ray."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from offloader.backends.base import Submission, SubmissionState, SubmissionStatus
from offloader.errors import BackendError

__all__ = ["arguments", "parse_nodes", "parse_status"]

_PIN = 0.001
"""Every Ray node has 1.0 of the resource `node:<its address>`: a sliver of it is a place, not a share."""

_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")

_STATES = {
    "PENDING": SubmissionState.PENDING,
    "RUNNING": SubmissionState.RUNNING,
    "STOPPED": SubmissionState.STOPPED,
    "SUCCEEDED": SubmissionState.SUCCEEDED,
    "FAILED": SubmissionState.FAILED,
}
"""Ray documentation, "Ray Jobs Python SDK API reference", JobStatus: these five; the last three are terminal."""


def arguments(submission: Submission) -> dict[str, Any]:
    """Keyword arguments of JobSubmissionClient.submit_job.

    Ray runs the entrypoint with `/bin/sh -c`: every word is quoted, `exec` leaves no shell between Ray and the
    launcher. There is no runtime_env: whoever may read Ray's API reads it. Without any resource Ray would start the
    job on the head; without GPUs asked for it hides them, which is what the accounting says.
    """
    if not _ID.fullmatch(submission.id):
        raise BackendError(f"not a submission id: {submission.id!r}")
    needs = submission.resources
    return {
        "entrypoint": f"exec {shlex.join(submission.argv)}",
        "submission_id": submission.id,
        "metadata": dict(submission.metadata),
        "entrypoint_num_cpus": needs.cores,
        "entrypoint_memory": needs.memory_bytes,
        "entrypoint_num_gpus": needs.gpus,
        "entrypoint_resources": {f"node:{submission.node.address}": _PIN},
    }


def parse_status(answer: Any) -> SubmissionStatus:
    """A job's details (GET /api/jobs/ID); anything unexpected is UNKNOWN with what was seen."""
    if not isinstance(answer, Mapping):
        return SubmissionStatus(SubmissionState.UNKNOWN, None, f"Ray described the job as {answer!r:.200}")
    word, code, message = answer.get("status"), answer.get("driver_exit_code"), answer.get("message")
    state = _STATES.get(word) if isinstance(word, str) else None
    if state is None:
        return SubmissionStatus(SubmissionState.UNKNOWN, None, f"Ray said status {word!r:.200}")
    exit_code = code if isinstance(code, int) and not isinstance(code, bool) else None
    return SubmissionStatus(state, exit_code, message if isinstance(message, str) else "")


def parse_nodes(answer: Any) -> frozenset[str]:
    """Addresses of the nodes in state ALIVE (GET /api/v0/nodes, Ray's State API). Raises BackendError."""
    try:
        listing = answer["data"]["result"]
        if listing.get("partial_failure_warning"):
            raise BackendError(f"Ray's list of nodes is incomplete: {listing['partial_failure_warning']}")
        return frozenset(str(node["node_ip"]) for node in listing["result"] if node["state"] == "ALIVE")
    except (KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"Ray's list of nodes is not as documented: {answer!r:.200}") from error
