"""A node behind a real sshd: bytes, limits, ends and losses."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offloader.adapters.ssh import SshHost
from offloader.errors import NodeUnreachable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
PYTHON = sys.executable


@pytest.fixture
async def host(sshd):
    host = SshHost("gpu1", sshd.settings())
    yield host
    await host.close()


def running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        await asyncio.sleep(0.02)


async def number_in(file: Path) -> int:
    """Wait for a number that a process writes into a file."""
    await until(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


# What a command gets and gives


async def test_output_errors_and_exit_code_come_back_apart(host):
    done = await host.run([PYTHON, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"])
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("script", "expected"),
    [("exit 0", 0), ("exit 3", 3), ("exit 200", 200), ("exit 255", 255), ("kill -TERM $$", -15), ("kill -KILL $$", -9)],
)
async def test_exit_codes_and_signals_are_those_of_the_command(host, script, expected):
    assert (await host.run(["sh", "-c", script])).returncode == expected


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
async def test_arguments_arrive_byte_for_byte_through_the_login_shell(new_sshd, shell):
    argv = [
        "two words",
        "it's",
        '"quoted"',
        "$HOME `id` $(id) !!",
        "a\nb",
        "",
        "*",
        "-n",
        "\\",
        "ü",
        os.fsdecode(b"\xff"),
    ]
    code = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(os.fsencode(a) for a in sys.argv[1:]))"
    host = SshHost("gpu1", new_sshd(shell=shell).settings())
    done = await host.run([PYTHON, "-c", code, *argv])
    await host.close()
    assert done.stdout == b"\0".join(os.fsencode(word) for word in argv)


async def test_stdin_is_given_whole_and_then_closed(host):
    data = os.urandom(3 << 20)
    assert (await host.run(["cat"], stdin=data)).stdout == data
    assert (await host.run(["cat"])).stdout == b""


async def test_a_command_that_does_not_read_its_stdin_is_no_error(host):
    assert (await host.run(["true"], stdin=b"x" * (4 << 20))).returncode == 0


async def test_twenty_megabytes_on_both_outputs_do_not_block(host):
    code = "import sys\nfor _ in range(20): sys.stdout.write('o' * 1048576); sys.stderr.write('e' * 1048576)"
    done = await host.run([PYTHON, "-c", code], timeout_s=60)
    assert (done.returncode, len(done.stdout), len(done.stderr)) == (0, 20 << 20, 20 << 20)


async def test_endless_output_is_stopped_at_the_limit_and_the_command_ended(sshd, tmp_path):
    host = SshHost("gpu1", sshd.settings(output_limit_bytes=1 << 20))
    with pytest.raises(NodeUnreachable, match="more than 1048576 bytes"):
        await host.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec yes"], timeout_s=30)
    pid = await number_in(tmp_path / "pid")
    await until(lambda: not running(pid))
    await host.close()


async def test_a_missing_program_gives_127(host):
    assert (await host.run(["/no/such/program"])).returncode == 127


async def test_a_detached_child_that_keeps_the_output_open_delays_but_survives(host, tmp_path):
    began = time.monotonic()
    done = await host.run(["sh", "-c", f"setsid sleep 30 & echo $! > {tmp_path}/pid; echo ready"], timeout_s=15)
    pid = await number_in(tmp_path / "pid")
    assert (done.returncode, done.stdout) == (0, b"ready\n")
    assert time.monotonic() - began < 10
    assert running(pid)
    os.kill(pid, 9)


# Ends


async def test_too_late_ends_the_command_and_everything_it_started(host, tmp_path):
    script = f"sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/leader; wait"
    with pytest.raises(NodeUnreachable, match=r"gpu1: `sh -c .*` did not end within 1 s"):
        await host.run(["sh", "-c", script], timeout_s=1)
    child, leader = await number_in(tmp_path / "child"), await number_in(tmp_path / "leader")
    await until(lambda: not running(child) and not running(leader))


async def test_cancelling_ends_the_command_long_before_its_own_limit(host, tmp_path):
    task = asyncio.create_task(host.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 300"], timeout_s=300))
    pid = await number_in(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not running(pid))


async def test_a_command_whose_connection_was_lost_ends_by_its_own_limit(sshd, host, tmp_path):
    task = asyncio.create_task(host.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 300"], timeout_s=3))
    pid = await number_in(tmp_path / "pid")
    sshd.cut()
    with pytest.raises(NodeUnreachable, match=r"connection lost while .* whether it ended is not known"):
        await task
    assert running(pid)
    await until(lambda: not running(pid))


# Losses


async def test_a_lost_connection_is_told_at_once_and_the_next_command_connects_again(sshd, host, tmp_path):
    channel = await host.open(["cat"])
    task = asyncio.create_task(host.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 5"], timeout_s=60))
    await number_in(tmp_path / "pid")
    began = time.monotonic()
    sshd.cut()
    with pytest.raises(NodeUnreachable):
        await task
    assert [line async for line in channel.lines()] == []
    with pytest.raises(NodeUnreachable, match=r"has ended, or the connection was lost"):
        await channel.send(b"anybody there?")
    await channel.close()
    assert time.monotonic() - began < 5
    assert (await host.run(["echo", "again"])).stdout == b"again\n"


async def test_a_server_that_was_started_again_is_reached_by_the_next_command(sshd, host):
    await host.run(["true"])
    sshd.stop()
    with pytest.raises(NodeUnreachable, match="nothing listens on"):
        await host.run(["true"])
    sshd.start()
    assert (await host.run(["true"])).returncode == 0


@pytest.mark.root
async def test_a_partition_is_noticed_within_the_time_that_was_set(new_sshd, tmp_path):
    server = new_sshd(far=True)
    host = SshHost("gpu1", server.settings(keepalive_s=1, dead_after_s=2, connect_timeout_s=2))
    channel = await host.open(["cat"])
    task = asyncio.create_task(host.run(["sleep", "300"], timeout_s=300))
    await channel.send(b"hello")
    lines = channel.lines()
    assert await anext(lines) == b"hello"
    server.cable.cut()
    began = time.monotonic()
    with pytest.raises(NodeUnreachable, match="connection lost"):
        await asyncio.wait_for(task, 30)
    assert [line async for line in lines] == []
    assert time.monotonic() - began < 15
    await channel.close()
    with pytest.raises(NodeUnreachable, match=r"did not answer within 2 s|No route to host"):
        await host.run(["true"])
    await host.close()


async def test_a_machine_that_accepts_and_says_nothing_is_given_up(sshd):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host = SshHost("gpu1", sshd.settings(port=mute.getsockname()[1], connect_timeout_s=0.5))
        with pytest.raises(NodeUnreachable, match=r"gpu1: .* accepts connections and says nothing"):
            await host.run(["true"])
        with pytest.raises(NodeUnreachable, match=r"`true` could not be started within 0.2 s"):
            await host.run(["true"], timeout_s=0.2)
        await host.close()


async def test_a_machine_that_does_not_answer_is_given_up(sshd):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        host = SshHost("gpu1", sshd.settings(port=full.getsockname()[1], connect_timeout_s=0.5))
        with pytest.raises(NodeUnreachable, match=r"did not answer within 0.5 s: is the node up"):
            await host.run(["true"])
        await host.close()


async def test_one_dead_node_does_not_keep_another_waiting(sshd, host):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        dead = SshHost("gpu2", sshd.settings(port=mute.getsockname()[1], connect_timeout_s=2))
        waiting = [asyncio.create_task(dead.run(["true"])) for _ in range(40)]
        await asyncio.sleep(0)
        done = [await host.run(["echo", str(n)]) for n in range(5)]
        assert not any(task.done() for task in waiting)
        assert [each.stdout for each in done] == [b"0\n", b"1\n", b"2\n", b"3\n", b"4\n"]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {NodeUnreachable}
        await dead.close()


async def test_a_name_without_an_address_is_named(sshd):
    host = SshHost("gpu1", sshd.settings(host="no-such-host.invalid"))
    with pytest.raises(NodeUnreachable, match=r"gpu1: no address for no-such-host.invalid"):
        await host.run(["true"])


# Many at once


async def test_everything_shares_one_connection_and_stays_below_the_servers_limit(new_sshd):
    sshd = new_sshd()  # of its own: the connections of earlier tests may still be closing
    host = SshHost("gpu1", sshd.settings())
    done = await asyncio.gather(*(host.run(["sh", "-c", f"echo {n}"], timeout_s=30) for n in range(60)))
    assert [each.stdout for each in done] == [f"{n}\n".encode() for n in range(60)]
    assert len(sshd.children()) == 1
    await host.close()


async def test_open_channels_leave_room_for_commands(sshd):
    host = SshHost("gpu1", sshd.settings(max_sessions=4))
    channels = [await host.open(["cat"]) for _ in range(2)]
    with pytest.raises(NodeUnreachable, match=r"could not be started within 0.3 s"):
        await host.open(["cat"], timeout_s=0.3)
    assert (await host.run(["true"])).returncode == 0
    for channel in channels:
        await channel.close()
    assert await host.open(["cat"])
    await host.close()


async def test_a_server_that_allows_fewer_sessions_is_explained(new_sshd):
    host = SshHost("gpu1", new_sshd(options="MaxSessions 1").settings())
    channel = await host.open(["cat"])
    with pytest.raises(NodeUnreachable, match=r"refuses further sessions .* raise MaxSessions in sshd_config"):
        await host.run(["true"])
    await channel.send(b"still there")
    assert await anext(aiter(channel.lines())) == b"still there"
    await channel.close()
    await host.close()


async def test_a_connection_that_nobody_uses_is_closed_and_made_again(new_sshd):
    sshd = new_sshd()
    host = SshHost("gpu1", sshd.settings(idle_timeout_s=0.2))
    channel = await host.open(["cat"])
    await host.run(["true"])
    await asyncio.sleep(0.4)
    assert len(sshd.children()) == 1  # in use by the channel
    await channel.close()
    await until(lambda: sshd.children() == [])
    assert (await host.run(["true"])).returncode == 0
    await host.close()


# Channels


async def test_a_channel_carries_lines_both_ways_without_delay(host):
    channel = await host.open(["cat"])
    lines = channel.lines()
    for word in (b'{"do":"go"}', b"", b"x" * 100_000):
        await channel.send(word)
        assert await asyncio.wait_for(anext(lines), 5) == word
    began = time.monotonic()
    for _ in range(50):
        await channel.send(b"ping")
        await anext(lines)
    assert time.monotonic() - began < 10  # a poll somewhere on the way would show
    await channel.close()
    assert [line async for line in lines] == []


async def test_a_channel_ends_with_its_command_and_sending_then_says_why(host):
    channel = await host.open(["sh", "-c", "echo last; echo 'no such directory' >&2; exit 1"])
    assert [line async for line in channel.lines()] == [b"last"]
    await asyncio.sleep(0.1)
    with pytest.raises(NodeUnreachable, match="no such directory"):
        await channel.send(b"anybody there?")
    await channel.close()


async def test_closing_a_channel_ends_a_command_that_ignores_the_end_of_its_input(host):
    channel = await host.open(["sh", "-c", "echo $$; exec sleep 300"])
    pid = int(await anext(aiter(channel.lines())))
    await channel.close()
    await channel.close()
    await until(lambda: not running(pid))


async def test_a_flood_waits_for_its_reader_instead_of_filling_memory(host):
    channel = await host.open([PYTHON, "-c", "for n in range(3000): print(f'{n:010}' * 1000)"])
    numbers = [int(line[:10]) async for line in channel.lines()]
    await channel.close()
    assert numbers == list(range(3000))


async def test_a_stream_carries_any_bytes_both_ways_at_once(host):
    sent = bytes(range(256)) * 20000
    channel = await host.stream(["cat"])
    received = bytearray()
    sending = asyncio.create_task(channel.send(sent))
    async for chunk in channel.chunks():
        received += chunk
        if len(received) == len(sent):
            break
    await sending
    await channel.close()
    assert received == sent
    with pytest.raises(NodeUnreachable):
        await channel.send(b"anybody there?")


async def test_a_stream_waits_for_its_reader_instead_of_filling_memory(host, tmp_path):
    """The command notes how far it came: not to the end while nobody reads."""
    far = tmp_path / "far"
    program = f"import os\nfor n in range(4000):\n os.write(1, b'x' * 10000)\n open({str(far)!r}, 'w').write(f'{{n}}')"
    channel = await host.stream([PYTHON, "-c", program])
    before = -1
    async with asyncio.timeout(20):
        while not far.exists() or (now := far.read_text()) == "" or now != before:
            before = far.read_text() if far.exists() else -1
            await asyncio.sleep(0.3)
    assert int(before) < 3000
    assert sum([len(chunk) async for chunk in channel.chunks()]) == 4000 * 10000
    await channel.close()


async def test_closing_the_host_ends_what_runs_and_it_can_be_used_again(host, tmp_path):
    channel = await host.open(["cat"])
    task = asyncio.create_task(host.run(["sleep", "3"], timeout_s=2))
    await asyncio.sleep(0.3)
    await host.close()
    with pytest.raises(NodeUnreachable):
        await task
    assert [line async for line in channel.lines()] == []
    await channel.close()
    assert (await host.run(["true"])).returncode == 0


# Whom we talk to


async def test_an_unknown_host_key_is_refused_with_the_line_that_adds_it(sshd, tmp_path):
    sshd.known_hosts.write_text("")
    host = SshHost("gpu1", sshd.settings())
    with pytest.raises(NodeUnreachable, match="is not known: ssh-ed25519 SHA256:") as refused:
        await host.run(["true"])
    command = str(refused.value).split("if it is the same: ")[1]
    subprocess.run(["sh", "-c", command], check=True)
    assert (await host.run(["true"])).returncode == 0
    await host.close()


async def test_another_host_key_than_the_known_one_is_refused(sshd, new_sshd):
    other = new_sshd()
    sshd.trust(other.host_key)
    host = SshHost("gpu1", sshd.settings())
    with pytest.raises(NodeUnreachable, match=r"another one is known \(.*known_hosts:1\): somebody may be posing"):
        await host.run(["true"])


async def test_a_revoked_host_key_is_refused_although_it_is_listed(sshd):
    line = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text(f"{line}@revoked * {line.split(' ', 1)[1]}")
    with pytest.raises(NodeUnreachable, match="marked @revoked"):
        await SshHost("gpu1", sshd.settings()).run(["true"])


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
async def test_every_usual_type_of_host_key_is_checked(new_sshd, kind):
    host = SshHost("gpu1", new_sshd(host_key=kind).settings())
    assert (await host.run(["true"])).returncode == 0
    await host.close()


# Who we are


async def test_a_key_that_is_not_authorized_is_named(sshd):
    (sshd.directory / "authorized_keys").write_text("")
    with pytest.raises(NodeUnreachable, match=r"accepts no key of ours \(tried: .*user_key\): add a public key to"):
        await SshHost("gpu1", sshd.settings()).run(["true"])


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file or directory"), ("nonsense", "no private key")], ids=["absent", "no key"]
)
async def test_an_unusable_identity_file_is_named(sshd, tmp_path, content, said):
    file = tmp_path / "id"
    if content is not None:
        file.write_text(content)
    with pytest.raises(NodeUnreachable, match=said):
        await SshHost("gpu1", sshd.settings(identity_file=file)).run(["true"])


async def test_a_key_with_a_passphrase_works_through_the_agent_and_is_explained_without(sshd, tmp_path, monkeypatch):
    key = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key], check=True)
    (sshd.directory / "authorized_keys").write_text(key.with_name("locked.pub").read_text())
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    host = SshHost("gpu1", sshd.settings(identity_file=key))
    with pytest.raises(NodeUnreachable, match="has a passphrase: ssh-add it"):
        await host.run(["true"])
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        await until((tmp_path / "agent").exists)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        ask = tmp_path / "ask"
        ask.write_text("#!/bin/sh\necho secret\n")
        ask.chmod(0o700)
        environment = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=True, stderr=subprocess.DEVNULL)
        assert (await host.run(["true"])).returncode == 0
        await host.close()
    finally:
        agent.kill()
        agent.wait()


async def test_a_jump_host_from_the_client_configuration_is_gone_through(new_sshd, tmp_path):
    inner, outer = new_sshd(), new_sshd()
    known = tmp_path / "known_hosts"
    known.write_text(inner.known_hosts.read_text() + outer.known_hosts.read_text())
    config = tmp_path / "config"
    included = tmp_path / "included"
    included.write_text(
        f"Host door\n  HostName 127.0.0.1\n  Port {outer.port}\n  IdentityFile {outer.user_key}\n  User {outer.user}\n"
    )
    config.write_text(
        f"Include included\nHost inside\n  HostName 127.0.0.1\n  Port {inner.port}\n  User {inner.user}\n"
        f"  IdentityFile {inner.user_key}\n  ProxyJump door\n"
        f"Host *\n  UserKnownHostsFile {known}\n  IdentitiesOnly yes\n"
    )
    settings = inner.settings(
        host="inside", port=None, user=None, identity_file=None, known_hosts=None, config_file=config
    )
    host = SshHost("gpu1", settings)
    assert (await host.run(["echo", "through"])).stdout == b"through\n"
    assert len(outer.children()) == 1
    outer.cut()
    await until(lambda: inner.children() == [])
    assert (await host.run(["echo", "again"])).stdout == b"again\n"
    await host.close()


def test_only_this_package_loads_paramiko():
    code = (
        "import sys, offloader.adapters.commands, offloader.adapters.journal, offloader.adapters.clock; "
        "print([name for name in ('paramiko', 'aiohttp', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([PYTHON, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
