"""What Ray's account may have root open: attempts that only root can have made, by their id and nothing else."""

import json
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from offloader.launcher.as_owner import answered
from offloader.launcher.care.privilege import rule
from offloader.launcher.errors import LauncherError
from offloader.launcher.opening import attempt_of
from offloader.launcher.owner import Account
from offloader.launcher.pack import pack
from offloader.launcher.rooted import intruder

PYTHON = "/usr/bin/python3"
JOB = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
TASK = f"{JOB}.1"
STATE = Path("/var/lib/grid-offloader-test-open")  # below /tmp, where everybody may write, everything is refused
SOMEBODY = 1001
LIMIT_S = 30


@pytest.fixture
def state():
    """A node's state directory with its launcher, root's alone."""
    shutil.rmtree(STATE, ignore_errors=True)
    (STATE / "bin").mkdir(mode=0o755, parents=True)
    (STATE / "attempts").mkdir(mode=0o700)
    package, digest = pack()
    launcher = STATE / f"bin/launcher-{digest}.pyz"
    launcher.write_bytes(package)
    yield STATE
    shutil.rmtree(STATE)


@pytest.fixture
def run(state):
    """A verb of the launcher there: its exit status and its document."""
    (launcher,) = (state / "bin").iterdir()

    def verb(*words, text="", program=launcher):
        line = [PYTHON, "-I", program, *map(str, words)]
        done = subprocess.run(line, input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        return done.returncode, json.loads(done.stdout or "{}")

    return verb


@pytest.fixture
def attempt(state):
    """As the controller places one."""
    made = state / "attempts" / TASK
    made.mkdir(mode=0o700)
    (made / "capsule.json").touch(mode=0o600)
    return made


@pytest.mark.root
@pytest.mark.parametrize("text", ["", "x", f"{TASK} more", "../../etc.1", f"{TASK}/..", f"-{TASK[1:]}", f"{TASK}\0"])
def test_only_the_id_of_an_attempt_is_taken(run, text):
    code, said = run("open", text=text)
    assert (code, said["error"]) == (1, "USAGE")


@pytest.mark.root
def test_an_argument_is_never_taken(run):
    assert run("open", TASK, text=f"{TASK}\n")[1]["error"] == "USAGE"


@pytest.mark.root
def test_what_the_controller_placed_is_opened(attempt):
    assert attempt_of(STATE, TASK) == attempt


@pytest.mark.root
@pytest.mark.usefixtures("attempt")
def test_what_is_not_there_is_said_to_be_not_there():
    with pytest.raises(LauncherError, match="is not here") as refused:
        attempt_of(STATE, f"{TASK}2")
    assert refused.value.code == "NOT_PLACED"


@pytest.mark.root
@pytest.mark.parametrize("which", ["..", ".", "capsule.json"])
def test_what_somebody_else_owns_is_no_capsule_of_ours(attempt, run, which):
    os.chown(attempt / which, SOMEBODY, SOMEBODY)
    code, said = run("open", text=f"{TASK}\n")
    assert (code, said["error"]) == (1, "FORGED")
    assert (attempt / "capsule.json").exists()


@pytest.mark.root
def test_a_directory_on_the_way_that_others_may_write_to_is_refused(attempt):
    attempt.parent.chmod(0o777)
    with pytest.raises(LauncherError, match="is not root's alone"):
        attempt_of(STATE, TASK)


@pytest.mark.root
def test_an_attempt_that_others_may_read_is_refused(attempt):
    attempt.chmod(0o755)
    with pytest.raises(LauncherError, match="open to others"):
        attempt_of(STATE, TASK)


@pytest.mark.root
@pytest.mark.parametrize("which", [".", "capsule.json"])
def test_a_link_is_nothing_of_ours(attempt, which):
    there = attempt / which if which != "." else attempt
    there.rename(STATE / "elsewhere")
    there.symlink_to(STATE / "elsewhere")
    with pytest.raises(LauncherError) as refused:
        attempt_of(STATE, TASK)
    assert refused.value.code == "FORGED"


def capsule(run, *, epoch=1, user="nobody", **process):
    """Of a process of that user's, as captured; `process` says other things of it."""
    account = pwd.getpwnam(user)
    options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "start_new_session": True}
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    original = subprocess.Popen([PYTHON, "-c", "import time; time.sleep(1000)"], cwd="/", **silent, **options)
    try:
        _, captured = run("capture", original.pid)
    finally:
        original.kill()
        original.wait()
    document = {"version": 1, "job": JOB, "epoch": epoch, "move": "m", "process": {**captured, **process}}
    return json.dumps(document)


