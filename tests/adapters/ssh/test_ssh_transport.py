"""sshd hangs up on a client that sends on a channel after closing it; paramiko does so when threads meet."""

from __future__ import annotations

import asyncio
import threading

import paramiko
import pytest
from paramiko.common import MSG_CHANNEL_CLOSE, cMSG_CHANNEL_CLOSE, cMSG_CHANNEL_EOF

from offloader.adapters.ssh import SshHost
from offloader.adapters.ssh.transport import OrderlyTransport

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


async def test_input_that_ends_while_the_server_closes_does_not_cost_the_connection(new_sshd, monkeypatch):
    """The end of input, already on its way, is held back until the answer to the server's CLOSE could pass it."""
    sshd = new_sshd()
    host = SshHost("gpu1", sshd.settings())
    assert (await host.run(["true"])).returncode == 0
    before = sshd.children()
    arrived, answered = threading.Event(), threading.Event()
    send, answer = paramiko.Transport._send_user_message, OrderlyTransport._channel_handler_table[MSG_CHANNEL_CLOSE]

    def close_arrives(channel, message):
        arrived.set()
        answer(channel, message)

    def slowly(transport, message):
        kind = message.asbytes()[:1]
        if kind == cMSG_CHANNEL_EOF:
            assert arrived.wait(20)
            answered.wait(0.5)
        send(transport, message)
        if kind == cMSG_CHANNEL_CLOSE:
            answered.set()

    monkeypatch.setitem(OrderlyTransport._channel_handler_table, MSG_CHANNEL_CLOSE, close_arrives)
    monkeypatch.setattr(OrderlyTransport, "_send_user_message", slowly)
    assert (await host.run(["echo", "one"], timeout_s=30)).stdout == b"one\n"
    monkeypatch.undo()
    assert (await host.run(["echo", "two"], timeout_s=30)).stdout == b"two\n"
    assert sshd.children() == before, "it had to connect again"
    await host.close()


async def test_many_short_commands_at_once_all_get_their_answers(new_sshd):
    sshd = new_sshd()
    for _ in range(4):
        host = SshHost("gpu1", sshd.settings())
        done = await asyncio.gather(*(host.run(["echo", f"{n}"], timeout_s=30) for n in range(60)))
        assert [each.stdout for each in done] == [f"{n}\n".encode() for n in range(60)]
        await host.close()
