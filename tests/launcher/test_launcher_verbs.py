"""The short verbs: link, status, fence, log, version, and the file that they are packed into."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offloader.launcher.pack import pack

pytestmark = pytest.mark.slow

PYTHON = "/usr/bin/python3"


def _output(bench, *arguments: object) -> bytes:
    argv = [PYTHON, "-I", bench.launcher, "log", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout


def test_link_bridges_lines_until_the_role_ends(bench):
    """What SSH runs on a node: documents in, documents out, ended by the role's end."""
    _role, link, directory = bench.held(bench.capsule(bench.sleeper().pid))
    link.close()
    bridge = subprocess.Popen(
        [PYTHON, "-I", bench.launcher, "link", directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert json.loads(bridge.stdout.readline())["event"] == "hello"
    bridge.stdin.write(b'{"do":"abort","epoch":1}\n')
    bridge.stdin.flush()
    assert json.loads(bridge.stdout.readline())["event"] == "aborted"
    assert bridge.stdout.read() == b""
    bridge.stdin.close()
    bridge.stdout.close()
    assert bridge.wait(10) == 0


def test_link_ends_with_its_controller(bench):
    """A closed stdin (the SSH connection is gone) ends the bridge, and the role is free for the next one."""
    _, _link, directory = bench.held(bench.capsule(bench.sleeper().pid))
    argv = [PYTHON, "-I", bench.launcher, "link", directory]
    subprocess.run(argv, input=b"", capture_output=True, check=True, timeout=20)
    bench.link(directory, hello="held")


def test_link_to_nothing_says_so(bench):
    """NOT_RUNNING: no directory, no socket, or a socket whose role was killed."""
    assert bench.verb("link", bench.root / "nowhere")["error"] == "NOT_RUNNING"
    role, _link, directory = bench.held(bench.capsule(bench.sleeper().pid))
    role.kill()
    role.wait()
    assert (directory / "sock").exists()
    assert bench.verb("link", directory)["error"] == "NOT_RUNNING"


def test_directories_of_any_length_have_a_socket(bench):
    """sun_path holds 108 bytes; state directories may be longer."""
    directory = bench.root / ("d" * 100) / ("e" * 100) / f"{bench.job}.1"
    capsule = bench.capsule(bench.sleeper().pid)
    assert bench.verb("place", directory, stdin=capsule) == {"placed": True}
    bench.hold(directory)
    bench.link(directory, hello="held")


def test_status_follows_an_attempt_from_absent_to_exited(bench, eventually):
    """The same words as on the link, plus who is alive by pid and start time."""
    directory = bench.attempt()
    assert bench.verb("status", directory)["state"] == "absent"
    original = bench.sleeper()
    capsule = bench.capsule(original.pid)
    bench.place(capsule)
    assert bench.verb("status", directory)["state"] == "placed"
    role = bench.hold(directory)
    link = bench.link(directory, hello="held")
    assert bench.verb("status", directory)["launcher_alive"] is True
    link.send(do="go", epoch=1, settle_s=0)
    pid = link.expect("launched")["pid"]
    link.expect("proven")
    link.send(do="own", epoch=1)
    link.expect("owned")
    state = bench.verb("status", directory)
    assert (state["state"], state["child_alive"], state["child"]["pid"]) == ("owned", True, pid)
    os.kill(pid, signal.SIGTERM)
    role.wait(10)
    state = bench.verb("status", directory)
    assert (state["state"], state["exit_code"], state["signal"]) == ("exited", None, signal.SIGTERM)


def test_status_does_not_believe_a_pid_of_another_boot(bench):
    """The node was rebooted: whatever has these pids now is not ours."""
    _role, _link, directory = bench.held(bench.capsule(bench.sleeper().pid))
    state = json.loads((directory / "state.json").read_text())
    (directory / "state.json").write_text(json.dumps({**state, "boot_id": "another"}))
    assert bench.verb("status", directory)["launcher_alive"] is False
    (directory / "state.json").write_text(json.dumps({**state, "start_ticks": 1}))
    assert bench.verb("status", directory)["launcher_alive"] is False


@pytest.mark.parametrize("state", ["held", "launched", "owned"])
def test_fence_leaves_nothing_of_an_attempt(bench, eventually, state):
    """Launcher, child, descendants in other sessions: dead, and `status` says so."""
    program = "import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(1000)\nup()\ntime.sleep(1000)"
    capsule = bench.capsule(bench.python(program).pid)
    mark = f"OFFLOADING_TASK_ID={bench.job}.1"
    if state == "held":
        role, _, directory = bench.held(capsule)
    else:
        role, _, directory, _ = bench.launched(capsule) if state == "launched" else bench.owned(capsule)
        eventually(lambda: len(bench.marked(mark)) == 2)
    answer = bench.verb("fence", directory)
    assert answer["dead"] is True
    assert answer["killed"] >= 1
    assert bench.marked(mark) == []
    assert role.wait(5) == -signal.SIGKILL
    assert bench.verb("status", directory)["state"] == "aborted"
    assert bench.verb("fence", directory) == {"dead": True, "killed": 0}


def test_fence_kills_orphans_of_a_launcher_that_is_gone(bench, eventually):
    """By their environment alone: nobody remembers their pids. Others with a similar name are left alone."""
    mark = f"OFFLOADING_TASK_ID={bench.job}.1"
    ours = bench.sleeper(env=bench.environment(OFFLOADING_TASK_ID=f"{bench.job}.1"))
    other = bench.sleeper(env=bench.environment(OFFLOADING_TASK_ID=f"{bench.job}.11"))
    assert bench.verb("fence", bench.attempt()) == {"dead": True, "killed": 1}
    assert bench.marked(mark) == []
    assert ours.wait(5) == -signal.SIGKILL
    assert other.poll() is None


def test_fence_revokes_what_was_not_claimed_yet(bench):
    """Nothing runs, and nothing ever will."""
    directory = bench.place(bench.capsule(bench.sleeper().pid))
    assert bench.verb("fence", directory) == {"dead": True, "killed": 0}
    assert bench.verb("hold", directory)["error"] == "NOT_PLACED"


def test_log_reads_the_output_from_any_offset(bench, eventually):
    """Output that went to a pipe is in output.log; offsets count bytes of this attempt."""
    program = (
        "import os, time\nup()\nif os.environ.get('TARGET_NODE'): print('0123456789', flush=True)\ntime.sleep(1000)"
    )
    original = bench.python(program, stdout=subprocess.PIPE)
    *_, directory, _ = bench.owned(bench.capsule(original.pid, env_add={"TARGET_NODE": "x"}))
    assert eventually(lambda: _output(bench, directory)) == b"0123456789\n"
    assert _output(bench, directory, "--offset", 4) == b"456789\n"
    assert _output(bench, directory, "--offset", 400) == b""
    assert bench.verb("log", bench.root)["error"] == "NO_STATE"
    assert bench.verb("log", directory, "--offset", "x")["error"] == "USAGE"


def test_log_of_a_file_that_the_job_writes_itself_begins_with_this_attempt(bench, eventually):
    """`cmd > out` on a shared file system: what the original wrote before is not this attempt's output."""
    out = bench.root / "out"
    program = "import os, time\nprint(os.environ.get('TARGET_NODE', 'source'), flush=True)\nup()\ntime.sleep(1000)"
    with out.open("w") as stream:
        original = bench.python(program, stdout=stream)
    *_, directory, _ = bench.owned(bench.capsule(original.pid, env_add={"TARGET_NODE": "target"}))
    assert eventually(lambda: _output(bench, directory)) == b"target\n"


def test_log_follows_until_the_job_ends(bench):
    """Nothing of its last words is lost, and the follower ends by itself."""
    program = (
        "import os, sys, time\nup()\nif os.environ.get('TARGET_NODE'):\n"
        "  for n in range(5): print(n, flush=True); time.sleep(0.2)\n  print('end'); sys.exit()\ntime.sleep(1000)"
    )
    original = bench.python(program, stdout=subprocess.PIPE)
    *_, directory, _ = bench.owned(bench.capsule(original.pid, env_add={"TARGET_NODE": "x"}))
    started = time.monotonic()
    assert _output(bench, directory, "--follow") == b"0\n1\n2\n3\n4\nend\n"
    assert time.monotonic() - started < 15


def test_outputs_that_are_kept_apart_are_read_apart_and_byte_for_byte(bench, eventually):
    """`outputs_apart`: errors have a log of their own; `--packed` changes no byte, not even a last line without end."""
    program = (
        "import os, sys, time\nup()\nif os.environ.get('TARGET_NODE'):\n"
        "  os.write(1, b'out\\xff no end'); os.write(2, b'err\\n'); sys.exit()\ntime.sleep(1000)"
    )
    original = bench.python(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    capsule = bench.capsule(original.pid, env_add={"TARGET_NODE": "x"}, outputs_apart=True)
    *_, directory, _ = bench.owned(capsule)
    assert eventually(lambda: _output(bench, directory)) == b"out\xff no end"
    assert eventually(lambda: _output(bench, directory, "--stream", 2)) == b"err\n"
    packed = _output(bench, directory, "--packed", "--offset", 1)
    assert b"".join(map(base64.b64decode, packed.splitlines())) == b"ut\xff no end"
    assert (directory / "errors.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.root
def test_log_shows_only_what_the_owner_could_read(bench):
    """The job's own output path was replaced by a link to somebody else's file: roots launcher does not follow it."""
    home = bench.root / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    out, secret = home / "out", bench.root / "secret"
    secret.write_text("root's own")
    secret.chmod(0o600)
    with out.open("w") as stream:
        os.fchown(stream.fileno(), 65534, 65534)
        original = bench.sleeper(stdout=stream, user=65534, group=65534, extra_groups=[])
    *_, directory, pid = bench.owned(bench.capsule(original.pid))
    os.kill(pid, signal.SIGTERM)
    assert _output(bench, directory, "--follow") == b"", "follows its owner's file to the end"
    out.unlink()
    out.symlink_to(secret)
    assert bench.verb("log", directory)["error"] == "NO_LOG"


def test_the_package_is_reproducible_and_knows_its_own_hash(bench):
    """Same sources, same bytes; runs isolated under the system's Python; `version` tells which one it is."""
    package, digest = pack()
    assert (package, digest) == pack()
    assert hashlib.sha256(package).hexdigest().startswith(digest)
    version = bench.verb("version")
    assert (version["launcher"], version["protocol"]) == (digest, 1)
    assert version["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    done = subprocess.run([sys.executable, "-m", "offloader.launcher", "version"], capture_output=True, check=True)
    assert json.loads(done.stdout)["launcher"] == "source"


def test_the_launcher_runs_on_old_pythons():
    """Targets have whatever /usr/bin/python3 is: nothing newer than Python 3.9 in its grammar."""
    import ast

    for source in (Path(__file__).resolve().parents[2] / "offloader/launcher").glob("*.py"):
        ast.parse(source.read_text(), feature_version=(3, 9))


def test_nonsense_is_answered_by_a_document(bench):
    """No verb, an unknown one, wrong arguments: `error`, exit status 1, nothing else."""
    for arguments in ((), ("dance",), ("status",), ("place",), ("fence", "a", "b"), ("version", "x"), ("guard",)):
        answer = bench.verb(*arguments)
        assert (answer["error"], answer["rc"]) == ("USAGE", 1), arguments
