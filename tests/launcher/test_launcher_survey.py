"""What a job has in its hands, and whether another node (a mount namespace here) offers the same."""

import contextlib
import json
import os
import pty
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from offloader.launcher.tokens import PREFIX
from offloader.launcher.wire import pack_bytes, unpack_bytes

pytestmark = [pytest.mark.slow, pytest.mark.root]

PYTHON = "/usr/bin/python3"


@contextlib.contextmanager
def surveyed(bench, *pids):
    """The survey's document, and its process, which keeps the tokens while it runs."""
    role = subprocess.Popen(
        [PYTHON, "-I", bench.launcher, "survey", *map(str, pids)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=bench.environment(),
        cwd="/",
    )
    try:
        yield json.loads(role.stdout.readline()), role
    finally:
        role.stdin.close()
        role.stdout.close()
        role.wait(20)


def elsewhere(bench, setup, document, verb="check"):
    """The target's answer, on a node that differs by what `setup` (shell) does to a mount namespace of its own."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f'{setup}\nexec "$@"', "sh", PYTHON, "-I", bench.launcher, verb],
        input=json.dumps(document).encode(),
        capture_output=True,
        check=False,
        env=bench.environment(),
        cwd="/",
        timeout=60,
    )
    assert done.stdout, done.stderr.decode()
    return json.loads(done.stdout)


def judged(bench, pid, setup="true", others=()):
    """The whole preflight of a job on such a node."""
    capsule = {**bench.capsule(pid), "shared": []}
    with surveyed(bench, pid, *others) as (survey, _):
        return elsewhere(bench, setup, {"capsule": capsule, "survey": survey})


def codes(answer):
    return [one["reason"] for one in answer["obstacles"]]


def tokens(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(PREFIX.decode())]


def folder(bench, name):
    made = bench.root / name
    made.mkdir()
    return made


OPENS = """
import sys, time
files = [open(path, mode) for path, mode in zip(sys.argv[1::2], sys.argv[2::2])]
up()
time.sleep(1000)
"""
LOCKS = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
up()
time.sleep(1000)
"""


def test_a_shared_file_system_is_known_by_its_token_a_private_one_by_its_absence(bench):
    """The same type, even the same path: over the target's directory lies another file system."""
    cwd = folder(bench, "work")
    with (cwd / "out").open("w") as out:
        process = bench.sleeper(cwd=cwd, stdout=out)
    shared = judged(bench, process.pid)
    assert (codes(shared), shared["streams"]["1"]) == ([], "file")
    assert shared["shared"]
    private = judged(bench, process.pid, f"mount -t tmpfs -o size=128M none {cwd}; touch {cwd}/out")
    assert codes(private) == ["NO_FILE"]
    assert not tokens(bench.root)


@pytest.mark.parametrize("how", ["asker gone", signal.SIGTERM, signal.SIGHUP])
def test_tokens_are_gone_when_the_survey_ends(bench, how):
    cwd = folder(bench, "work")
    with surveyed(bench, bench.sleeper(cwd=cwd).pid) as (survey, role):
        assert len(tokens(cwd)) == 1
        assert (
            Path(os.fsdecode(unpack_bytes(survey["tokens"][0]["path"]))).read_text() == survey["tokens"][0]["content"]
        )
        if how == "asker gone":
            role.stdin.close()
        else:
            role.send_signal(how)
        role.wait(20)
        assert not tokens(cwd)


def test_what_a_killed_survey_left_is_swept_by_a_later_one(bench):
    cwd = folder(bench, "work")
    process = bench.sleeper(cwd=cwd)
    with surveyed(bench, process.pid) as (_, role):
        role.kill()
        role.wait(20)
    (left,) = tokens(cwd)
    with surveyed(bench, process.pid):
        assert left.exists(), "it may belong to a survey that still runs"
    os.utime(left, (time.time() - 700, time.time() - 700))
    with surveyed(bench, process.pid):
        assert not left.exists()


def test_tokens_are_the_owners_and_directories_that_he_may_not_write_get_none(bench):
    """Root may be nobody on a network file system; and nothing is written that the owner could not write."""
    cwd, closed = folder(bench, "work"), folder(bench, "closed")
    os.chown(cwd, 65534, 65534)
    (closed / "data").write_text("x")
    process = bench.python(OPENS, str(closed / "data"), "r", cwd=cwd, user=65534, group=65534, extra_groups=[])
    with surveyed(bench, process.pid):
        assert [path.stat().st_uid for path in tokens(bench.root)] == [65534]


def test_a_locked_file_that_the_target_sees_is_in_the_way_one_that_it_does_not_is_noted(bench):
    cwd = folder(bench, "work")
    process = bench.python(LOCKS, str(cwd / "run.lock"), cwd=cwd)
    assert codes(judged(bench, process.pid)) == ["LOCKED"]
    apart = judged(bench, process.pid, f"mount -t tmpfs -o size=128M none {cwd}")
    assert "LOCKED" not in codes(apart)
    assert any("guards nothing" in note for note in apart["notes"])


def test_of_very_many_open_files_the_locked_one_is_not_overlooked(bench):
    many = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
    many += "import sys\nkept = [open(f'{sys.argv[2]}/{n:05}', 'w+').close() or open(f'{sys.argv[2]}/{n:05}') "
    many += "for n in range(1100)]"
    data = folder(bench, "data")
    process = bench.python(f"{many}\n{LOCKS}", str(data / "run.lock"), str(data))
    assert codes(judged(bench, process.pid)) == ["LOCKED"]


def test_the_standard_output_may_be_the_locked_file(bench):
    with (bench.root / "out").open("w") as out:
        process = bench.python("import fcntl, time\nfcntl.flock(1, fcntl.LOCK_EX)\nup()\ntime.sleep(1000)", stdout=out)
        assert codes(judged(bench, process.pid)) == ["LOCKED"]


@pytest.mark.parametrize(
    ("mode", "there", "expected"),
    [
        ("r", "true", "NO_FILE"),
        ("r", "printf same > {path}", None),
        ("r", "printf different > {path}", "NO_FILE"),
        ("a", "printf same > {path}", "NO_FILE"),
    ],
)
def test_an_open_file_must_be_reachable(bench, mode, there, expected):
    """A copy of what is read will do; what is written must be the very same file."""
    data = folder(bench, "data")
    path = data / "set.bin"
    path.write_text("same")
    process = bench.python(OPENS, str(path), mode)
    assert codes(judged(bench, process.pid)) == []
    setup = f"mount -t tmpfs -o size=128M none {data}; " + there.format(path=path)
    # The bench lies below /tmp, where written files count as scratch: judge it by the name that it has elsewhere.
    found = judged(bench, process.pid, setup)
    scratch = mode == "a" and str(path).startswith("/tmp/")
    assert codes(found) == ([] if expected is None or scratch else [expected])
    assert any("scratch" in note for note in found["notes"]) == scratch


def test_a_written_file_outside_of_scratch_is_in_the_way(bench):
    path = Path("/srv") / bench.move
    path.mkdir()
    try:
        process = bench.python(OPENS, str(path / "results"), "w")
        assert codes(judged(bench, process.pid, f"mount -t tmpfs none {path}")) == ["NO_FILE"]
        assert codes(judged(bench, process.pid)) == []
    finally:
        (path / "results").unlink()
        path.rmdir()


def test_a_deleted_file_is_in_nobodys_way(bench):
    path = bench.root / "scratch"
    process = bench.python(OPENS, str(path), "w")
    path.unlink()
    assert codes(judged(bench, process.pid)) == []


def test_a_member_s_program_and_libraries_must_be_there(bench):
    """The leader's own are the capsule's matter; its child runs another program."""
    program = bench.root / "worker"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    child = bench.start([program, "1000"])
    process = bench.sleeper()
    assert codes(judged(bench, process.pid, others=[child.pid])) == []
    gone = judged(bench, process.pid, f"mount --bind /bin/cat {program}", others=[child.pid])
    assert codes(gone) == ["NO_EXECUTABLE"]
    assert "another build" in gone["obstacles"][0]["seen"]
    with surveyed(bench, process.pid, child.pid) as (survey, _):
        survey["libraries"].append({"path": pack_bytes(b"/usr/lib/libnowhere.so.1"), "size": 7})
        answer = elsewhere(bench, "true", {"capsule": bench.capsule(process.pid), "survey": survey})
    assert codes(answer) == ["NO_FILE"]
    assert any(b"ld" in unpack_bytes(one["path"]) for one in survey["libraries"]), "the ELF interpreter is one of them"


def test_a_device_must_be_there_for_its_owner(bench):
    """As of GPUs and network cards; what every node has (/dev/null and the like) is not asked for."""
    devices = folder(bench, "devices")
    os.mknod(devices / "card", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    process = bench.python(OPENS, str(devices / "card"), "r", "/dev/zero", "r")
    assert codes(judged(bench, process.pid)) == []
    missing = judged(bench, process.pid, f"mount -t tmpfs -o size=128M none {devices}")
    assert codes(missing) == ["UNSUPPORTED_FD"]
    assert "devices/card" in missing["obstacles"][0]["seen"]


def test_a_program_that_opened_its_terminal_by_itself_cannot_do_without(bench):
    """A password prompt, a full-screen program: standard input alone would be replaced by /dev/null."""
    child, terminal = pty.fork()
    if child == 0:
        os.closerange(3, 1024)
        opens = "import time; file = open('/dev/tty', 'rb', buffering=0); print('ready', flush=True); time.sleep(1000)"
        os.execve(PYTHON, [PYTHON, "-c", opens], bench.environment())
    try:
        assert b"ready" in os.read(terminal, 100)
        assert codes(judged(bench, child)) == ["TERMINAL"]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def test_an_ended_process_or_no_number_is_refused(bench):
    assert bench.verb("survey", "4194303")["error"] == "NO_SUCH_PROCESS"
    assert bench.verb("survey", "x")["error"] == "USAGE"
    assert bench.verb("survey")["error"] == "USAGE"


NOTHING_IN_HAND = {"state_in": [], "terminal": False} | {
    kind: [] for kind in ("files", "programs", "libraries", "directories", "devices", "tokens")
}
PASSWD = "root:x:0:0::/root:/bin/sh\n{name}:x:1001:1001::/:/bin/sh\n"
GROUP = "root:x:0:\n{name}:x:1001:\n{group}:x:1500:{member}\nusers:x:1600:{name}\n"


def accounts(bench, node, name, docker="", group="docker"):
    """Shell that makes a mount namespace a node with its own accounts; `docker`: who is in group 1500."""
    for kind, text in (("passwd", PASSWD), ("group", GROUP)):
        (bench.root / f"{node}.{kind}").write_text(text.format(name=name, member=docker, group=group))
    mounts = [f"mount --bind {bench.root}/{node}.{kind} /etc/{kind}" for kind in ("passwd", "group")]
    return "; ".join(mounts)


def captured_on(bench, setup, pid):
    """What the source, with its accounts, captures."""
    command = ["unshare", "--mount", "sh", "-ec", f'{setup}\nexec "$@"', "sh"]
    done = subprocess.run(
        [*command, PYTHON, "-I", bench.launcher, "capture", str(pid)], capture_output=True, check=True, timeout=60
    )
    return {"version": 1, "job": bench.job, "epoch": 1, "move": bench.move, "process": json.loads(done.stdout)}


def test_a_uid_that_is_somebody_elses_at_the_target_is_refused(bench):
    """uid 1001 is alice at the source and bob at the target: bob's rights are not hers to use."""
    head = accounts(bench, "head", "alice")
    process = bench.sleeper(user=1001, group=1001, extra_groups=[1600])
    capsule = captured_on(bench, head, process.pid)
    assert capsule["process"]["user"] == "alice"
    assert codes(elsewhere(bench, accounts(bench, "same", "alice"), {"capsule": capsule})) == []
    answer = elsewhere(bench, accounts(bench, "worker", "bob"), {"capsule": capsule})
    assert codes(answer) == ["IDENTITY_MISMATCH"]
    assert "alice" in answer["obstacles"][0]["seen"]
    assert "bob" in answer["obstacles"][0]["seen"]
    assert answer["obstacles"][0]["remedy"]


@pytest.mark.parametrize("number", ["only at the target", "another group's at the source"])
def test_a_group_that_she_has_only_at_the_target_is_not_acquired(bench, number):
    """docker there would make her root there; her group of both nodes stays hers. Numbers alone are no groups."""
    taken = [1500] if number.startswith("another") else []
    process = bench.sleeper(user=1001, group=1001, extra_groups=[1600, *taken])
    capsule = captured_on(bench, accounts(bench, "head", "alice", docker="alice", group="video"), process.pid)
    target = accounts(bench, "worker", "alice", docker="alice")
    directory = bench.place(capsule)
    namespace = ["unshare", "--mount", "sh", "-ec", f'{target}\nexec "$@"', "sh"]
    role = subprocess.Popen(
        [*namespace, PYTHON, "-I", str(bench.launcher), "hold", str(directory)],
        cwd="/",
        env=bench.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not (directory / "state.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        link = bench.link(directory, hello="held")
        link.send(do="go", epoch=1, settle_s=60.0)
        status = Path(f"/proc/{link.expect('launched')['pid']}/status").read_text()
        (groups,) = [line.split()[1:] for line in status.splitlines() if line.startswith("Groups:")]
        assert groups == ["1001", "1600"]
        assert "NoNewPrivs:\t1" in status
    finally:
        role.terminate()
        role.wait(20)


def test_a_primary_group_that_is_another_one_at_the_target_is_refused(bench):
    process = bench.sleeper(user=1001, group=1600, extra_groups=[])
    capsule = captured_on(bench, accounts(bench, "head", "alice"), process.pid)
    capsule["process"]["group_names"]["1600"] = "staff"
    answer = elsewhere(bench, accounts(bench, "worker", "alice"), {"capsule": capsule})
    assert codes(answer) == ["IDENTITY_MISMATCH"]
    assert "staff" in answer["obstacles"][0]["seen"]
    assert "users" in answer["obstacles"][0]["seen"]


@pytest.mark.parametrize(("group", "found"), [("docker", ["IDENTITY_MISMATCH"]), ("render", [])])
def test_without_root_a_group_of_the_target_cannot_be_given_up_and_is_refused_or_told(bench, group, found):
    """The launcher runs as her own account there. What makes her root is in the way, what a GPU needs is only told."""
    process = bench.sleeper(user=1001, group=1001, extra_groups=[1600], cwd="/")
    capsule = captured_on(bench, accounts(bench, "head", "alice", group=group), process.pid)
    worker = accounts(bench, "worker", "alice", docker="alice", group=group)
    become = f"{worker}; set -- setpriv --reuid=1001 --regid=1001"
    asked = {"capsule": capsule, "survey": NOTHING_IN_HAND}
    same = elsewhere(bench, f'{become} --groups=1600 "$@"', asked)
    assert (codes(same), same["notes"]) == ([], [])
    more = elsewhere(bench, f'{become} --init-groups "$@"', asked)
    assert codes(more) == found
    assert any(group in text for text in [*(one["seen"] for one in more["obstacles"]), *more["notes"]])
    again_at_its_source = elsewhere(bench, f'{become} --init-groups "$@"', {"capsule": capsule})
    assert codes(again_at_its_source) == []


def test_a_job_that_runs_no_more_is_vouched_for_from_its_capsule(bench):
    """To start it on yet another node: its directories are proven shared anew, by tokens that go away again."""
    cwd = folder(bench, "work")
    with (cwd / "out").open("w") as out:
        process = bench.sleeper(cwd=cwd, stdout=out)
    capsule = {**bench.capsule(process.pid), "shared": []}
    process.kill()
    process.wait()
    command = [PYTHON, "-I", bench.launcher, "vouch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as role:
        role.stdin.write(json.dumps(capsule).encode() + b"\n")
        role.stdin.flush()
        survey = json.loads(role.stdout.readline())
        asked = {"capsule": capsule, "survey": survey}
        assert len(tokens(cwd)) == 1
        assert codes(elsewhere(bench, "true", asked)) == []
        private = f"mount -t tmpfs -o size=128M none {cwd}; touch {cwd}/out"
        assert codes(elsewhere(bench, private, asked)) == ["NO_FILE"]
    assert not tokens(cwd)


def with_state_in(bench, directory, setup, verb="survey"):
    """What preflight says of a job whose state is in that directory, on a node that differs by `setup`."""
    process = bench.sleeper(cwd=bench.root)
    packed = [pack_bytes(os.fsencode(directory))]
    capsule = {**bench.capsule(process.pid), "shared": [], "state_in": packed}
    said = {"state_in": packed} if verb == "survey" else capsule
    arguments = ["survey", "-", str(process.pid)] if verb == "survey" else ["vouch"]
    role = subprocess.Popen(
        [PYTHON, "-I", bench.launcher, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=bench.environment(),
        cwd="/",
    )
    try:
        role.stdin.write(json.dumps(said).encode() + b"\n")
        role.stdin.flush()
        survey = json.loads(role.stdout.readline())
        return elsewhere(bench, setup, {"capsule": capsule, "survey": survey})["obstacles"]
    finally:
        role.stdin.close()
        role.stdout.close()
        role.wait(20)


@pytest.mark.parametrize("verb", ["survey", "vouch"])
@pytest.mark.parametrize("there", [True, False], ids=["there", "to be made"])
def test_a_job_goes_on_only_where_its_saved_state_is_the_very_same(bench, verb, there):
    """A directory of the same name would let it begin anew, and nobody would notice."""
    place = bench.root / "place"
    state = place / "state"
    (state if there else place).mkdir(parents=True)
    assert with_state_in(bench, state, "true", verb) == []
    (found,) = with_state_in(bench, state, f"mount -t tmpfs none {place} && mkdir {state}", verb)
    assert found["reason"] == "NO_DIRECTORY"
    assert "saved state" in found["seen"]
    assert str(state) in found["seen"]


def test_directories_of_state_are_absolute(bench):
    answer = bench.verb("survey", "-", bench.sleeper().pid, stdin={"state_in": [pack_bytes(b"relative")]})
    assert answer["error"] == "BAD_MESSAGE"