@pytest.mark.root
@pytest.mark.slow
def test_a_capsule_is_opened_once_and_a_copy_of_it_never(run, state):
    """Its launcher ends by a signal: what was opened stays used."""
    text, place = capsule(run), state / "attempts" / TASK
    assert run("place", place, text=text) == (0, {"placed": True})
    (launcher,) = (state / "bin").iterdir()
    line = [PYTHON, "-I", launcher, "open"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        first.stdin.write(f"{TASK}\n")
        first.stdin.flush()
        status = wait_for_state(place, first)
        first.send_signal(signal.SIGTERM)
        first.wait(LIMIT_S)
    assert status == "held"
    assert run("open", text=f"{TASK}\n")[1]["error"] == "NOT_PLACED"
    assert run("place", place, text=text)[1]["error"] == "EXISTS"

    later = state / "attempts" / f"{JOB}.2"
    later.mkdir(mode=0o700)
    (later / "capsule.json").write_text(text)
    assert run("open", text=f"{JOB}.2\n")[1]["error"] == "BAD_CAPSULE"
    assert run("place", state / "attempts" / f"{JOB}.0", text=capsule(run, epoch=0))[1]["error"] == "OLD_EPOCH"


def wait_for_state(directory, role):
    """What its launcher says of itself, once it does."""
    while role.poll() is None:
        try:
            return json.loads((directory / "state.json").read_text())["state"]
        except FileNotFoundError:
            continue
    return None


@pytest.mark.root
@pytest.mark.slow
def test_nobody_becomes_another_user_or_root_by_a_capsule(run, state):
    """Name and uid must agree; and whatever it says, nothing runs as root."""
    others = {"user": "nobody", "uid": pwd.getpwnam("daemon").pw_uid}
    run("place", state / "attempts" / TASK, text=capsule(run, **others))
    assert run("open", text=f"{TASK}\n")[0] != 0
    said = json.loads((state / "attempts" / TASK / "state.json").read_text())
    assert (said["state"], said["reason"]) == ("failed", "IDENTITY_MISMATCH")
    for epoch, roots in ((2, {"user": "root", "uid": 0, "gid": 0}), (3, {"gid": 0})):
        task = f"{JOB}.{epoch}"
        assert run("place", state / "attempts" / task, text=capsule(run, epoch=epoch, **roots))[0] == 0
        assert run("open", text=f"{task}\n")[1]["error"] == "FORGED"


@pytest.mark.root
def test_nobody_can_look_into_what_has_become_the_owner_and_not_executed_anything_yet():
    """It still holds what root knew: its /proc entries are root's, hence no ptrace either (PR_SET_DUMPABLE)."""
    found = pwd.getpwnam("nobody")
    who = Account("nobody", found.pw_uid, found.pw_gid, (found.pw_gid,))
    seen = answered(who, lambda: {"uid": os.geteuid(), "owner": Path("/proc/self/environ").stat().st_uid})
    assert seen == {"uid": found.pw_uid, "owner": 0}


def test_the_rule_names_one_program_without_arguments_and_no_pattern():
    text = rule("/var/lib/grid-offloader-open/open", "raysvc")
    assert not set("*?[]^!\\") & set(text.splitlines()[-1])
    assert "SETENV" not in text
    assert text.splitlines()[-1] == 'raysvc ALL = (root) NOPASSWD: /var/lib/grid-offloader-open/open ""'


@pytest.mark.sudo
def test_sudo_takes_the_rule():
    line, text = ["/usr/sbin/visudo", "-c", "-f", "-"], rule("/o/open", "raysvc")
    done = subprocess.run(line, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.root
@pytest.mark.sudo
def test_the_rule_and_its_program_are_made_once_and_taken_away(run, state):
    opener, sudoers = state / "open/open", state / "sudoers"
    asked = json.dumps({"opener": str(opener), "account": "raysvc", "sudoers": str(sudoers)})
    assert run("privilege", text=asked) == (0, {"changed": True})
    assert run("privilege", text=asked) == (0, {"changed": False})
    assert (sudoers.stat().st_mode & 0o7777, sudoers.read_text()) == (0o440, rule(str(opener), "raysvc"))
    assert opener.stat().st_mode & 0o7777 == 0o755
    (launcher,) = (state / "bin").iterdir()
    assert opener.read_text().splitlines()[-1] == f"exec {PYTHON} -I -S {launcher} open"
    assert run("unprivilege", text=asked) == (0, {"changed": True})
    assert not opener.exists()
    assert not sudoers.exists()


@pytest.mark.root
@pytest.mark.parametrize("which", ["bin", "open"])
def test_no_rule_is_made_for_what_others_could_change(run, state, which):
    """The launcher and the program that starts it: whoever may write there would be root."""
    (state / which).mkdir(exist_ok=True)
    (state / which).chmod(0o777)
    asked = {"opener": str(state / "open/open"), "account": "raysvc", "sudoers": str(state / "sudoers")}
    code, said = run("privilege", text=json.dumps(asked))
    assert (code, said["error"]) == (1, "OPEN_TO_OTHERS")
    assert not (state / "sudoers").exists()


@pytest.mark.parametrize("words", [{"account": "ALL"}, {"account": "%sudo"}, {"opener": "/x/open *"}, {"opener": "x"}])
def test_nothing_gets_into_the_rule_but_plain_paths_and_an_accounts_name(run_anywhere, words):
    asked = {"opener": "/x/open", "account": "raysvc", "sudoers": "/x/sudoers", **words}
    assert run_anywhere("privilege", json.dumps(asked))["error"] == "USAGE"


@pytest.fixture
def run_anywhere(tmp_path):
    package, digest = pack()
    launcher = tmp_path / f"launcher-{digest}.pyz"
    launcher.write_bytes(package)

    def verb(word, text):
        line = [PYTHON, "-I", launcher, word]
        done = subprocess.run(line, input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        return json.loads(done.stdout)

    return verb


@pytest.mark.root
def test_what_is_roots_alone_all_the_way_is_told_from_what_is_not(state, tmp_path):
    assert intruder(state / "bin") is None
    assert intruder(Path("/etc/passwd")) is None
    assert intruder(tmp_path) == Path("/tmp")
    (state / "link").symlink_to(state / "bin")
    assert intruder(state / "link") == state / "link"
