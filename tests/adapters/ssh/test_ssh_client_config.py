"""Settings and ssh_config(5): what wins, what is followed, what is refused."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from offloader.adapters.ssh import SshSettings
from offloader.adapters.ssh.clientconfig import Destination, destination
from offloader.errors import NodeUnreachable


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """An empty home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def resolve(home: Path, text: str, **settings: object) -> Destination:
    (home / ".ssh/config").write_text(text)
    return destination(SshSettings(**{"host": "gpu1", **settings}))  # type: ignore[arg-type]


def test_without_any_configuration_it_is_what_ssh_would_do(home):
    (home / ".ssh/id_rsa").touch()
    found = destination(SshSettings("gpu1"))
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert (found.host, found.port, found.user, found.host_key_name) == ("gpu1", 22, me, "gpu1")
    assert found.identity_files == (home / ".ssh/id_rsa",)
    assert found.known_hosts[0] == home / ".ssh/known_hosts"
    assert Path("/etc/ssh/ssh_known_hosts") in found.known_hosts
    assert found.use_agent


CONFIG = """
Host gpu*
    HostName %h.cluster.example
    User runner
    Port 2222
    IdentityFile ~/.ssh/cluster
    IdentitiesOnly yes
    UserKnownHostsFile ~/.ssh/cluster_hosts
    GlobalKnownHostsFile none
"""


def test_the_clients_configuration_is_respected(home):
    (home / ".ssh/cluster").touch()
    found = resolve(home, CONFIG)
    assert found == Destination(
        "gpu1.cluster.example",
        2222,
        "runner",
        "[gpu1.cluster.example]:2222",
        (home / ".ssh/cluster",),
        use_agent=False,
        known_hosts=(home / ".ssh/cluster_hosts",),
    )


def test_explicit_settings_win(home):
    found = resolve(home, CONFIG, user="me", port=22, identity_file=Path("/key"), known_hosts=Path("/hosts"))
    assert (found.user, found.port, found.host_key_name) == ("me", 22, "gpu1.cluster.example")
    assert (found.identity_files, found.known_hosts) == ((Path("/key"),), (Path("/hosts"),))


def test_an_alias_for_the_host_key_is_looked_up_as_it_is(home):
    assert resolve(home, "Host gpu1\n HostKeyAlias Node7\n Port 2222\n").host_key_name == "node7"


def test_a_given_file_replaces_the_accounts_own(home):
    other = home / "other"
    other.write_text("Host gpu1\n  User other\n")
    assert resolve(home, CONFIG, config_file=other).user == "other"
    assert resolve(home, CONFIG, config_file=other).host == "gpu1"


def test_included_files_count_where_they_are_named(home):
    (home / ".ssh/conf.d").mkdir()
    (home / ".ssh/conf.d/a").write_text("Host gpu1\n  Port 2001\n")
    (home / ".ssh/conf.d/b").write_text("Host *\n  Port 2002\n  User included\n")
    found = resolve(home, "Include conf.d/*\nHost gpu1\n  Port 2003\n")
    assert (found.port, found.user) == (2001, "included")
    (home / ".ssh/conf.d/a").write_text("Include conf.d/a\n")  # itself, for ever
    assert resolve(home, "Include conf.d/a\nHost gpu1\n  Port 2003\n").port == 2003


def test_jump_hosts_are_looked_up_themselves_and_come_nearest_first(home):
    text = "Host gpu1\n ProxyJump door,me@[fe80::1]:2200\nHost door\n HostName d\n User u\n ProxyJump outer:23\n"
    jumps = resolve(home, text).jumps
    assert [(hop.user, hop.host, hop.port, hop.jumps) for hop in jumps] == [
        (pwd.getpwuid(os.geteuid()).pw_name, "outer", 23, ()),
        ("u", "d", 22, ()),
        ("me", "fe80::1", 2200, ()),
    ]
    assert resolve(home, "Host gpu1\n ProxyJump none\nHost *\n ProxyJump door\n").jumps == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Host *\n ProxyCommand ssh -W %h:%p door\n", "ProxyCommand is not supported: use ProxyJump"),
        ("Host a\n ProxyJump gpu1\nHost gpu1\n ProxyJump a\n", "more than 8 hosts on the way"),
        ("Host *\n Port many\n", "cannot be applied: invalid literal"),
        ("Host gpu1\n ProxyJump me@\n", "no host in 'me@'"),
        ("Match host a exec true\n User x\n", "`Match exec` is not supported"),
        ("!?\n", "cannot be used: Unparsable line"),
    ],
)
def test_what_cannot_be_followed_is_said_and_not_passed_over(home, text, said):
    with pytest.raises(NodeUnreachable, match=said):
        resolve(home, text)


def test_a_configuration_file_that_is_missing_is_named(home):
    with pytest.raises(NodeUnreachable, match=r"absent cannot be used: .*No such file"):
        destination(SshSettings("gpu1", config_file=home / "absent"))
