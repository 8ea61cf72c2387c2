"""A real sshd on loopback with keys of its own, for the tests of the SSH adapter. Leaves the machine as it is."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from offloader.adapters.ssh import SshSettings

UNPACKED = Path(__file__).parents[3] / ".cache/debian"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def program() -> tuple[str, dict[str, str]] | None:
    """sshd and what it needs in its environment: the machine's, else the one unpacked by deploy/setup."""
    if found := shutil.which("sshd", path=SYSTEM_PATH):
        return found, {}
    unpacked = UNPACKED / "usr/sbin/sshd"
    if not unpacked.exists():
        return None
    libraries = ":".join(str(path) for path in (UNPACKED / "usr/lib").glob("*-linux-gnu*"))
    return str(unpacked), {"LD_LIBRARY_PATH": libraries}


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A key pair; returns the private half's path."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path], check=True)
    return path


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cable:
    """A virtual network cable into another network namespace."""

    def __init__(self) -> None:
        number = os.getpid() % 16000
        self.here = f"10.{230 + number // 64 // 250}.{number // 64 % 250}.{number % 64 * 4 + 1}"
        self.there = self.here.rsplit(".", 1)[0] + f".{number % 64 * 4 + 2}"
        self._near, self._far = f"gsh{number}a", f"gsh{number}b"
        self._pid = 0

    def plug_in(self, pid: int) -> None:
        """Connect the namespace of that process."""
        self._pid = pid
        self.unplug()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self._ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", str(pid))
        self._ip("addr", "add", f"{self.here}/30", "dev", self._near)
        self._ip("link", "set", self._near, "up")
        self._ip("link", "set", self._far, "up", inside=True)
        self._ip("addr", "add", f"{self.there}/30", "dev", self._far, inside=True)

    def cut(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._ip("link", "set", self._far, "down", inside=True)

    def unplug(self) -> None:
        """Take it away, if it is there."""
        subprocess.run(["ip", "link", "del", self._near], capture_output=True, check=False)

    def _ip(self, *words: str, inside: bool = False) -> None:
        enter = ["nsenter", "--net", f"--target={self._pid}"] if inside else []
        subprocess.run([*enter, "ip", *words], check=True)


class Sshd:
    """The server: its files lie in one directory, `settings()` leads to it."""

    def __init__(
        self,
        directory: Path,
        *,
        options: str = "",
        host_key: str = "ed25519",
        shell: str = "/bin/sh",
        far: bool = False,
    ) -> None:
        """Args: far: in a network of its own behind a virtual cable (needs root), else on loopback."""
        directory.mkdir(mode=0o700)
        self.directory = directory
        self.cable = Cable() if far else None
        self.address = "127.0.0.1" if self.cable is None else self.cable.there
        self.port = free_port()
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.host_key = make_key(directory / "host_key", host_key)
        self.user_key = make_key(directory / "user_key")
        self.known_hosts = directory / "known_hosts"
        self.trust(self.host_key)
        shutil.copy(directory / "user_key.pub", directory / "authorized_keys")
        self._options = options
        self._shell = shell
        self._process: subprocess.Popen[bytes] | None = None

    def trust(self, key: Path) -> None:
        """Write a host key into known_hosts, as the only one."""
        kind, data = key.with_name(key.name + ".pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[{self.address}]:{self.port} {kind} {data}\n")

    def settings(self, **changes: object) -> SshSettings:
        """How to reach it, with nothing of the account's own SSH configuration."""
        empty = self.directory / "empty"
        empty.touch()
        values: dict[str, object] = {
            "host": self.address,
            "port": self.port,
            "user": self.user,
            "identity_file": self.user_key,
            "known_hosts": self.known_hosts,
            "config_file": empty,
        }
        return SshSettings(**{**values, **changes})  # type: ignore[arg-type]

    def start(self) -> None:
        """Start it and wait until it listens."""
        found = program()
        assert found is not None
        sshd, environment = found
        config = self.directory / "sshd_config"
        config.write_text(
            f"ListenAddress {self.address}:{self.port}\nHostKey {self.host_key}\nPidFile none\nUsePAM no\n"
            f"StrictModes no\nAuthorizedKeysFile {self.directory}/authorized_keys\n"
            f"PasswordAuthentication no\n{self._options}\n"
        )
        command = shlex.join([sshd, "-D", "-f", str(config), "-E", str(self.directory / "log")])
        script = f"{self._privately()}exec {command}"
        unshare = ["unshare", "--mount"] if os.geteuid() == 0 else []
        if self.cable is not None:
            unshare.append("--net")
            script = f"until ip -o addr | grep -q {self.address}; do sleep 0.02; done; {script}"
        self._process = subprocess.Popen(
            [*unshare, "sh", "-e", "-c", script], env={"PATH": SYSTEM_PATH, **environment}, start_new_session=True
        )
        if self.cable is not None:
            self.cable.plug_in(self._process.pid)
        deadline = time.monotonic() + 20
        while not self._listens():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server; its sessions are in process groups of their own and end when their connections do."""
        if self._process is not None:
            for pid in (*self.children(), self._process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self.cable is not None:
            self.cable.unplug()

    def children(self) -> list[int]:
        """The server's processes that serve one connection each."""
        assert self._process is not None
        found = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [int(pid) for pid in found]

    def cut(self) -> None:
        """Kill the processes that serve connections, as when the machine dies."""
        for pid in self.children():
            os.kill(pid, signal.SIGKILL)

    def log(self) -> str:
        """What it said."""
        file = self.directory / "log"
        return file.read_text() if file.exists() else "(no log)"

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), timeout=1):
            return True
        return False

    def _privately(self) -> str:
        """For root: the account and directory that sshd insists on, and the login shell, for its own mounts only."""
        if os.geteuid() != 0:
            return ""
        rows = [
            row for row in Path("/etc/passwd").read_text().splitlines() if row.split(":")[0] not in ("sshd", self.user)
        ]
        home = pwd.getpwuid(os.geteuid()).pw_dir
        rows += ["sshd:x:64999:65534::/run/sshd:/usr/sbin/nologin", f"{self.user}:x:0:0::{home}:{self._shell}"]
        accounts = self.directory / "passwd"
        accounts.write_text("\n".join(rows) + "\n")
        accounts.chmod(0o644)
        laid_over = f"mount --bind {shlex.quote(str(accounts))} /etc/passwd"
        return f"{laid_over}; mount -t tmpfs tmpfs /run; mkdir -m 755 /run/sshd; "


@pytest.fixture
def new_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Makes and starts servers, each with its own options; they end with the test."""
    if program() is None:
        pytest.skip("needs OpenSSH's sshd: run deploy/setup")
    servers: list[Sshd] = []

    def make(**options: object) -> Sshd:
        server = Sshd(tmp_path / f"sshd{len(servers)}", **options)  # type: ignore[arg-type]
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def sshd(new_sshd: Callable[..., Sshd]) -> Sshd:
    """A server as Debian configures it."""
    return new_sshd()
