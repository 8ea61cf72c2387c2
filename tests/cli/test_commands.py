"""Every command: what it asks of the controller, what it prints where, and its exit code."""

import io
import json
import sys

import pytest

from offloader.daemon.api.control import AutoRequest, KeepRequest, MoveRequest
from offloader.errors import JournalError, NotFound, NotPermitted, Refused
from offloader.model import Mode, Obstacle, Reason, Resource, StrategyName

from .conftest import chunks, move_document

STATUS = {
    "running": True,
    "ceiling": "auto",
    "enabled": True,
    "kill_switch": False,
    "thresholds": {"cpu": 0.8},
    "rules": [],
    "moves_in_flight": [],
    "last_decision": None,
}


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["--enable"], AutoRequest(enabled=True)),
        (["--enable", "--mode", "advise"], AutoRequest(enabled=True, mode=Mode.ADVISE)),
        (
            ["--enable", "--threshold", "cpu=80", "memory=65", "gpu=90"],
            AutoRequest(True, None, {Resource.CPU: 0.8, Resource.MEMORY: 0.65, Resource.GPU: 0.9}),
        ),
        (
            ["--threshold", "cpu=80", "--enable", "--threshold", "memory=65"],
            AutoRequest(True, None, {Resource.CPU: 0.8, Resource.MEMORY: 0.65}),
        ),
        (["--enable", "--threshold", "70"], AutoRequest(True, None, {Resource.MEMORY: 0.7})),
        (["--enable", "--threshold", "70%"], AutoRequest(True, None, {Resource.MEMORY: 0.7})),
        (["--enable", "--threshold", "gpu=default"], AutoRequest(True, None, {Resource.GPU: None})),
        (["--disable"], AutoRequest(enabled=False)),
    ],
)
def test_auto_asks_what_was_said(controller, command, words, asked) -> None:
    controller.answers["auto"] = STATUS
    ran = command("auto", *words, "--format", "json")
    assert ran.code == 0, ran.err
    assert controller.asked == [("auto", (asked,))]
    assert json.loads(ran.out) == STATUS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "exactly one of"),
        (["--enable", "--disable"], "exactly one of"),
        (["--status", "--enable"], "exactly one of"),
        (["--disable", "--threshold", "cpu=80"], "go with --enable"),
        (["--status", "--mode", "auto"], "go with --enable"),
        (["--enable", "cpu=80"], "unexpected argument"),
        (["--enable", "--threshold", "disk=80"], "unknown resource 'disk'"),
        (["--enable", "--threshold", "cpu=lots"], "no percentage"),
        (["--enable", "--threshold", "cpu=nan"], "1 to 100 percent"),
        (["--enable", "--threshold", "cpu=0.8"], "did you mean cpu=80?"),
        (["--enable", "--threshold", "cpu=101"], "1 to 100 percent"),
        (["--enable", "--threshold", "70", "--threshold", "memory=60"], "memory is given twice"),
        (["--enable", "--threshold", "cpu=x", "gpu=y"], "'gpu=y'"),
    ],
)
def test_auto_refuses_what_makes_no_sense_and_asks_nobody(controller, command, words, message) -> None:
    ran = command("auto", *words)
    assert ran.code == 2
    assert message in ran.err
    assert controller.asked == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused(Reason.TARGET_IS_HEAD, "it is the head"), 4),
        (NotPermitted(Reason.NOT_YOURS, "not yours"), 5),
        (NotFound("nothing"), 6),
        (JournalError("disk full"), 8),
    ],
)
def test_every_refusal_has_its_exit_code_and_its_reason(controller, command, error, code) -> None:
    controller.answers["move"] = error
    ran = command("move", "4242")
    assert ran.code == code
    assert ran.out == ""
    assert str(error) in ran.err
    if isinstance(error, Refused):
        assert error.reason in ran.err


def test_a_refusal_shows_every_obstacle_with_what_mends_it(controller, command) -> None:
    obstacles = (Obstacle(Reason.LOCKED, "holds /tmp/x", "release it"), Obstacle(Reason.TRACED, "by gdb", "detach"))
    controller.answers["move"] = Refused(Reason.LOCKED, "not moved: holds /tmp/x", obstacles)
    ran = command("move", "4242")
    assert all(word in ran.err for word in ("release it", "TRACED", "by gdb", "detach"))


