"""An ordinary account becomes root on a node by the real sudo, and never with a password."""

from __future__ import annotations

import os
import pwd
import sys
import time

import pytest

from offloader.adapters.ssh import SshHost
from offloader.errors import NodeUnreachable

from .test_ssh_faults import DEAF
from .test_ssh_host import number_in, running, until

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.sudo, pytest.mark.timeout(90)]

ACCOUNT = pwd.getpwnam("nobody")


@pytest.fixture
def node(new_sshd, tmp_path):
    """Makes a node where one logs in as `nobody`, and sudo has that rule; the machine's own rules stay as they are."""

    def made(rule, *, sudo=True):
        rules = tmp_path / "sudoers.d"
        rules.mkdir()
        (rules / "grid").write_text(rule)
        (rules / "grid").chmod(0o440)
        become = tmp_path / "become"
        become.write_text(
            f"#!/bin/sh\nmount --bind {rules} /etc/sudoers.d\n"
            f"exec setpriv --reuid={ACCOUNT.pw_uid} --regid={ACCOUNT.pw_gid} --clear-groups "
            'sh -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        become.chmod(0o755)
        return SshHost("gpu1", new_sshd(options=f"ForceCommand {become}").settings(sudo=sudo))

    return made


ALLOWED = "nobody ALL=(root) NOPASSWD: ALL\n"


async def test_commands_are_roots_and_otherwise_as_without_it(node):
    host = node(ALLOWED)
    assert (await host.run(["id", "-un"])).stdout == b"root\n"
    done = await host.run(["sh", "-c", "cat; echo wrong >&2; exit 7"], stdin=b"given \xff\n\0")
    assert (done.returncode, done.stdout) == (7, b"given \xff\n\0")
    assert done.stderr.endswith(b"wrong\n")
    assert (await host.run(["sh", "-c", "kill -TERM $$"])).returncode in {-15, 143}
    nasty = ["a b", "$(id)", "'", '"', "\n", "--", ""]
    assert (await host.run(["printf", "%s|", *nasty])).stdout.decode() == "".join(f"{one}|" for one in nasty)
    await host.close()


async def test_without_it_they_are_the_accounts_own(node):
    host = node(ALLOWED, sudo=False)
    assert (await host.run(["id", "-un"])).stdout == b"nobody\n"
    await host.close()


@pytest.mark.parametrize("rule", ["", "nobody ALL=(root) ALL\n"])
async def test_a_sudo_that_asks_for_a_password_is_told_at_once_with_the_remedy(node, rule):
    host = node(rule)
    began = time.monotonic()
    with pytest.raises(NodeUnreachable, match=r"gpu1: sudo .*a password is required.*NOPASSWD"):
        await host.run(["true"], timeout_s=20)
    assert time.monotonic() - began < 10
    await host.close()


async def test_what_is_roots_is_ended_too_when_it_takes_too_long(node, tmp_path):
    host = node(ALLOWED)
    program = f"import sys; sys.stdout = open({str(tmp_path / 'pid')!r}, 'w')\n{DEAF}; time.sleep(300)"
    with pytest.raises(NodeUnreachable, match="did not end within 3 s"):
        await host.run([sys.executable, "-c", program], timeout_s=3)
    pid = await number_in(tmp_path / "pid")
    await until(lambda: not running(pid))
    await host.close()


async def test_a_channel_carries_lines_and_ends_what_ignores_term(node):
    host = node(ALLOWED)
    echo = "for line in sys.stdin: print(line.strip()[::-1], flush=True)"
    channel = await host.open([sys.executable, "-c", f"import sys\n{DEAF}\n{echo}\ntime.sleep(300)"])
    lines = aiter(channel.lines())
    pid = int(await anext(lines))
    await channel.send(b"abc")
    assert await anext(lines) == b"cba"
    assert os.stat(f"/proc/{pid}").st_uid == 0  # noqa: PTH116 - no file of ours
    await channel.close()
    await until(lambda: not running(pid))
    await host.close()


async def test_bulk_by_the_client_is_roots_as_well(node, tmp_path):
    host = node(ALLOWED)
    nothing, out = os.open("/dev/null", os.O_RDONLY), os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    attached = await host.attach(["id", "-un"], stdin=nothing, stdout=out)
    assert len([line async for line in attached.lines()]) == 1  # its pid
    await attached.close()
    os.close(nothing)
    os.close(out)
    assert (tmp_path / "out").read_bytes() == b"root\n"
    await host.close()
