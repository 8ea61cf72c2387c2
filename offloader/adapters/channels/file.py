"""A file beside the job's log, written with the rights of its owner alone."""

from __future__ import annotations

import json
import os
import pwd
import time
from importlib.resources import files

from offloader.adapters.channels.terminal import harmless
from offloader.adapters.commands import Account, LocalHost
from offloader.notify.message import Message
from offloader.notify.words import lines

__all__ = ["FileChannel"]

_ENDS_S = 10.0


class FileChannel:
    """notify.post.Channel. Paths travel by stdin, and the owner's own account opens them: nothing is lent to him."""

    name = "file"
    limit_s = _ENDS_S + 5.0

    def __init__(self, python: str) -> None:
        """Args: python: an interpreter that every account may execute."""
        self._argv = (python, "-I", "-S", "-c", files(__package__).joinpath("append.py").read_text("utf-8"))

    async def send(self, message: Message) -> bool:
        """False: no such account, another one than ours and we are not root, or no file could be written."""
        try:
            entry = pwd.getpwuid(message.uid)
        except KeyError:
            return False
        if os.geteuid() not in (0, message.uid):
            return False
        account = None
        if os.geteuid() != message.uid:
            account = Account(message.uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))
        asked = {"log": message.origin.log, "home": entry.pw_dir, "text": _text(message)}
        host = LocalHost(self.name, account=account)
        done = await host.run(self._argv, stdin=json.dumps(asked).encode(), timeout_s=_ENDS_S)
        return done.returncode == 0


def _text(message: Message) -> str:
    first, *rest = map(harmless, lines(message))
    when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(message.t))
    return "".join((f"{when} {first}\n", *(f"  {line}\n" for line in rest)))