def test_move_waits_tells_progress_and_prints_the_end(controller, command) -> None:
    controller.answers["move"] = move_document("planned", loses_s=720.0)
    controller.answers["show"] = move_document("planned", "held", "frozen", "go", "proven", "owned", "ended", "done")
    ran = command("move", "4242", "-t", "gpu1", "--format", "json")
    assert ran.code == 0
    assert [one["state"] for one in json.loads(ran.out)] == ["done"]
    assert controller.asked[0] == ("move", (MoveRequest(4242, "gpu1"),))
    words = ["held", "frozen", "launched", "proven", "committed", "done"]
    positions = [ran.err.index(f" s  {word}") for word in words]
    assert positions == sorted(positions)
    assert "12 min of its work are done again" in ran.err


@pytest.mark.parametrize("state", ["rolled_back", "lost"])
def test_a_move_that_fails_is_exit_code_7_with_the_reason(controller, command, state) -> None:
    controller.answers["move"] = move_document("planned")
    controller.answers["show"] = move_document("planned", state, reason="NOT_PROVEN", detail="it ended with 1")
    ran = command("move", "4242")
    assert ran.code == 7
    assert "NOT_PROVEN" in ran.err
    assert "it ended with 1" in ran.err


def test_execute_is_move_and_detach_does_not_wait(controller, command) -> None:
    controller.answers["move"] = move_document("planned")
    assert command("execute", "4242", "--detach").code == 0
    assert [name for name, _ in controller.asked] == ["move"]


def plan_document(**changes) -> dict:
    """As the controller answers a dry run (docs/api.md)."""
    plan = move_document("planned") | {
        "dry_run": True,
        "would_move": True,
        "target_why": "the least loaded with it, of 2 that can take it",
        "targets": [{"node": "gpu1", "predicted": {"cpu": 0.31}, "obstacles": []}],
        "needs": {"cores": 1.0, "memory_bytes": 5},
        "loses_s": 90.0,
        "processes": 2,
        "members": [{"pid": 4242, "ppid": 1, "name": "train.py"}, {"pid": 4243, "ppid": 4242, "name": "gzip"}],
        "obstacles": [],
        "owner_only": [],
        "passes_over": [],
        "notes": ["/tmp/scratch stays behind"],
        "environment": {"travels": ["HOME", "KEY"], "stays": ["SSH_TTY"], "added": []},
        "streams": {"stdin": {"source": "tty", "target": "null"}, "stdout": {"source": "file", "target": "file"}},
    }
    return plan | changes


def test_options_of_move_arrive(controller, command) -> None:
    controller.answers["move"] = plan_document()
    environment = '{"env_vars": {"A": "b c"}}'
    ran = command(
        "move",
        "7",
        "--strategy",
        "restart",
        "--dry-run",
        "--no-capture-state",
        "--no-stage",
        "--runtime-env",
        environment,
    )
    assert ran.code == 0
    [(_, (asked,))] = controller.asked
    assert asked == MoveRequest(
        7, None, StrategyName.RESTART, dry_run=True, capture_state=False, stage=False, env_vars={"A": "b c"}
    )


