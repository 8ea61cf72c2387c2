"""Two nodes with one path each for the same name: the worker lives in a mount namespace of its own.

Below `home` the worker has other files than the head; its launchers are run through nsenter(1). What is mounted there
ends with the one process that holds the namespace.
"""

import base64
import grp
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from moves_world import wait_for

from offloader.adapters.commands import LocalHost
from offloader.model import StagingLimits
from offloader.moves.agent import Agent
from offloader.moves.plan import MoveNode
from offloader.moves.staging import Staging
from offloader.ports import ByteChannel, Completed, LineChannel

NOBODY = 65534


class Inside:
    """ports.Host: this machine as that namespace sees it."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self._host = LocalHost(name)
        self._prefix = ("nsenter", f"--mount=/proc/{pid}/ns/mnt")

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 10.0) -> Completed:
        return await self._host.run([*self._prefix, *argv], stdin=stdin, timeout_s=timeout_s)

    async def open(self, argv: Sequence[str], *, timeout_s: float = 10.0) -> LineChannel:
        return await self._host.open([*self._prefix, *argv], timeout_s=timeout_s)

    async def stream(self, argv: Sequence[str], *, timeout_s: float = 10.0) -> ByteChannel:
        return await self._host.stream([*self._prefix, *argv], timeout_s=timeout_s)


class StagingWorld:
    """`here`: the tree at the head; `there`: the same tree at the worker, seen from outside its namespace."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.root = Path(tempfile.mkdtemp(prefix="staging-test-"))
        self.root.chmod(0o755)
        for name in ("home", "worker-home"):
            (self.root / name).mkdir()
            os.chown(self.root / name, uid, self.gid)
        self.here = self.root / "home/project/run 1"
        self.there = self.root / "worker-home/project/run 1"
        self.here.mkdir(parents=True)
        self.own(self.here.parent, self.here)
        script = f"mount --bind {self.root}/worker-home {self.root}/home; touch {self.root}/up; exec sleep 600"
        self._holder = subprocess.Popen(["unshare", "--mount", "sh", "-ec", script], stdin=subprocess.DEVNULL)
        wait_for((self.root / "up").exists, 20)
        self.hosts = {"head": LocalHost("head"), "gpu1": Inside("gpu1", self._holder.pid)}
        nodes = {name: MoveNode(name, name, sys.executable, str(self.root / f"state-{name}")) for name in self.hosts}
        self.agents = {name: Agent(self.hosts[name], nodes[name], verb_s=20) for name in self.hosts}
        self.move = {"job": "JOB1", "epoch": 1, "source": "head", "target": "gpu1"}

    @property
    def gid(self) -> int:
        return pwd.getpwuid(self.uid).pw_gid

    @property
    def capture(self) -> dict:
        """As much of a captured process as staging asks for."""
        account = pwd.getpwuid(self.uid)
        return {
            "cwd": base64.b64encode(os.fsencode(self.here)).decode(),
            "user": account.pw_name,
            "uid": self.uid,
            "gid": self.gid,
            "groups": [self.gid],
            "group_names": {str(self.gid): grp.getgrgid(self.gid).gr_name},
        }

    def own(self, *paths: Path) -> None:
        for path in paths:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def write(self, name: str | bytes, content: str, root: Path | None = None) -> Path:
        """A file of the job's owner, at the head unless told otherwise."""
        path = (root or self.here) / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        below = path.relative_to(root or self.here)
        self.own(path, *(path.parents[step] for step in range(len(below.parts) - 1)))
        return path

    def staging(self, **limits) -> Staging:
        return Staging(self.agents, StagingLimits(**{"reserve_bytes": 0, **limits}))

    def inside(self, *command: str) -> None:
        """Run something as root at the worker."""
        subprocess.run(["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", *command], check=True)

    def close(self) -> None:
        self._holder.send_signal(signal.SIGKILL)
        self._holder.wait()
        shutil.rmtree(self.root)


async def staged(nodes, **limits):
    """A copy as it is when the successor starts."""
    staging = nodes.staging(**limits)
    found = await staging.prospect(nodes.capture, **nodes.move)
    assert found.obstacles == ()
    await staging.copy(found.staged)
    await staging.catch_up(found.staged)
    return staging, found.staged


def tree(root: Path) -> dict[str, str | None]:
    """Names below a directory with what they hold: text, a link's target, None for a directory."""
    found: dict[str, str | None] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = None if path.is_dir() else path.read_text()
    return found
