"""What is said to Ray and what its answers mean, without Ray."""

import shlex

import pytest

from offloader.backends import NodeAddress, Submission, SubmissionState, SubmissionStatus
from offloader.backends.ray_jobs import arguments, parse_nodes, parse_status
from offloader.errors import BackendError
from offloader.model import Capacity

ULID = "01JD7Q3ZK8V5X9N2M4B6C8D0EF"


def submission(**changes: object) -> Submission:
    values: dict[str, object] = {
        "id": f"{ULID}-1",
        "node": NodeAddress("gpu1", "10.77.0.2"),
        "argv": ("/usr/bin/python3", "/var/lib/x/launcher.pyz", "hold", "/var/lib/x/attempts/a"),
        "resources": Capacity(1.5, 2_000_000_000, 1),
        "metadata": {"job": ULID, "epoch": "1"},
    }
    return Submission(**(values | changes))


def test_the_job_is_pinned_to_its_node_and_accounted_for():
    """With neither, Ray would start it on the head."""
    found = arguments(submission())
    assert found["entrypoint_resources"] == {"node:10.77.0.2": 0.001}
    assert (found["entrypoint_num_cpus"], found["entrypoint_memory"], found["entrypoint_num_gpus"]) == (
        1.5,
        2_000_000_000,
        1,
    )
    assert found["submission_id"] == f"{ULID}-1"


@pytest.mark.parametrize("word", ["a b", "it's", '"', "$(reboot)", "`x`", "a\nb", "*", ";", "", "--", "ü"])
def test_no_word_of_the_command_line_means_anything_to_rays_shell(word):
    entrypoint = arguments(submission(argv=("/bin/echo", word)))["entrypoint"]
    assert entrypoint.startswith("exec ")
    assert shlex.split(entrypoint)[1:] == ["/bin/echo", word]


def test_nothing_but_these_fields_travels():
    """No runtime_env: what is in there, everybody who reaches Ray can read."""
    assert set(arguments(submission())) == {
        "entrypoint",
        "submission_id",
        "metadata",
        "entrypoint_num_cpus",
        "entrypoint_memory",
        "entrypoint_num_gpus",
        "entrypoint_resources",
    }


@pytest.mark.parametrize("bad", ["", "../x", "a/b", "a b", "x" * 129])
def test_an_id_that_could_mean_another_path_is_refused(bad):
    with pytest.raises(BackendError, match="submission id"):
        arguments(submission(id=bad))


@pytest.mark.parametrize(
    ("answer", "state", "code"),
    [
        ({"status": "PENDING", "message": "waiting"}, SubmissionState.PENDING, None),
        ({"status": "RUNNING"}, SubmissionState.RUNNING, None),
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, SubmissionState.SUCCEEDED, 0),
        ({"status": "FAILED", "driver_exit_code": 7, "message": "x"}, SubmissionState.FAILED, 7),
        ({"status": "FAILED", "driver_exit_code": -9}, SubmissionState.FAILED, -9),
        ({"status": "STOPPED", "driver_exit_code": None}, SubmissionState.STOPPED, None),
        ({"status": "RESTARTING"}, SubmissionState.UNKNOWN, None),
        ({"status": None}, SubmissionState.UNKNOWN, None),
        ({"status": ["FAILED"]}, SubmissionState.UNKNOWN, None),
        ({"status": "FAILED", "driver_exit_code": True}, SubmissionState.FAILED, None),
        ({}, SubmissionState.UNKNOWN, None),
        ([], SubmissionState.UNKNOWN, None),
        ("FAILED", SubmissionState.UNKNOWN, None),
        (None, SubmissionState.UNKNOWN, None),
    ],
)
def test_states_are_translated_and_whatever_else_is_unknown(answer, state, code):
    found = parse_status(answer)
    assert (found.state, found.exit_code) == (state, code)
    assert isinstance(found, SubmissionStatus)
    assert not (state is SubmissionState.UNKNOWN and not found.message)


def nodes(*pairs: tuple[str, str], **more: object) -> dict[str, object]:
    listed = [{"node_ip": ip, "state": state, "node_name": ip} for ip, state in pairs]
    return {"result": True, "data": {"result": {"result": listed, **more}}}


def test_only_nodes_that_are_alive_count():
    assert parse_nodes(nodes(("10.77.0.1", "ALIVE"), ("10.77.0.2", "DEAD"))) == {"10.77.0.1"}
    assert parse_nodes(nodes(("10.77.0.2", "DEAD"), ("10.77.0.2", "ALIVE"))) == {"10.77.0.2"}  # came back


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"data": None}, {"data": {"result": {"result": [{"state": "ALIVE"}]}}}]
)
def test_an_unexpected_list_of_nodes_is_an_error_not_an_empty_cluster(answer):
    with pytest.raises(BackendError, match="not as documented"):
        parse_nodes(answer)


def test_an_incomplete_list_of_nodes_is_an_error():
    with pytest.raises(BackendError, match="half of them"):
        parse_nodes(nodes(("10.77.0.1", "ALIVE"), partial_failure_warning="half of them"))
