"""What a node is like, files put there, environments made there."""

import fcntl
import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from tiny_wheels import wheel

from offloader.launcher.pack import pack

pytestmark = pytest.mark.slow

PYTHON = "/usr/bin/python3"


@pytest.fixture
def verb(tmp_path):
    package, digest = pack()
    launcher = tmp_path / f"launcher-{digest}.pyz"
    launcher.write_bytes(package)

    def run(*words, text=b"", code=0):
        done = subprocess.run(
            [PYTHON, "-I", launcher, *map(str, words)], input=text, capture_output=True, timeout=110, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def facts(verb, tmp_path, **asked):
    directories = {"environments": str(tmp_path / "new/env")}
    document = {"state_dir": str(tmp_path / "state"), "directories": directories, **asked}
    (answer,) = verb("facts", text=json.dumps(document).encode())
    return answer


def test_facts_name_the_account_the_python_and_the_room(verb, tmp_path):
    found = facts(verb, tmp_path)
    assert found["uid"] == os.geteuid()
    assert found["python"]["venv"] is True
    assert found["disk"]["environments"]["free"] > 0
    assert found["disk"]["environments"]["writable"] is True
    assert found["installed"] == {}
    assert not (tmp_path / "new").exists()


def test_ports_are_free_taken_or_not_of_this_node(verb, tmp_path):
    with socket.socket() as taken, socket.socket() as other:
        for one in (taken, other):
            one.bind(("127.0.0.1", 0))
        taken.listen()
        free = other.getsockname()[1]
        other.close()
        used = taken.getsockname()[1]
        asked = [["127.0.0.1", used], ["127.0.0.1", free], ["203.0.113.7", 9]]
        found = facts(verb, tmp_path, ports=asked)["ports"]
    assert found == [
        ["127.0.0.1", used, "taken"],
        ["127.0.0.1", free, None],
        ["203.0.113.7", 9, "no address of this node"],
    ]


def test_a_shared_directory_shows_the_token_that_another_node_left(verb, tmp_path):
    (tmp_path / "token").touch()
    asked = [str(tmp_path / "token"), str(tmp_path / "missing")]
    assert facts(verb, tmp_path, shared=asked)["shared"] == dict(zip(asked, (True, False), strict=True))


def test_a_criu_that_does_not_run_has_no_version(verb, tmp_path):
    program = tmp_path / "criu"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    assert facts(verb, tmp_path, criu=str(program))["criu"] == {"program": str(program), "version": None}
    program.write_text("#!/bin/sh\necho Version: 4.2\n")
    assert facts(verb, tmp_path, criu=str(program))["criu"]["version"] == "4.2"


def test_put_replaces_a_file_only_where_it_differs_and_keeps_secrets(verb, tmp_path):
    path = tmp_path / "etc/token"
    assert verb("put", path, "0600", text=b"secret")[0]["changed"] is True
    assert verb("put", path, "0600", text=b"secret")[0]["changed"] is False
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    assert verb("put", path, "0600", text=b"secret")[0]["changed"] is True
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert verb("put", "relative", "0600", code=1)[0]["error"] == "USAGE"


@pytest.fixture
def nobodys():
    """A place where root alone can make something, gone afterwards."""
    place = Path("/run/grid-offloader-test-put")
    shutil.rmtree(place, ignore_errors=True)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.root
def test_what_is_put_for_another_account_is_that_ones_alone(verb, nobodys):
    path, uid = nobodys / "token", pwd.getpwnam("nobody").pw_uid
    assert verb("put", path, "0600", "nobody", text=b"secret")[0]["changed"] is True
    assert verb("put", path, "0600", "nobody", text=b"secret")[0]["changed"] is False
    seen = [(one.stat().st_uid, stat.S_IMODE(one.stat().st_mode)) for one in (nobodys, path)]
    assert seen == [(uid, 0o700), (uid, 0o600)]


@pytest.mark.root
def test_a_trap_in_the_directory_of_another_account_leads_nowhere(verb, nobodys, tmp_path):
    """Root writes nothing through it: what that account could not change itself stays as it is."""
    verb("put", nobodys / "token", "0600", "nobody", text=b"secret")
    victim = tmp_path / "victim"
    victim.write_text("root's")
    (nobodys / "token").unlink()
    (nobodys / "token").symlink_to(victim)
    verb("put", nobodys / "token", "0600", "nobody", text=b"secret")
    assert (victim.read_text(), victim.stat().st_uid) == ("root's", 0)
    assert not (nobodys / "token").is_symlink()


@pytest.mark.root
@pytest.mark.parametrize("user", [[], ["nobody"]])
def test_a_directory_that_somebody_else_made_first_gets_no_secret(verb, nobodys, user):
    nobodys.mkdir()
    os.chown(nobodys, 1001, 1001)
    (answer,) = verb("put", nobodys / "token", "0600", *user, text=b"secret", code=1)
    assert answer["error"] == "OPEN_TO_OTHERS"
    assert list(nobodys.iterdir()) == []


def test_a_secrets_directory_is_closed_and_a_link_to_one_is_none(verb, tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    verb("put", tmp_path / "open/token", "0600", text=b"secret")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "open")
    assert verb("put", tmp_path / "link/token", "0600", text=b"x", code=1)[0]["error"] == "OS_ERROR"


def test_listing_of_what_is_not_there_is_empty(verb, tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/a.whl").write_bytes(b"12345")
    assert verb("listing", tmp_path / "wheels") == [{"files": {"a.whl": 5}}]
    assert verb("listing", tmp_path / "none") == [{"files": {}}]


def test_an_environment_is_made_from_wheels_once_and_found_again(verb, tmp_path):
    requirement = wheel(tmp_path / "wheels", "ray")
    asked = {
        "kind": "ray",
        "directory": str(tmp_path / "env/ray-1"),
        "lock": "abc",
        "state_dir": str(tmp_path / "state"),
        "release": "r1",
        "requirements": requirement,
        "wheels": str(tmp_path / "wheels"),
    }
    text = json.dumps(asked).encode() + b"\n"
    first = verb("provide", text=text)
    assert [one.get("step") for one in first[:2]] == ["making the environment", "installing packages"]
    assert (first[-1]["made"], first[-1]["changed"], first[-1]["versions"]) == (True, True, {"ray": "1.0"})
    again = verb("provide", text=text)
    assert [(one["made"], one["changed"]) for one in again] == [(False, False)]
    installed = facts(verb, tmp_path)["installed"]["ray"]
    assert (installed["directory"], installed["lock"]) == (asked["directory"], "abc")

    # An interrupted one has no mark: it is made to its end, not believed.
    (tmp_path / "env/ray-1/grid-offloader.json").unlink()
    assert verb("provide", text=text)[-1]["made"] is True


def test_a_wheel_with_another_hash_is_refused_with_pips_words(verb, tmp_path):
    wheel(tmp_path / "wheels", "ray")
    asked = {
        "kind": "ray",
        "directory": str(tmp_path / "env/ray-1"),
        "lock": "abc",
        "state_dir": str(tmp_path / "state"),
        "release": "r1",
        "requirements": f"ray==1.0 --hash=sha256:{'0' * 64}\n",
        "wheels": str(tmp_path / "wheels"),
    }
    answer = verb("provide", text=json.dumps(asked).encode() + b"\n", code=1)[-1]
    assert answer["error"] == "NOT_INSTALLED"
    assert "hash" in answer["detail"].lower()
    assert "ray" not in facts(verb, tmp_path)["installed"]


def test_environments_that_are_used_were_used_before_or_run_something_stay_and_others_go(verb, tmp_path):
    base, state = tmp_path / "env", tmp_path / "state"
    for name in ("app-" + digit * 16 for digit in "12345"):
        (base / name / "bin").mkdir(parents=True)
        (base / name / "pyvenv.cfg").touch()
    (base / "app-of-mine").mkdir()
    state.mkdir()
    before = {"directory": str(base / ("app-" + "2" * 16))}
    app = {"directory": str(base / ("app-" + "3" * 16)), "previous": before}
    (state / "installed.json").write_text(json.dumps({"app": app, "ray": {"directory": "/opt/ray", "previous": None}}))
    program = base / ("app-" + "1" * 16) / "bin/sleep"
    program.symlink_to("/bin/sleep")
    lock = base / (".app-" + "4" * 16 + ".lock")
    with subprocess.Popen([program, "1000"]) as running, lock.open("w") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        (answer,) = verb("used", state, base)
        (pruned,) = verb("prune", base, *answer["used"])
        running.kill()
    assert answer["used"] == ["app-" + digit * 16 for digit in "123"]
    assert pruned["removed"] == ["app-" + "5" * 16]
    assert sorted(path.name for path in base.glob("app*")) == [
        *("app-" + digit * 16 for digit in "1234"),
        "app-of-mine",
    ]
    assert verb("prune", "env", code=1)[0]["error"] == "USAGE"
    assert verb("prune", tmp_path / "none") == [{"removed": []}]
