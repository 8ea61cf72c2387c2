"""The target's role, with real processes: what is started, proven, owned, given up and killed."""

import fcntl
import json
import os
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FAST = {"lease_s": 0.6, "question_s": 0.1}


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _successors(bench) -> list[int]:
    return bench.marked(f"OFFLOADING_TASK_ID={bench.job}.1")


def _open_files(pid: int) -> set[str]:
    try:
        return {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    except FileNotFoundError:
        return set()


def _environ(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")[:-1]


def test_the_successor_is_the_original_byte_for_byte(bench):
    """argv with every nasty byte, cwd, umask, nice and limits arrive as they were; nothing is parsed by a shell."""
    argv = ["a b", "'\"", "$HOME `id`", "line\nbreak", b"\xff\xfe\x01", "", "*", "\\"]
    before = resource.getrlimit(resource.RLIMIT_CORE)

    def circumstances():
        os.umask(0o027)
        os.nice(5)
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
        resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.sched_setaffinity(0, {0})

    cwd = bench.root / "with space \udcff"
    cwd.mkdir()
    original = bench.python("import time\nup()\ntime.sleep(1000)", *argv, preexec_fn=circumstances, cwd=cwd)
    _, _, _, pid = bench.owned(bench.capsule(original.pid))
    for name in ("cmdline", "limits", "oom_score_adj"):
        assert Path(f"/proc/{pid}/{name}").read_bytes() == Path(f"/proc/{original.pid}/{name}").read_bytes(), name
    assert Path(f"/proc/{pid}/cwd").readlink() == cwd
    assert os.getpriority(os.PRIO_PROCESS, pid) == 5
    assert os.sched_getaffinity(pid) == {0}
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert status["Umask"] == "0027"
    assert int(status["SigIgn"], 16) & 1, "nohup's ignored SIGHUP stays"
    assert int(status["SigBlk"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_the_environment_is_the_captured_one_and_nothing_of_the_launcher_leaks(bench, eventually):
    """RAY_*, OMP_NUM_THREADS and oom_score_adj of the backend's job stay outside; session variables are dropped."""
    own = bench.environment(
        KEPT="v a l=u$e\n", SSH_AUTH_SOCK="/x", DISPLAY=":0", XDG_RUNTIME_DIR="/run/user/1", TMUX="1"
    )
    original = bench.sleeper(env={**own, b"BYTES".decode(): "\udcff"})
    before = _environ(original.pid)
    capsule = bench.capsule(original.pid, env_add={"TARGET_NODE": "gpu1", "MIGRATED_FROM_PID": str(original.pid)})
    role, link, _ = bench.held(
        capsule, RAY_ADDRESS="x", RAY_AUTH_TOKEN_PATH="/token", OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1"
    )
    Path(f"/proc/{role.pid}/oom_score_adj").write_text("900")
    link.send(do="go", epoch=1, settle_s=60)
    pid = link.expect("launched")["pid"]
    dropped = (b"SSH_", b"DISPLAY=", b"XDG_", b"TMUX=")
    expected = [entry for entry in before if not entry.startswith(dropped)]
    expected += [b"TARGET_NODE=gpu1", f"MIGRATED_FROM_PID={original.pid}".encode()]
    assert _environ(pid) == [*expected, f"OFFLOADING_TASK_ID={bench.job}.1".encode()]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == Path(f"/proc/{original.pid}/oom_score_adj").read_text()
    # While Python starts it has files of its own open: wait for the steady state.
    eventually(lambda: _open_files(pid) == {"/dev/null"}, "no descriptor of the launcher is inherited")


def test_only_named_variables_of_the_allocation_are_passed_on(bench):
    """CUDA_VISIBLE_DEVICES comes from the backend, not from the source, when the capsule says so."""
    original = bench.sleeper(env=bench.environment(CUDA_VISIBLE_DEVICES="7", OTHER="source"))
    capsule = bench.capsule(original.pid, pass_env=["CUDA_VISIBLE_DEVICES"])
    *_, pid = bench.launched(capsule, CUDA_VISIBLE_DEVICES="0", OTHER="target")
    found = _environ(pid)
    assert b"CUDA_VISIBLE_DEVICES=0" in found
    assert b"OTHER=source" in found


@pytest.mark.root
def test_root_becomes_the_owner_with_no_more_groups_than_at_the_source(bench):
    """uid, gid and groups of the owner; a group that only the source process had is not acquired."""
    original = bench.sleeper(user=65534, group=65534, extra_groups=[65534, 5, 6])
    (bench.root / "out").mkdir(mode=0o777)
    *_, directory, pid = bench.owned(bench.capsule(original.pid))
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert status["Groups"].split() == ["65534"]
    assert int(status["CapEff"], 16) == 0
    log = (directory / "output.log").stat()
    assert (log.st_uid, log.st_mode & 0o777) == (65534, 0o600)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "sock").stat().st_mode & 0o777 == 0o600


def test_an_ordinary_user_moves_its_own_job(bench):
    """Launcher and job run as one unprivileged account, from placing to the exit code."""
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    home = bench.root / "user"
    home.mkdir()
    os.chown(home, 65534, 65534)
    original = bench.sleeper(user=65534, group=65534, extra_groups=[])
    capsule = bench.capsule(original.pid)
    directory = home / f"{bench.job}.1"
    account = {"user": 65534, "group": 65534, "extra_groups": []}
    assert bench.verb("place", directory, stdin=capsule, **account) == {"placed": True}
    assert bench.check(capsule, **account)["obstacles"] == []
    assert bench.verb("hold", directory, "--detach", **account)["launcher_pid"] > 0
    link = bench.link(directory, hello="held")
    link.send(do="go", epoch=1, settle_s=0)
    pid = link.expect("launched")["pid"]
    link.expect("proven")
    link.send(do="own", epoch=1)
    link.expect("owned")
    os.kill(pid, signal.SIGTERM)
    assert link.expect("exited")["signal"] == signal.SIGTERM


def test_output_and_exit_code_of_a_job_are_kept(bench):
    """Terminal output lands in output.log, the exit code in exit.json, the event, the state and the launcher's own."""
    program = (
        "import os, sys, time\nup()\nif os.environ.get('TARGET_NODE'):\n  print('out'); print('err', file=sys.stderr)\n"
    )
    program += "  time.sleep(0.5); sys.exit(7)\ntime.sleep(1000)"
    master, slave = os.openpty()
    try:
        original = bench.python(program, stdout=slave, stderr=slave, stdin=slave)
        role, link, directory, _ = bench.owned(bench.capsule(original.pid, env_add={"TARGET_NODE": "x"}))
        assert link.expect("exited") == {"event": "exited", "exit_code": 7, "signal": None}
    finally:
        os.close(master)
        os.close(slave)
    assert role.wait(10) == 7
    assert json.loads((directory / "exit.json").read_text())["exit_code"] == 7
    state = bench.verb("status", directory)
    assert (state["state"], state["exit_code"], state["launcher_alive"], state["child_alive"]) == (
        "exited",
        7,
        False,
        False,
    )
    assert sorted((directory / "output.log").read_text().split()) == ["err", "out"]


def test_a_shared_output_file_is_continued_not_truncated(bench):
    """`cmd > out` at the source: the successor appends to that very file."""
    out = bench.root / "out"
    program = "import os, sys, time\nprint(os.environ.get('TARGET_NODE', 'source'), flush=True)\nup()\ntime.sleep(1000)"
    with out.open("w") as stream:
        original = bench.python(program, stdout=stream)
    bench.owned(bench.capsule(original.pid, env_add={"TARGET_NODE": "target"}))
    assert out.read_text() == "source\ntarget\n"


def test_a_go_from_a_dead_network_starts_nothing(bench, eventually):
    """Without a granted lease question after the `go`, nothing is launched and the attempt ends."""
    original = bench.sleeper()
    role, link, directory = bench.held(bench.capsule(original.pid, timings=FAST))
    link.granting = False
    link.send(do="go", epoch=1, settle_s=0)
    assert link.expect("aborted")
    assert role.wait(10) == 4
    assert "child" not in bench.verb("status", directory)


def test_an_expired_lease_kills_a_tree_that_keeps_forking(bench):
    """No answers: the whole successor is dead before the original may thaw, and `aborted` is durable."""
    original = bench.forker()
    role, link, directory, pid = bench.launched(bench.capsule(original.pid, timings=FAST))
    time.sleep(0.2)
    link.granting = False
    started = time.monotonic()
    link.expect("aborted")
    assert time.monotonic() - started < 2.0
    assert role.wait(10) == 4
    assert _successors(bench) == []
    assert not _alive(pid)
    assert bench.verb("status", directory)["state"] == "aborted"


def test_the_lease_counts_from_the_question_not_from_the_answer(bench):
    """Grants for old questions, repeated grants and invented numbers do not keep a successor alive."""
    original = bench.sleeper()
    _, link, *_ = bench.launched(bench.capsule(original.pid, timings=FAST))
    link.granting = False
    first = next(event["seq"] for event in link.seen if event["event"] == "lease?")
    for seq in (first, first, 10_000, "x", None, True, -1):
        link.send(do="grant", seq=seq)
    link.expect("aborted")


def test_own_after_the_lease_ran_out_is_answered_by_aborted(bench):
    """Ownership cannot pass to a successor that has given up."""
    original = bench.sleeper()
    role, link, _, pid = bench.launched(bench.capsule(original.pid, timings=FAST), settle_s=0)
    link.expect("proven")
    role.send_signal(signal.SIGSTOP)  # a launcher that got no processor for longer than its lease
    time.sleep(0.8)
    link.send(do="own", epoch=1)
    role.send_signal(signal.SIGCONT)
    link.expect("aborted")
    assert link.next() is None
    assert not _alive(pid)


def test_after_owned_the_lease_does_not_matter(bench):
    """The job runs on without any controller."""
    original = bench.sleeper()
    _, link, directory, pid = bench.owned(bench.capsule(original.pid, timings={**FAST, "unlinked_s": 0.5}))
    link.close()
    time.sleep(1.2)
    assert _alive(pid)
    again = bench.link(directory, hello="owned")
    again.send(do="own", epoch=1)
    again.expect("owned")
    again.send(do="abort", epoch=1)
    again.expect("owned")
    assert _alive(pid)


@pytest.mark.parametrize("state", ["held", "launched", "proven"])
def test_abort_in_every_state_before_owned_leaves_nothing(bench, state):
    """`aborted` is said when the whole tree is dead, not before."""
    original = bench.forker()
    capsule = bench.capsule(original.pid)
    if state == "held":
        role, link, directory = bench.held(capsule)
    else:
        role, link, directory, _ = bench.launched(capsule, settle_s=0 if state == "proven" else 60)
        if state == "proven":
            link.expect("proven")
    link.send(do="abort", epoch=1)
    link.expect("aborted")
    assert _successors(bench) == []
    assert role.wait(10) == 4
    assert bench.verb("status", directory)["state"] == "aborted"


@pytest.mark.parametrize("do", ["go", "own", "abort"])
def test_messages_for_another_epoch_are_refused(bench, do):
    """A controller that mixes up attempts changes nothing."""
    original = bench.sleeper()
    _, link, _ = bench.held(bench.capsule(original.pid, epoch=3))
    link.send(do=do, epoch=2, settle_s=0)
    assert link.expect("failed")["reason"] == "OLD_EPOCH"
    link.send(do="go", epoch=3, settle_s=0)
    pid = link.expect("launched")["pid"]
    link.expect("proven")
    link.send(do=do, epoch=2, settle_s=0)
    assert link.expect("refused")["reason"] == "OLD_EPOCH"
    assert _alive(pid)


def test_a_newer_epoch_on_the_node_stops_an_older_one(bench):
    """Placed, claimed or told to go: an old attempt never starts once a newer one was seen."""
    original = bench.sleeper()
    _, link, _ = bench.held(bench.capsule(original.pid, epoch=1))
    bench.place(bench.capsule(original.pid, epoch=2))
    link.send(do="go", epoch=1, settle_s=0)
    assert link.expect("failed")["reason"] == "OLD_EPOCH"


def test_a_command_that_cannot_be_executed_fails_before_launched(bench):
    """The program vanished between the check and the launch: `failed`, with the step, and nothing runs."""
    program = bench.root / "program"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    original = bench.start([program, "1000"])
    role, link, directory = bench.held(bench.capsule(original.pid))
    program.unlink()
    link.send(do="go", epoch=1, settle_s=0)
    event = link.expect("failed")
    assert event["reason"] == "LAUNCH_FAILED"
    assert "executing" in event["detail"]
    assert role.wait(10) == 5
    assert bench.verb("status", directory)["state"] == "failed"


def test_missing_things_are_found_while_held_not_at_go(bench):
    """The original is not even frozen when its program is not on the target."""
    program = bench.root / "program"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    original = bench.start([program, "1000"])
    directory = bench.place(bench.capsule(original.pid))
    program.unlink()
    role = bench.hold(directory)
    assert role.wait(10) == 5
    state = bench.verb("status", directory)
    assert (state["state"], state["reason"]) == ("failed", "NO_EXECUTABLE")


@pytest.mark.parametrize("state", ["launched", "proven"])
def test_a_successor_that_fails_before_ownership_is_reported_with_its_last_words(bench, state):
    """Non-zero exit before owned: `failed` with the code and the last lines, and its descendants are dead too."""
    program = (
        "import os, sys, time\nup()\n"
        "if os.environ.get('TARGET_NODE'):\n"
        "  if os.fork() == 0: time.sleep(1000)\n"
        "  time.sleep(0.7); print('no such dataset', file=sys.stderr); sys.exit(3)\n"
        "time.sleep(1000)"
    )
    reading, writing = os.pipe()
    original = bench.python(program, stderr=writing)
    os.close(reading)
    os.close(writing)
    capsule = bench.capsule(original.pid, env_add={"TARGET_NODE": "x"})
    role, link, _directory, _ = bench.launched(capsule, settle_s=0 if state == "proven" else 60)
    if state == "proven":
        link.expect("proven")
    event = link.expect("failed")
    assert event["reason"] == "LAUNCH_FAILED"
    assert "exit code 3" in event["detail"]
    assert "no such dataset" in event["detail"]
    assert role.wait(10) == 5
    assert _successors(bench) == []


def test_a_job_that_completes_before_it_settled_is_proven_and_keeps_its_exit_code(bench):
    """Exit 0 early is success; it waits for ownership before it counts as exited."""
    original = bench.python("import os, time\nup()\nif not os.environ.get('TARGET_NODE'): time.sleep(1000)")
    role, link, directory, _ = bench.launched(bench.capsule(original.pid, env_add={"TARGET_NODE": "x"}), settle_s=60)
    assert link.expect("proven")["how"] == "completed"
    assert bench.verb("status", directory)["state"] == "proven"
    link.send(do="own", epoch=1)
    link.expect("owned")
    assert link.expect("exited")["exit_code"] == 0
    assert role.wait(10) == 0


def test_descendants_of_an_ended_leader_are_still_the_job(bench):
    """A leader that forks into the background and exits 0: exited only when the last of them has ended."""
    program = (
        "import os, time\nup()\n"
        "if os.environ.get('TARGET_NODE'):\n"
        "  if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(1.0)\n    os._exit(0)\n"
        "  os._exit(0)\n"
        "time.sleep(1000)"
    )
    original = bench.python(program)
    _, link, _, _ = bench.owned(bench.capsule(original.pid, env_add={"TARGET_NODE": "x"}))
    started = time.monotonic()
    assert link.expect("exited")["exit_code"] == 0
    assert time.monotonic() - started > 0.5


def test_the_ready_file_proves_before_the_settle_time_and_an_old_one_does_not(bench):
    """GRID_OFFLOAD_READY_FILE, relative to the working directory; one left by the original is no proof."""
    ready = bench.root / "ready"
    program = (
        "import os, time\nup()\nif os.environ.get('TARGET_NODE'):\n"
        "  time.sleep(0.6); os.unlink('ready'); open('ready','w').close()\ntime.sleep(1000)"
    )
    ready.touch()
    original = bench.python(program, env=bench.environment(GRID_OFFLOAD_READY_FILE="ready"))
    started = time.monotonic()
    _, link, *_ = bench.launched(bench.capsule(original.pid, env_add={"TARGET_NODE": "x"}), settle_s=60)
    assert link.expect("proven")["how"] == "ready_file"
    assert 0.3 < time.monotonic() - started < 15


def test_a_successor_that_waits_for_the_originals_lock_is_not_proven(bench):
    """`flock` held by the (frozen) original: the successor would wait for ever."""
    lock = bench.root / "lock"
    lock.touch()
    program = (
        "import fcntl, os, time\n"
        "stream = open('lock')\n"
        "if os.environ.get('TARGET_NODE'): up()\n"
        "fcntl.flock(stream, fcntl.LOCK_EX)\nup()\ntime.sleep(1000)"
    )
    original = bench.python(program)
    with lock.open() as stream, pytest.raises(BlockingIOError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _, link, *_ = bench.launched(bench.capsule(original.pid, env_add={"TARGET_NODE": "x"}), settle_s=0.3)
    event = link.expect("failed")
    assert event["reason"] == "NOT_PROVEN"
    assert "lock" in event["detail"]


def test_the_newest_link_controls_and_the_old_one_is_closed(bench):
    """A controller behind a dead connection cannot interfere with the one that came back."""
    original = bench.sleeper()
    _, old, directory, pid = bench.launched(bench.capsule(original.pid, timings=FAST))
    new = bench.link(directory, hello="launched")
    while old.next() is not None:
        pass
    new.send(do="abort", epoch=1)
    new.expect("aborted")
    assert not _alive(pid)


def test_a_held_attempt_that_nobody_asks_for_ends(bench):
    """No link: it gives up by itself and says so durably."""
    original = bench.sleeper()
    role, link, directory = bench.held(bench.capsule(original.pid, timings={"unlinked_s": 0.3}))
    time.sleep(0.5)
    assert role.poll() is None, "with a link it stays"
    link.close()
    assert role.wait(10) == 4
    assert bench.verb("status", directory)["state"] == "aborted"


def test_told_to_end_before_ownership_it_aborts(bench):
    """The backend stops the submission (SIGTERM): nothing is left."""
    original = bench.forker()
    role, link, _directory, pid = bench.launched(bench.capsule(original.pid))
    role.send_signal(signal.SIGTERM)
    link.expect("aborted")
    assert role.wait(10) == 4
    assert not _alive(pid)


def test_told_to_end_after_ownership_it_passes_the_signal_on(bench):
    """The job gets TERM and may end in its own way; what ignores it is killed after the grace."""
    program = (
        "import os, signal, sys, time\n"
        "if os.fork() == 0:\n  signal.signal(signal.SIGTERM, signal.SIG_IGN)\n  time.sleep(1000)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\nup()\nwhile True: time.sleep(1)"
    )
    original = bench.python(program)
    role, link, _directory, _ = bench.owned(bench.capsule(original.pid, timings={"grace_s": 0.5}))
    time.sleep(0.3)  # its handler is set right after the exec; nothing tells us when
    role.send_signal(signal.SIGTERM)
    assert link.expect("exited")["exit_code"] == 9
    assert role.wait(10) == 9


def test_stop_ends_the_job_for_its_owner(bench):
    """cancel: the signal, then KILL after the grace; before ownership it is refused."""
    original = bench.python(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nup()\ntime.sleep(1000)"
    )
    role, link, _directory, pid = bench.launched(bench.capsule(original.pid), settle_s=0)
    link.expect("proven")
    link.send(do="stop", signal=15, grace_s=1)
    assert link.expect("refused")["do"] == "stop"
    link.send(do="own", epoch=1)
    link.expect("owned")
    time.sleep(0.3)  # until it ignores TERM
    link.send(do="stop", signal="x", grace_s=1)
    assert link.expect("refused")["reason"] == "BAD_MESSAGE"
    link.send(do="stop", signal=15, grace_s=0.3)
    assert link.expect("exited")["signal"] == signal.SIGKILL
    assert role.wait(10) == 128 + signal.SIGKILL
    assert not _alive(pid)


@pytest.mark.parametrize(("state", "uid"), [("launched", 0), ("owned", 0), ("owned", 65534)])
def test_a_killed_launcher_takes_its_whole_tree_along(bench, eventually, state, uid):
    """SIGKILL of the launcher: the child dies with it, and the warden ends descendants that left its session."""
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(1000)\n  time.sleep(1000)\n"
        "up()\ntime.sleep(1000)"
    )
    account = {"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 else {}
    original = bench.python(program, **account)
    capsule = bench.capsule(original.pid)
    role, _, directory, _pid = bench.launched(capsule) if state == "launched" else bench.owned(capsule)
    eventually(lambda: len(_successors(bench)) == 3)
    role.kill()
    eventually(lambda: not _successors(bench), "nothing survives its launcher", limit_s=5)
    status = bench.verb("status", directory)
    assert (status["launcher_alive"], status["child_alive"]) == (False, False)


def test_what_is_no_message_ends_the_link_and_nothing_else(bench, eventually):
    """Garbage, too long lines and wrong types never disturb the job."""
    original = bench.sleeper()
    _, link, directory, pid = bench.owned(bench.capsule(original.pid))
    for garbage in (b"nonsense\n", b"[1]\n", b"[" * 100_000 + b"\n", b"\xff\n"):
        link.raw(garbage)
        assert link.next()["error"] == "BAD_MESSAGE"
        assert link.next() is None
        link = bench.link(directory, hello="owned")
    with pytest.raises((BrokenPipeError, ConnectionResetError, socket.timeout)):
        link.raw(b"x" * 4_000_000)
    link = bench.link(directory, hello="owned")
    link.send(do="dance")
    assert link.expect("refused")["reason"] == "BAD_MESSAGE"
    link.send(do=["go"], epoch=1)
    assert link.expect("refused")["reason"] == "BAD_MESSAGE"
    assert _alive(pid)


def test_asking_twice_is_answered_by_the_state(bench):
    """After a lost answer the controller simply asks again."""
    original = bench.sleeper()
    _role, link, _directory, _ = bench.launched(bench.capsule(original.pid))
    link.send(do="go", epoch=1, settle_s=0)
    link.expect("launched")
    link.send(do="own", epoch=1)
    assert link.expect("refused")["reason"] == "NOT_PROVEN"


def test_a_claimed_capsule_cannot_be_held_again(bench):
    """A submission that the backend runs twice, or starts after it was stopped, finds nothing to open."""
    original = bench.sleeper()
    _, _, directory = bench.held(bench.capsule(original.pid))
    again = bench.verb("hold", directory)
    assert (again["error"], again["rc"]) == ("NOT_PLACED", 3)
    assert bench.verb("hold", bench.root / "nowhere" / "J.1")["rc"] == 3


@pytest.mark.root
def test_a_full_disk_at_ownership_kills_the_successor_instead_of_half_owning(bench):
    """`owned` that cannot be made durable is no ownership."""
    original = bench.sleeper()
    _, link, directory, pid = bench.launched(bench.capsule(original.pid), settle_s=0)
    link.expect("proven")
    (directory / ".state.json.new").mkdir()  # whatever keeps the state file from being replaced
    link.send(do="own", epoch=1)
    link.expect("aborted")
    assert not _alive(pid)


def test_a_secret_of_the_environment_is_in_no_state_file_argument_or_message(bench):
    """Nor in the capsule, once it was opened."""
    original = bench.sleeper(env=bench.environment(API_TOKEN="s3cr3t-value"))
    role, link, directory, _ = bench.owned(bench.capsule(original.pid))
    holding = [path.name for path in directory.iterdir() if path.is_file() and b"s3cr3t" in path.read_bytes()]
    assert holding == []
    assert (directory / "capsule.claimed").read_bytes() == b""
    assert "s3cr3t" not in Path(f"/proc/{role.pid}/cmdline").read_text()
    assert "s3cr3t" not in json.dumps(link.seen)
