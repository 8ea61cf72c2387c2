"""What somebody who knows criu(8) well types, as scripts for a shell on the source. Pure.

Whatever can be done before the program stops is: directories, a connection by ssh with its fastest cipher, the page
server. Images lie in memory on both nodes, and the page server gets its pages as they are, by TCP.
"""

import shlex
from dataclasses import dataclass

from benchmarks.live_move.ways import Way

PORT = 9876
_BOTH = "--manage-cgroups=ignore --file-locks --link-remap --ext-unix-sk -v1"
_LET_GO = "</dev/null >/dev/null 2>&1"  # what stays in the background keeps nobody waiting


@dataclass(frozen=True, slots=True)
class Hands:
    """`criu`: its path on both nodes. `images`: a directory to be made on both. `address`: the target's."""

    criu: str
    images: str
    target: str
    address: str

    def prepare(self, way: Way) -> str:
        """Before the program stops; can be repeated."""
        lines = [self.tidy(), f"mkdir -p {self._images}"]
        opens = f"{self._ssh} -o ControlMaster=yes -o ControlPersist=yes {self.target}"
        lines.append(f"{opens} mkdir -p {self._images} {_LET_GO}")
        if way is Way.PAGE_SERVER:
            listen = f"--address {self.address} --port {PORT} --daemon --pidfile {self._images}/server.pid"
            lines.append(self._there(f"{self._criu} page-server --images-dir {self._images} {listen} {_LET_GO}"))
        return "\n".join(lines)

    def steps(self, way: Way, pid: int) -> str:
        """From the running program there to the running program here."""
        dump = f"{self._criu} dump --tree {pid} --images-dir {self._images} --log-file dump.log {_BOTH} --leave-stopped"
        restore = f"{self._criu} restore --images-dir {self._images} --log-file restore.log {_BOTH} --restore-detached"
        unpack = f"tar -C {self._images} -xf -"
        if way is Way.RSYNC:
            copy = f"rsync --archive --whole-file --inplace -e {shlex.quote(self._ssh)} {self._images}/ "
            carry = [copy + f"{self.target}:{self._images}/", self._there(restore)]
        else:
            carry = [f"tar -C {self._images} -cf - . | {self._there(f'{unpack} && {restore}')}"]
        if way is Way.PAGE_SERVER:
            dump += f" --page-server --address {self.address} --port {PORT}"
        return "\n".join([dump, *carry, f"kill -KILL {pid}"])

    def tidy(self) -> str:
        """Nothing of it is left, however far it came."""
        server = f'if read -r pid 2>/dev/null <{self._images}/server.pid; then kill "$pid" 2>/dev/null; fi'
        there = f"{self._ssh} -o ControlMaster=no {self.target} {shlex.quote(f'{server}; rm -rf {self._images}')}"
        close = f"{self._ssh} -O exit {self.target} 2>/dev/null || true"
        return "\n".join([there, close, f"rm -rf {self._images}"])

    def _there(self, command: str) -> str:
        """On the target, by the connection that is open."""
        return f"{self._ssh} {self.target} {shlex.quote(command)}"

    @property
    def _ssh(self) -> str:
        return f"ssh -o ControlPath={self._images}.ssh -c aes128-gcm@openssh.com"

    @property
    def _criu(self) -> str:
        return shlex.quote(self.criu)

    @property
    def _images(self) -> str:
        return self.images