def test_a_dry_run_shows_the_plan(controller, command) -> None:
    controller.answers["move"] = plan_document()
    ran = command("move", "4242", "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    for words in ("gzip (4243)", "cpu 31 % with it", "90 s", "2 variables travel; stay here: SSH_TTY", "scratch"):
        assert words in ran.out
    assert "terminal -> /dev/null" in ran.out


def test_a_dry_run_of_what_would_be_refused_shows_why_and_is_no_success(controller, command) -> None:
    """Every obstacle with what mends it; exit code as of a refusal; JSON is the plan all the same."""
    against = [
        {"reason": "LOCKED", "seen": "it holds a lock on /home/a/run.lock", "remedy": "let it release the lock first"},
        {"reason": "NO_ROOM", "seen": "1 MB are free", "remedy": ""},
    ]
    controller.answers["move"] = plan_document(would_move=False, target=None, obstacles=against)
    ran = command("move", "4242", "--dry-run")
    assert ran.code == 4
    assert "LOCKED: it holds a lock on /home/a/run.lock" in ran.out
    assert "let it release the lock first" in ran.out
    assert "NO_ROOM" in ran.out
    assert "[LOCKED]" in ran.err
    ran = command("move", "4242", "--dry-run", "--format", "json")
    assert (ran.code, [one["reason"] for one in json.loads(ran.out)[0]["obstacles"]]) == (4, ["LOCKED", "NO_ROOM"])


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"pip": ["x"]}', '{"env_vars": []}', '{"env_vars": {"A": 1}}', '{"env_vars": {}, "x": 1}']
)
def test_a_runtime_env_that_would_be_ignored_in_part_is_refused(controller, command, text) -> None:
    ran = command("move", "7", "--runtime-env", text)
    assert ran.code == 2
    assert controller.asked == []


def test_of_several_moves_one_refusal_keeps_none_of_the_others_back(controller, command) -> None:
    def move(request):
        if request.pid == 2:
            raise Refused(Reason.NO_SUCH_PROCESS, "no process 2")
        return move_document("planned", pid=request.pid)

    controller.answers["move"] = move
    ran = command("move", "1", "2", "3", "3", "--detach", "--format", "json")
    assert ran.code == 4
    assert sorted(one["pid"] for one in json.loads(ran.out)) == [1, 3]
    assert "NO_SUCH_PROCESS" in ran.err


@pytest.mark.parametrize("words", [[], ["abc"], ["-5"], ["1.5"]])
def test_move_needs_pids(controller, command, words) -> None:
    assert command("move", *words).code == 2


def test_scan_prints_a_bare_array_that_is_never_wrapped(controller, command) -> None:
    process = {"pid": 1, "name": "x" * 500}
    controller.answers["scan"] = [process]
    ran = command("scan", "--format", "json")
    assert json.loads(ran.out) == [process]
    assert "x" * 500 in ran.out
    assert controller.asked == [("scan", ((), False))]


def test_scan_shows_why_not_and_names_cannot_reach_the_terminal(controller, command) -> None:
    controller.answers["scan"] = [
        {
            "pid": 9,
            "name": "\x1b[2Jevil\udc80",
            "user": "bob",
            "class": "batch",
            "usage": {"cores": 1.5, "memory_bytes": 3e9},
            "age_s": 4000.0,
            "target": None,
            "strategy": "restart",
            "confidence": 0.5,
            "complexity": "low",
            "reason": "LISTENER",
        }
    ]
    ran = command("scan", "--all", "--node", "head1")
    assert controller.asked == [("scan", (("head1",), True))]
    assert "LISTENER" in ran.out
    assert "1 h 06 min" in ran.out
    assert "\\x1b[2Jevil\\x80" in ran.out
    assert "\x1b" not in ran.out


def test_scan_with_nothing_says_what_to_try(controller, command) -> None:
    controller.answers["scan"] = []
    ran = command("scan")
    assert (ran.code, ran.out) == (0, "")
    assert "scan --all" in ran.err


def test_cancel_waits_until_it_is_rolled_back(controller, command) -> None:
    controller.answers["cancel"] = move_document("planned", "rolling_back")
    controller.answers["show"] = move_document("planned", "rolling_back", "rolled_back", reason="CANCELLED")
    ran = command("cancel", "offload_1700000000_4242")
    assert ran.code == 0
    assert "rolled back" in ran.out


def test_logs_are_copied_byte_for_byte(controller, command, monkeypatch) -> None:
    raw = b"\x00\xff\x1b[31mred\n"
    controller.answers["logs"] = lambda *_: chunks(raw, b"end")
    written = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", written)
    assert command("logs", "-f", "--offset", "7", "offload_1_2").code == 0
    assert written.buffer.getvalue() == raw + b"end"
    assert controller.asked == [("logs", ("offload_1_2", 7, True))]


