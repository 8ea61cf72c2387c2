"""Messages in files: beside the log or in the owner's state directory, by the owner's rights, through no tricks."""

import os
import pwd
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from offloader.adapters.channels import append
from offloader.adapters.channels.file import FileChannel
from offloader.notify.message import Message, MessageKind, Origin

PYTHON = "/usr/bin/python3"
UID = os.geteuid()
NOBODY = 65534


def message(uid=UID, log=None):
    return Message(
        MessageKind.DONE, 1.7e9, uid, "alice", 42, "tr\x1bain.py", "head1", "gpu1", "restart", Origin(0, log), move="m1"
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The account's home is this one."""
    entry = pwd.getpwuid(UID)
    fake = pwd.struct_passwd((*entry[:5], str(tmp_path / "home"), entry[6]))
    monkeypatch.setattr("offloader.adapters.channels.file.pwd.getpwuid", lambda _: fake)
    return tmp_path / "home"


async def test_it_stands_beside_the_log_for_its_owner_alone(tmp_path, home):
    log = tmp_path / "train.log"
    log.write_text("epoch 1\n")
    assert await FileChannel(PYTHON).send(message(log=str(log)))
    assert await FileChannel(PYTHON).send(message(log=str(log)))
    beside = tmp_path / "train.log.grid-offloader"
    text = beside.read_text()
    assert text.count("was moved from head1 to gpu1") == 2
    assert "tr\\x1bain.py" in text
    assert "\x1b" not in text
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    assert log.read_text() == "epoch 1\n"
    assert not home.exists()


@pytest.mark.parametrize("kind", ["none", "gone", "directory", "fifo"])
async def test_without_a_log_of_his_own_it_is_in_his_state_directory(tmp_path, home, kind):
    log = tmp_path / "log"
    make = {"directory": log.mkdir, "fifo": lambda: os.mkfifo(log)}
    make.get(kind, lambda: None)()
    assert await FileChannel(PYTHON).send(message(log=None if kind == "none" else str(log)))
    found = home / ".local/state/grid-offloader/messages.log"
    assert "train" not in found.name
    assert "was moved" in found.read_text()
    assert not (tmp_path / "log.grid-offloader").exists()


@pytest.mark.parametrize("trap", ["link", "hard link", "fifo", "directory"])
async def test_a_trap_in_its_place_is_not_written_through(tmp_path, home, trap):
    log, victim = tmp_path / "train.log", tmp_path / "victim"
    log.write_text("")
    victim.write_text("precious")
    beside = tmp_path / "train.log.grid-offloader"
    make = {
        "link": lambda: beside.symlink_to(victim),
        "hard link": lambda: beside.hardlink_to(victim),
        "fifo": lambda: os.mkfifo(beside),
        "directory": beside.mkdir,
    }
    make[trap]()
    assert await FileChannel(PYTHON).send(message(log=str(log)))
    assert victim.read_text() == "precious"
    assert (home / ".local/state/grid-offloader/messages.log").exists()


def test_it_does_not_grow_for_ever(tmp_path):
    full = tmp_path / "full"
    full.write_bytes(b"x" * (1 << 20))
    assert not append.append(full, b"more")
    assert full.stat().st_size == 1 << 20


async def test_an_account_that_does_not_exist_is_not_reachable():
    assert not await FileChannel(PYTHON).send(message(uid=3_999_999))


async def test_a_disk_that_takes_nothing_is_told_and_nothing_else_happens(tmp_path, home):
    home.write_text("a file where his home should be")
    assert not await FileChannel(PYTHON).send(message())


async def test_without_root_nobody_else_is_written_for(monkeypatch):
    monkeypatch.setattr("offloader.adapters.channels.file.os.geteuid", lambda: 12345)
    assert not await FileChannel(PYTHON).send(message(uid=NOBODY))


@pytest.mark.root
async def test_for_another_user_it_is_written_with_his_rights_only(tmp_path):
    """A log in a folder that he cannot write to: root could, and does not."""
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    his, roots = tmp_path / "his", tmp_path / "roots"
    for folder in (his, roots):
        folder.mkdir(mode=0o755)
        (folder / "out.log").write_text("")
        os.chown(folder / "out.log", NOBODY, -1)
    os.chown(his, NOBODY, -1)
    channel = FileChannel(PYTHON)
    assert await channel.send(message(NOBODY, str(his / "out.log")))
    written = his / "out.log.grid-offloader"
    assert written.stat().st_uid == NOBODY
    await channel.send(message(NOBODY, str(roots / "out.log")))
    assert list(roots.iterdir()) == [roots / "out.log"]
    (his / "shadow").symlink_to("/etc/shadow")
    before = Path("/etc/shadow").stat()
    await channel.send(replace(message(NOBODY), origin=Origin(0, str(his / "shadow"))))
    assert Path("/etc/shadow").stat() == before
    assert not Path("/etc/shadow.grid-offloader").exists()
