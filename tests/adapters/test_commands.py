"""Commands on this machine: bytes, limits, time, and that nothing is left running."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from offloader.adapters.commands import LocalHost
from offloader.errors import NodeUnreachable
from offloader.ports import LineChannel

PYTHON = sys.executable


@pytest.fixture
def host() -> LocalHost:
    return LocalHost("head")


def running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(*pids: int) -> bool:
    """Wait for processes to disappear."""
    deadline = time.monotonic() + 10
    while any(running(pid) for pid in pids) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return not any(running(pid) for pid in pids)


async def number_in(file: Path) -> int:
    """Wait for a number that a process writes into a file."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if file.exists() and file.read_text().endswith("\n"):
            return int(file.read_text())
        await asyncio.sleep(0.01)
    raise AssertionError(f"nothing in {file}")


async def send_for_ever(channel: LineChannel) -> None:
    while True:
        await channel.send(b"anybody there?")
        await asyncio.sleep(0.01)


async def test_output_errors_and_exit_code_come_back_apart(host):
    done = await host.run([PYTHON, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"])
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


async def test_a_signal_is_a_negative_exit_status(host):
    assert (await host.run(["sh", "-c", "kill -TERM $$"])).returncode == -15


async def test_arguments_arrive_byte_for_byte(host):
    argv = ["plain", "two words", "it's", '"quoted"', "$HOME `id` $(id)", "a\nb", "", "*", "ü", os.fsdecode(b"\xff")]
    code = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(os.fsencode(a) for a in sys.argv[1:]))"
    done = await host.run([PYTHON, "-c", code, *argv])
    assert done.stdout == b"\0".join(os.fsencode(word) for word in argv)


async def test_stdin_is_given_whole_and_then_closed(host):
    data = os.urandom(3 << 20)
    done = await host.run(["cat"], stdin=data)
    assert done.stdout == data


async def test_no_stdin_is_an_empty_one(host):
    assert (await host.run(["cat"])).stdout == b""


async def test_a_command_that_does_not_read_its_stdin_is_no_error(host):
    assert (await host.run(["true"], stdin=b"x" * (1 << 20))).returncode == 0


async def test_twenty_megabytes_on_both_outputs_do_not_block(host):
    code = "import sys\nfor _ in range(20): sys.stdout.write('o' * 1048576); sys.stderr.write('e' * 1048576)"
    done = await host.run([PYTHON, "-c", code], timeout_s=60)
    assert (done.returncode, len(done.stdout), len(done.stderr)) == (0, 20 << 20, 20 << 20)


async def test_endless_output_is_stopped_at_the_limit():
    with pytest.raises(NodeUnreachable, match="more than 1048576 bytes"):
        await LocalHost("head", output_limit_bytes=1 << 20).run(["yes"], timeout_s=30)


async def test_a_program_that_is_missing_or_no_program_answers_as_a_shell_would(host, tmp_path):
    (tmp_path / "text").write_text("no program")
    missing = await host.run(["/no/such/program"])
    forbidden = await host.run([str(tmp_path / "text")])
    assert (missing.returncode, forbidden.returncode) == (127, 126)
    assert b"/no/such/program" in missing.stderr


async def test_the_environment_holds_nothing_but_path_home_and_language(host, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    done = await host.run(["env"])
    assert {line.split(b"=")[0] for line in done.stdout.splitlines()} == {b"PATH", b"HOME", b"LANG"}


async def test_too_late_ends_the_command_and_everything_it_started(host, tmp_path):
    script = f"sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/leader; wait"
    began = time.monotonic()
    with pytest.raises(NodeUnreachable, match=r"`sh -c .*` did not end within 0.5 s"):
        await host.run(["sh", "-c", script], timeout_s=0.5)
    assert time.monotonic() - began < 5
    assert await gone(await number_in(tmp_path / "child"), await number_in(tmp_path / "leader"))


async def test_cancelling_ends_the_command_too(host, tmp_path):
    task = asyncio.create_task(host.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 300"], timeout_s=300))
    pid = await number_in(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(pid)


async def test_a_detached_child_that_keeps_the_output_open_delays_but_survives(host, tmp_path):
    began = time.monotonic()
    done = await host.run(["sh", "-c", f"setsid sleep 20 & echo $! > {tmp_path}/pid; echo ready"], timeout_s=15)
    pid = await number_in(tmp_path / "pid")
    assert done.stdout == b"ready\n"
    assert time.monotonic() - began < 10
    assert running(pid)
    os.kill(pid, 9)


async def test_each_command_leads_a_session_of_its_own(host):
    done = await host.run([PYTHON, "-c", "import os; print(os.getsid(0) == os.getpid() == os.getpgrp())"])
    assert done.stdout == b"True\n"


async def test_nothing_is_inherited_but_the_three_standard_streams(host):
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        done = await host.run([PYTHON, "-c", "import os; print(sorted(os.listdir('/proc/self/fd'))[:4])"])
    finally:
        os.close(reading)
        os.close(writing)
    assert done.stdout == b"['0', '1', '2', '3']\n"  # 3 is the listing itself


async def test_a_channel_carries_lines_both_ways(host):
    channel = await host.open(["cat"])
    lines = channel.lines()
    for word in (b'{"do":"go"}', b"", b"x" * 100_000):
        await channel.send(word)
        assert await asyncio.wait_for(anext(lines), 5) == word
    await channel.close()
    assert [line async for line in lines] == []


async def test_a_channel_ends_with_its_command_and_sending_then_says_why(host):
    channel = await host.open(["sh", "-c", "echo last; echo 'no such directory' >&2; exit 1"])
    assert [line async for line in channel.lines()] == [b"last"]
    with pytest.raises(NodeUnreachable, match="no such directory"):
        await send_for_ever(channel)
    await channel.close()


async def test_closing_a_channel_ends_a_command_that_ignores_the_end_of_its_input(host):
    channel = await host.open(["sh", "-c", "echo $$; exec sleep 300"])
    pid = int(await anext(aiter(channel.lines())))
    await channel.close()
    await channel.close()
    assert await gone(pid)


async def test_a_line_with_a_newline_is_refused_rather_than_split(host):
    channel = await host.open(["cat"])
    with pytest.raises(ValueError, match="newline"):
        await channel.send(b"a\nb")
    await channel.close()


async def test_a_channel_to_no_program_says_so(host):
    with pytest.raises(NodeUnreachable, match="cannot be started: No such file"):
        await host.open(["/no/such/program"])


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