def test_status_of_a_move_shows_its_timeline_and_exit_code(controller, command) -> None:
    controller.answers["show"] = move_document("planned", "frozen", "done", exit_code=3, attempts=[])
    ran = command("status", "offload_1700000000_4242")
    assert ran.code == 0
    assert "exit 3" in ran.out
    assert "frozen" in ran.out


def test_without_a_controller_commands_say_so_with_their_exit_code(command) -> None:
    for words in (["status"], ["move", "1"], ["cancel", "x"], ["logs", "x"], ["auto", "--enable"]):
        ran = command(*words)
        assert (ran.code, ran.out) == (3, ""), words
        assert "grid-offloader serve" in ran.err


KEPT = {"id": "keep_1700000000_4242", "pid": 4242, "name": "x\x1b[2Jy", "user": "alice", "until_t": 1.7e9, "uid": 1000}


@pytest.mark.parametrize(
    ("words", "seconds"), [([], None), (["--for", "2d"], 172800), (["--for", "1h30m"], 5400), (["--for", "1500ms"], 2)]
)
def test_keep_asks_for_as_long_as_was_said(controller, command, words, seconds) -> None:
    controller.answers["keep"] = {**KEPT, "rolled_back": None}
    ran = command("keep", "4242", *words)
    assert ran.code == 0, ran.err
    assert controller.asked == [("keep", (KeepRequest(4242, seconds),))]
    assert "stays here until 20" in ran.out
    assert "\x1b" not in ran.out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["4242", "--list"],
        ["--list", "--release", "1"],
        ["--list", "--for", "1d"],
        ["4242", "--for", "soon"],
        ["4242", "--for", "0"],
        ["--release", "1", "--for", "1d"],
        ["0"],
    ],
)
def test_keep_refuses_what_makes_no_sense_and_asks_nobody(controller, command, words) -> None:
    assert command("keep", *words).code == 2
    assert controller.asked == []


def test_of_several_keeps_one_refusal_keeps_none_of_the_others_back(controller, command) -> None:
    def keep(request):
        if request.pid == 1:
            raise NotPermitted(Reason.NOT_YOURS, "process 1 belongs to root")
        return {**KEPT, "rolled_back": "offload_1_4242"}

    controller.answers["keep"] = keep
    ran = command("keep", "1", "4242")
    assert ran.code == 5
    assert "NOT_YOURS" in ran.err
    assert "offload_1_4242 is rolled back" in ran.out


def test_keeps_are_listed_and_released_by_pid_or_id(controller, command) -> None:
    controller.answers |= {"keeps": [KEPT], "release": KEPT}
    assert json.loads(command("keep", "--list", "--format", "json").out) == [KEPT]
    assert "4242" in command("keep", "--list").out
    assert "rules may move it again" in command("keep", "--release", "4242", "--release", KEPT["id"]).out
    assert controller.asked[-2:] == [("release", ("4242",)), ("release", (KEPT["id"],))]
    controller.answers["keeps"] = []
    assert "nothing is kept" in command("keep", "--list").err


def test_a_move_that_passes_over_a_keep_says_so(controller, command) -> None:
    passed = [{"reason": "KEPT", "seen": "x (4242): its owner keeps it here until 2026-01-01 10:00 UTC", "remedy": ""}]
    controller.answers["move"] = {**move_document("planned"), "loses_s": 0.0, "passes_over": passed}
    ran = command("move", "4242", "--detach")
    assert ran.code == 0
    controller.answers["show"] = move_document("planned", "done", exit_code=None)
    ran = command("move", "4242")
    assert "KEPT" in ran.err
    assert "your own move passes over that" in ran.err


PROPOSAL = {
    "id": "proposal_1700000000_99",
    "pid": 99,
    "name": "fit\x1b[2J",
    "user": "alice",
    "uid": 1000,
    "rule": "head/cpu",
    "target": "gpu1",
    "strategy": "restart",
    "fallbacks": [],
    "value": 0.93,
    "threshold": 0.8,
    "relieves": {"cpu": 0.25},
    "loses_s": 300.0,
    "reason": "APPROVAL",
    "detail": "the mode is approve: somebody has to agree",
    "text": "move fit (pid 99, alice) to gpu1 by restart: head/cpu reads 93%",
    "owners_only": False,
    "made_t": 1.0,
    "expires_t": 901.0,
    "approved_by": None,
    "answered_t": None,
    "outcome": None,
}


