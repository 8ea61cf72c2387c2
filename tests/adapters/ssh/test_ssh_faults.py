"""What goes wrong on the way to a node, each within a limit and in words that lead to the remedy."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from offloader.adapters.ssh import SshHost
from offloader.errors import NodeUnreachable

from .test_ssh_host import number_in, running, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

DEAF = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True)"


@pytest.fixture
def chain(new_sshd, tmp_path):
    """A node behind two servers, one behind the other; settings that go through both."""
    servers = dict(zip(("outer", "middle", "inner"), (new_sshd() for _ in range(3)), strict=True))
    known = tmp_path / "known_hosts"
    known.write_text("".join(one.known_hosts.read_text() for one in servers.values()))
    through = {"outer": "none", "middle": "outer", "inner": "middle"}
    config = tmp_path / "config"
    config.write_text(
        "".join(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {one.port}\n  User {one.user}\n"
            f"  IdentityFile {one.user_key}\n  ProxyJump {through[name]}\n"
            for name, one in servers.items()
        )
        + f"Match host *\n  UserKnownHostsFile {known}\n  IdentitiesOnly yes\n"
    )
    nothing = {"port": None, "user": None, "identity_file": None, "known_hosts": None}
    return servers, servers["inner"].settings(host="inner", config_file=config, connect_timeout_s=2, **nothing)


async def test_a_chain_of_jump_hosts_is_gone_through_and_the_one_that_fails_is_named(chain):
    servers, settings = chain
    host = SshHost("gpu1", settings)
    assert (await host.run(["echo", "through"])).stdout == b"through\n"
    assert [len(one.children()) for one in servers.values()] == [1, 1, 1]
    servers["middle"].stop()
    began = time.monotonic()
    with pytest.raises(NodeUnreachable, match=f"gpu1: the jump host could not connect to .*:{servers['middle'].port}"):
        await host.run(["true"])
    servers["outer"].stop()
    with pytest.raises(NodeUnreachable, match=f"nothing listens on .*:{servers['outer'].port}"):
        await host.run(["true"])
    assert time.monotonic() - began < 10
    await host.close()


async def test_an_unknown_key_of_a_jump_host_is_told_as_its_own(chain):
    servers, settings = chain
    known = settings.config_file.with_name("known_hosts")
    known.write_text(servers["inner"].known_hosts.read_text() + servers["outer"].known_hosts.read_text())
    host = SshHost("gpu1", settings)
    with pytest.raises(NodeUnreachable, match=rf"the host key of .*:{servers['middle'].port} is not known"):
        await host.run(["true"])
    await host.close()


async def test_a_command_that_ignores_term_is_ended_when_it_takes_too_long(sshd, tmp_path):
    host = SshHost("gpu1", sshd.settings())
    program = f"import sys; sys.stdout = open({str(tmp_path / 'pid')!r}, 'w')\n{DEAF}; time.sleep(300)"
    began = time.monotonic()
    with pytest.raises(NodeUnreachable, match="did not end within 3 s"):
        await host.run([sys.executable, "-c", program], timeout_s=3)
    pid = await number_in(tmp_path / "pid")
    await until(lambda: not running(pid))
    assert time.monotonic() - began < 20
    await host.close()


async def test_a_channel_to_a_command_that_ignores_term_is_closed_all_the_same(sshd):
    host = SshHost("gpu1", sshd.settings())
    channel = await host.open([sys.executable, "-c", f"{DEAF}; time.sleep(300)"])
    pid = int(await anext(aiter(channel.lines())))
    async with asyncio.timeout(20):
        await channel.close()
        await until(lambda: not running(pid))
    await host.close()


async def test_a_certificate_beside_the_key_opens_what_the_key_alone_does_not(new_sshd, tmp_path):
    authority = tmp_path / "authority"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", authority], check=True)
    sshd = new_sshd(options=f"TrustedUserCAKeys {authority}.pub")
    (sshd.directory / "authorized_keys").write_text("")
    host = SshHost("gpu1", sshd.settings())
    with pytest.raises(NodeUnreachable, match="accepts no key of ours"):
        await host.run(["true"])
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", sshd.user, f"{sshd.user_key}.pub"]
    subprocess.run(sign, check=True)
    assert (await host.run(["echo", "in"])).stdout == b"in\n"
    await host.close()
