"""`run` at the desk: for whom, as whom, who may end and read what, and bodies that make no sense."""

import base64
import json
from types import SimpleNamespace

import pytest

from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.api.control import RunRequest
from offloader.daemon.api.run_body import parse_run
from offloader.daemon.runs import Runs
from offloader.errors import NotFound, NotPermitted, Refused, UsageError
from offloader.model import Attempt, AttemptState, Capacity, Job, Policy, Reason
from offloader.moves.starting import Program

ALICE, BOB, SYSTEM = (Caller(7, uid, uid, frozenset()) for uid in (4321, 4322, 33))
JOB = Job("J", "alice", ALICE.uid, "train.py", 1.0)
PROGRAM = Program((b"python3", b"-u", b"/x/train.py", b"--key=s3cret"), (), b"/x", 0o22, b"/bin/python3", "0" * 64, 1)


class Acting:
    def __init__(self) -> None:
        self.plans = []
        self.ended = []

    async def run(self, plan):
        self.plans.append(plan)
        return JOB

    async def end(self, job_id):
        self.ended.append(job_id)

    def output(self, attempt, **how):
        return attempt.epoch, how


class Store:
    def __init__(self) -> None:
        self.attempt_list = (Attempt("J", 1, "gpu1", "ray", None, 5, AttemptState.RUNNING, 1.0),)

    def job(self, job_id):
        return JOB if job_id == "J" else None

    def move(self, _):
        return None

    def move_of_job(self, _):
        return None

    def attempts(self, _):
        return self.attempt_list

    def events(self, **_):
        return ()


@pytest.fixture(name="parts")
def _parts():
    return SimpleNamespace(
        records_only=None,
        acting=Acting(),
        backend="ray",
        store=Store(),
        clock=SimpleNamespace(time=lambda: 1.0),
        decisions=SimpleNamespace(told=lambda *words, **_: said.append(words)),
    )


said: list[tuple[object, ...]] = []


def runs(parts, **policy) -> Runs:
    setup = SimpleNamespace(policy=Policy(**{"head": "head", "own_uid": 0, "multi_user": True, **policy}))
    return Runs(SimpleNamespace(parts=parts, setup=setup), Permissions(0))


async def test_a_job_runs_as_whoever_asks_and_only_its_name_is_told(parts):
    said.clear()
    await runs(parts).run(ALICE, RunRequest(PROGRAM, Capacity(2.0)))
    plan = parts.acting.plans[0]
    assert (plan.uid, plan.pid, plan.name, plan.needs.cores) == (ALICE.uid, ALICE.pid, "train.py", 2.0)
    assert "s3cret" not in repr(said)


@pytest.mark.parametrize(
    ("caller", "policy", "reason"),
    [(SYSTEM, {}, Reason.SYSTEM_USER), (BOB, {"multi_user": False, "own_uid": ALICE.uid}, Reason.OTHER_USER)],
)
async def test_for_whom_the_cluster_does_not_work_is_refused(parts, caller, policy, reason):
    with pytest.raises(Refused) as refusal:
        await runs(parts, **policy).run(caller, RunRequest(PROGRAM, Capacity()))
    assert refusal.value.reason is reason
    assert parts.acting.plans == []


async def test_only_its_owner_and_root_end_it_and_read_what_it_wrote(parts):
    with pytest.raises(NotPermitted):
        await runs(parts).end(BOB, "J")
    with pytest.raises(NotPermitted):
        await runs(parts).output(BOB, "J", epoch=None, stream=1, offset=0, follow=False)
    assert (await runs(parts).show(BOB, "J"))["name"] == "train.py"
    await runs(parts).end(ALICE, "J")
    assert parts.acting.ended == ["J"]
    epoch, how = await runs(parts).output(ALICE, "J", epoch=None, stream=2, offset=3, follow=True)
    assert (epoch, how) == (1, {"stream": 2, "offset": 3, "follow": True})
    with pytest.raises(NotFound):
        await runs(parts).output(ALICE, "J", epoch=2, stream=1, offset=0, follow=False)
    with pytest.raises(NotFound):
        await runs(parts).show(ALICE, "nobody")


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


GOOD = {
    "argv": [packed("a")],
    "environ": [packed("A=b")],
    "cwd": packed("/"),
    "umask": 18,
    "path": packed("/bin/a"),
    "digest": "0" * 64,
    "size": 1,
}


def test_a_body_becomes_a_request():
    asked = parse_run(json.dumps({**GOOD, "files": [[packed("/f"), None]], "cores": 0.5}).encode())
    assert asked.program == Program((b"a",), (b"A=b",), b"/", 18, b"/bin/a", "0" * 64, 1, ((b"/f", None),))
    assert asked.needs == Capacity(0.5, 1 << 30)
    assert asked.restart_safe is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"argv": []}, "'argv' must be a list of 1"),
        ({"argv": ["?"]}, "'argv' must be base64"),
        ({"argv": [packed("a\0")]}, "'argv' must not hold a NUL"),
        ({"environ": [packed("A")]}, "'environ' must hold NAME=VALUE"),
        ({"cwd": packed("x")}, "'cwd' must be an absolute path"),
        ({"umask": 0o1000}, "'umask' must be between"),
        ({"digest": "no"}, "'digest' must be a SHA-256"),
        ({"files": [["x"]]}, "'files' must hold pairs"),
        ({"cores": 0}, "'cores' must be a number of cores"),
        ({"cores": float("nan")}, "no JSON number"),
        ({"uid": 0}, "unknown field 'uid'"),
    ],
)
def test_bodies_that_make_no_sense_say_why(change, words):
    with pytest.raises(UsageError, match=words):
        parse_run(json.dumps({**GOOD, **change}).encode())
