"""Capsules on the target: placed once, claimed once, or revoked; never two of these."""

import copy
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from offloader.launcher.errors import LauncherError
from offloader.launcher.place import claim, place, revoke


@pytest.fixture
def capsule(bench):
    return bench.capsule(bench.sleeper().pid)


def test_a_placed_capsule_is_private_and_complete(bench, capsule):
    """0700 and 0600, durable, and exactly what was sent."""
    directory = bench.place(capsule)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "capsule.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((directory / "capsule.json").read_text()) == capsule


def test_an_attempt_is_placed_once_and_never_under_a_newer_one(bench, capsule):
    """EXISTS for the same epoch, OLD_EPOCH below a newer one."""
    bench.place({**capsule, "epoch": 5})
    assert bench.verb("place", bench.attempt(5), stdin={**capsule, "epoch": 5})["error"] == "EXISTS"
    old = bench.verb("place", bench.attempt(4), stdin={**capsule, "epoch": 4})
    assert (old["error"], old["rc"]) == ("OLD_EPOCH", 1)
    assert not bench.attempt(4).exists()
    assert bench.verb("place", bench.attempt(6), stdin={**capsule, "epoch": 6}) == {"placed": True}


def test_a_directory_of_another_name_is_refused(bench, capsule):
    """The directory says which attempt it is: fencing relies on it."""
    assert bench.verb("place", bench.root / "attempts" / "other.1", stdin=capsule)["error"] == "BAD_CAPSULE"


def test_another_attempts_capsule_is_not_claimed(bench, capsule):
    """A copy that was put into another directory says the same twice."""
    directory = bench.place(capsule)
    other = bench.attempt(2)
    other.mkdir(mode=0o700)
    (other / "capsule.json").write_bytes((directory / "capsule.json").read_bytes())
    with pytest.raises(LauncherError, match="must be called"):
        claim(other)


WRONG = [
    ("version", 2),
    ("job", "../../etc"),
    ("job", ""),
    ("epoch", "1"),
    ("epoch", True),
    ("env_add", {"A=B": "x"}),
    ("env_add", {"A": 1}),
    ("env_add", {"A": "\0"}),
    ("pass_env", ["A B"]),
    ("timings", {"lease_s": -1}),
    ("timings", []),
    ("process", None),
    ("process.argv", []),
    ("process.argv", ["not base64!"]),
    ("process.argv", ["AA=="]),
    ("process.cwd", "eA=="),
    ("process.exe", {"path": "eA==", "digest": "x"}),
    ("process.rlimits", {"NOFILE": [1]}),
    ("process.stdio.1", {"kind": "magic"}),
    ("process.stdio.1", {"kind": "file"}),
    ("process.uid", "0"),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_capsule_is_refused_by_the_name_of_its_field(bench, capsule, field, value):
    """What a capsule says is executed: nothing of a wrong one is placed."""
    wrong = copy.deepcopy(capsule)
    *parents, last = field.split(".")
    inner = wrong
    for name in parents:
        inner = inner[name]
    inner[last] = value
    answer = bench.verb("place", bench.attempt(), stdin=wrong)
    assert answer["error"] == "BAD_CAPSULE"
    assert last in answer["detail"] or field in answer["detail"]
    assert not bench.attempt().exists()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 200_000])
def test_what_is_no_capsule_at_all_is_refused(bench, data):
    """Cut off, not JSON, nested without end."""
    assert bench.verb("place", bench.attempt(), stdin=data)["error"] == "BAD_MESSAGE"


def test_revoked_is_for_ever_and_claimed_cannot_be_revoked(bench, capsule):
    """A submission that starts late finds nothing; a roll-back learns that it came too late."""
    directory = bench.place(capsule)
    assert bench.verb("revoke", directory) == {"revoked": True}
    assert bench.verb("revoke", directory) == {"revoked": True}
    assert bench.verb("hold", directory)["error"] == "NOT_PLACED"
    assert bench.verb("status", directory)["state"] == "revoked"
    second = bench.place({**capsule, "epoch": 2})
    assert claim(second) is not None
    assert bench.verb("revoke", second) == {"revoked": False}


def test_a_capsule_leaves_nothing_on_the_disk_once_it_was_claimed_or_revoked(bench, capsule):
    """Its environment is full of secrets, and the worker's disk is not theirs to stay on."""
    claimed = bench.place(capsule)
    assert claim(claimed) is not None
    revoked = bench.place({**capsule, "epoch": 2})
    bench.verb("revoke", revoked)
    died = bench.place({**capsule, "epoch": 3})
    (died / "capsule.json").rename(died / "capsule.claimed")  # the launcher was killed right after its claim
    assert bench.verb("revoke", died) == {"revoked": False}
    left = [path for one in (claimed, revoked, died) for path in one.iterdir() if path.stat().st_size]
    assert left == []


def test_revoking_what_was_never_placed_keeps_it_from_being_placed(bench, capsule):
    """The connection broke while placing: whatever arrives later is too late."""
    assert bench.verb("revoke", bench.attempt()) == {"revoked": True}
    assert bench.verb("place", bench.attempt(), stdin=capsule)["error"] == "EXISTS"


def test_of_revoke_and_claim_exactly_one_wins(bench, capsule):
    """Raced 200 times from several threads with several claimers: never both, never none."""
    with ThreadPoolExecutor(4) as pool:
        for epoch in range(1, 201):
            directory = bench.attempt(epoch)
            place(directory, {**capsule, "epoch": epoch})
            start = threading.Barrier(4)

            def go(what, directory=directory, start=start):
                start.wait()
                return what(directory)

            claims = [pool.submit(go, claim) for _ in range(3)]
            revoked = pool.submit(go, revoke).result()
            claimed = sum(one.result() is not None for one in claims)
            assert claimed + revoked == 1, (claimed, revoked)


def test_of_revoke_and_place_the_capsule_never_stays_claimable(bench, capsule):
    """Raced: either the place fails, or it was first and its capsule is revoked."""
    with ThreadPoolExecutor(2) as pool:
        for epoch in range(1, 101):
            directory = bench.attempt(epoch)
            start = threading.Barrier(2)

            def placing(directory=directory, start=start, epoch=epoch):
                start.wait()
                try:
                    place(directory, {**capsule, "epoch": epoch})
                except LauncherError as error:
                    return error.code
                return "placed"

            placed = pool.submit(placing)
            start.wait()
            assert revoke(directory)
            assert placed.result() in ("placed", "EXISTS")
            assert claim(directory) is None


def test_a_claimed_capsule_of_an_older_epoch_is_not_started(bench, capsule):
    """A newer attempt came to this node while the old one waited in the queue."""
    old = bench.place({**capsule, "epoch": 1})
    bench.place({**capsule, "epoch": 2})
    assert bench.verb("hold", old)["error"] == "OLD_EPOCH"


def test_an_unwritable_state_directory_is_a_plain_error(bench, capsule):
    """Not a traceback."""
    if os.geteuid() == 0:
        Path(bench.root / "file").write_text("")
        answer = bench.verb("place", bench.root / "file" / f"{bench.job}.1", stdin=capsule)
        assert answer["error"] == "OS_ERROR"