def test_approve_lists_what_waits_with_its_reasons(controller, command) -> None:
    controller.answers["proposals"] = [PROPOSAL]
    ran = command("approve")
    assert ran.code == 0, ran.err
    for piece in ("99", "gpu1", "restart", "5 min", "APPROVAL", "grid-offloader approve 99", PROPOSAL["text"]):
        assert piece in ran.out
    assert "\x1b" not in ran.out
    assert json.loads(command("approve", "--format", "json").out) == [PROPOSAL]
    controller.answers["proposals"] = []
    assert "nothing waits" in command("approve").err


@pytest.mark.parametrize("named", ["99", PROPOSAL["id"]])
@pytest.mark.parametrize(("words", "agreed"), [((), True), (("--decline",), False)])
def test_approve_answers_by_pid_or_id(controller, command, named, words, agreed) -> None:
    controller.answers["proposals"] = [PROPOSAL]
    controller.answers["answer"] = {**PROPOSAL, "move": move_document("planned") if agreed else None, "held": None}
    ran = command("approve", *words, named)
    assert ran.code == 0, ran.err
    assert controller.asked[-1] == ("answer", (PROPOSAL["id"], agreed))
    assert ("begins" if agreed else "stays") in ran.out


def test_approve_says_what_still_holds_it(controller, command) -> None:
    held = {"reason": "NOTICE", "detail": "its owner may object for 58 s more"}
    controller.answers["answer"] = {**PROPOSAL, "move": None, "held": held}
    ran = command("approve", PROPOSAL["id"])
    assert (ran.code, "NOTICE: its owner may object for 58 s more" in ran.out) == (0, True)


def test_approve_of_what_does_not_wait_is_not_found_and_the_others_are_answered(controller, command) -> None:
    controller.answers["proposals"] = [PROPOSAL]
    controller.answers["answer"] = {**PROPOSAL, "move": move_document("planned"), "held": None}
    ran = command("approve", "1", "99")
    assert (ran.code, "begins" in ran.out) == (6, True)
    assert command("approve", "--decline").code == 2


def test_status_mine_tells_in_words_what_happened_and_what_to_type(controller, command) -> None:
    moved = {
        **move_document("planned", "done"),
        "sentence": "It was moved from head1 to gpu1 by restart. It runs there.",
        "where": "gpu1",
        "commands": {"follow": "grid-offloader logs -f M", "end": "grid-offloader cancel M"},
    }
    notice = {"pid": 77, "name": "a\x1b[2J", "user": "alice", "target": "gpu1", "rule": "head/cpu", "left_s": 41.0}
    document = {
        "t": 1.0,
        "uid": 1000,
        "user": "alice",
        "notices": [notice],
        "proposals": [PROPOSAL],
        "kept": [KEPT],
        "jobs": [],
        "moves": [moved],
    }
    controller.answers["mine"] = document
    ran = command("status", "--mine")
    assert ran.code == 0, ran.err
    for piece in (
        "grid-offloader keep 77",
        "in 41 s",
        "grid-offloader approve 99",
        "It runs there.",
        "logs -f M",
        "to bring it back",
        KEPT["id"],
    ):
        assert piece in ran.out
    assert "\x1b" not in ran.out
    assert json.loads(command("status", "--mine", "--format", "json").out) == document


def test_status_mine_with_nothing_says_so_and_does_not_go_with_a_move(controller, command) -> None:
    nothing = {"notices": [], "proposals": [], "kept": [], "jobs": [], "moves": []}
    controller.answers["mine"] = {"t": 1.0, "uid": 1, "user": "bob", **nothing}
    assert "nothing happened to jobs of bob" in command("status", "--mine").err
    assert command("status", "offload_1_2", "--mine").code == 2
