"""What the nodes need on disk: accounts, keys, ssh configuration, the description that process 1 reads.

Everything lies in the state directory; the machine's own /etc and home directories are only read.
"""

import json
import os
import shutil
import stat
from pathlib import Path

from _testbed.errors import MissingRequirementError, TestbedError
from _testbed.settings import MARKER, PROJECT, USERS, Node, Settings
from _testbed.shell import run

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEBIAN = PROJECT / ".cache" / "debian"
LOGINS = ("root", *USERS)
SSHD_UID = 74


def search_path(settings: Settings) -> str:
    """PATH inside a node: the project's commands, the sample programs, then the system's."""
    return f"{PROJECT}/.venv/bin:{settings.root}/bin:{SYSTEM_PATH}"


def home(settings: Settings, user: str) -> Path:
    """A user's home directory: shared by all nodes, as a network file system would."""
    return settings.root / "home" / user


def environment(settings: Settings, user: str = "root") -> dict[str, str]:
    """The environment in which a node's programs start: nothing is inherited from the machine."""
    return {
        "HOME": str(home(settings, user)),
        "LOGNAME": user,
        "USER": user,
        "LANG": "C.UTF-8",
        "PATH": search_path(settings),
    }


def sshd_program() -> tuple[str, dict[str, str]]:
    """The SSH server and what it needs in its environment: the machine's, else the one that deploy/setup unpacked."""
    if found := shutil.which("sshd", path=SYSTEM_PATH):
        return found, {}
    unpacked = DEBIAN / "usr/sbin/sshd"
    if unpacked.exists():
        libraries = sorted(str(path) for path in (DEBIAN / "usr/lib").glob("*-linux-gnu*"))
        return str(unpacked), {"LD_LIBRARY_PATH": ":".join(libraries)}
    raise MissingRequirementError("there is no sshd: run deploy/setup")


def claim(settings: Settings) -> None:
    """Mark the state directory as ours; raises TestbedError when it holds something else."""
    entries = {path.name for path in settings.root.iterdir()}
    if entries and MARKER not in entries:
        raise TestbedError(f"{settings.root} is not empty and no test bed: set GRID_TESTBED_DIR to another directory")
    settings.save()


def create_common(settings: Settings) -> None:
    """Directories, users' homes and keys, sample programs, the ssh client's configuration."""
    root = settings.root
    for name in ("nodes", "private", "bin", "ssh", "run", "witness"):
        (root / name).mkdir(exist_ok=True)
    settings.shared.mkdir(exist_ok=True)
    settings.shared.chmod(0o1777)
    for source in ("load.py",):
        shutil.copyfile(Path(__file__).with_name(source), root / "bin" / source)
        (root / "bin" / source).chmod(0o755)
    for user in LOGINS:
        _create_home(settings, user)
    for node in settings.nodes:
        _create_key(_host_key(settings, node))
    keys = {node: _public(_host_key(settings, node)) for node in settings.nodes}
    known = "".join(f"{node.name},{node.ip} {key}\n" for node, key in keys.items())
    (root / "ssh/known_hosts").write_text(known, encoding="ascii")
    (root / "ssh/config").write_text(_client_config(settings, "root", root / "ssh/known_hosts"), encoding="ascii")
    for user in LOGINS:
        directory = home(settings, user) / ".ssh"
        (directory / "known_hosts").write_text(known, encoding="ascii")
        (directory / "config").write_text(_client_config(settings, user, directory / "known_hosts"), encoding="ascii")
        _own(user, directory / "known_hosts", directory / "config")


def create_node(settings: Settings, node: Node) -> Path:
    """The node's own directories and files; returns the description for its process 1."""
    own = settings.node_dir(node)
    for name in ("private", "run", "tmp", "etc"):
        (own / name).mkdir(parents=True, exist_ok=True)
    (own / "tmp").chmod(0o1777)
    for name in ("sshd", "lock"):
        (own / "run" / name).mkdir(exist_ok=True)
    _create_etc(settings, node)
    sshd, sshd_environment = sshd_program()
    (own / "sshd_config").write_text(_server_config(settings, node), encoding="ascii")
    spec = {
        "name": node.name,
        "index": node.index,
        "address": f"{node.ip}/{settings.prefix_length}",
        "node_dir": str(own),
        "private": str(settings.private),
        "keep": [str(PROJECT), str(settings.root)],
        "closed": sorted({str(path) for kept in (PROJECT, settings.root) for path in _closed(kept)}),
        "cgroups": [hierarchy.options for hierarchy in settings.group().hierarchies],
        "path": search_path(settings),
        "sshd": [sshd, "-D", "-f", str(own / "sshd_config"), "-E", str(own / "sshd.log")],
        "sshd_environment": sshd_environment,
    }
    file = own / "spec.json"
    file.write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
    return file


def _closed(directory: Path) -> list[Path]:
    """The topmost directory above `directory` that ordinary users may not enter, if any."""
    closed = [parent for parent in directory.parents if not parent.stat().st_mode & stat.S_IXOTH]
    return closed[-1:]  # `parents` goes upwards


def identity(settings: Settings, user: str) -> Path:
    """The private key with which `user` logs in to every node."""
    return home(settings, user) / ".ssh/id_ed25519"


def _create_home(settings: Settings, user: str) -> None:
    directory = home(settings, user) / ".ssh"
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    key = identity(settings, user)
    _create_key(key)
    authorized = directory / "authorized_keys"
    keys = {_public(key), _public(identity(settings, "root"))}  # root may log in as everybody
    authorized.write_text("".join(f"{line}\n" for line in sorted(keys)), encoding="ascii")
    _own(user, home(settings, user), directory, key, key.with_suffix(".pub"), authorized)


def _own(user: str, *paths: Path) -> None:
    uid = USERS.get(user, 0)
    for path in paths:
        os.chown(path, uid, uid)


def _host_key(settings: Settings, node: Node) -> Path:
    return settings.root / "ssh" / f"host_{node.name}"


def _create_key(file: Path) -> None:
    if not file.with_suffix(".pub").exists():
        file.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", file.name, "-f", str(file)])


def _public(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text(encoding="ascii").split()[:2])


def _client_config(settings: Settings, user: str, known_hosts: Path) -> str:
    hosts = "".join(f"Host {node.name} {node.ip}\n  HostName {node.ip}\n" for node in settings.nodes)
    return (
        f"{hosts}Host *\n  User {user}\n  IdentityFile {identity(settings, user)}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
        "  BatchMode yes\n  ConnectTimeout 5\n"
    )


def _server_config(settings: Settings, node: Node) -> str:
    return (
        f"Port 22\nListenAddress {node.ip}\nHostKey {_host_key(settings, node)}\n"
        f"AuthorizedKeysFile {settings.root}/home/%u/.ssh/authorized_keys\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        "PidFile none\nUseDNS no\nMaxStartups 100\nMaxSessions 100\nPrintMotd no\nSubsystem sftp internal-sftp\n"
        f"SetEnv PATH={search_path(settings)} LANG=C.UTF-8\n"
    )


def _create_etc(settings: Settings, node: Node) -> None:
    """Files laid over the machine's: accounts (for logins and sshd's privilege separation), names, no DNS."""
    etc = settings.node_dir(node) / "etc"
    hosts = "".join(f"{other.ip} {other.name}\n" for other in settings.nodes)
    names = {"root", "sshd", *USERS}
    rows = [
        row
        for row in Path("/etc/passwd").read_text(encoding="utf-8").splitlines()
        if row.split(":")[0] not in names and row.split(":")[2] not in map(str, USERS.values())
    ]
    people = [f"{user}:x:{uid}:{uid}::{home(settings, user)}:/bin/bash" for user, uid in {"root": 0, **USERS}.items()]
    passwd = [*people, *rows, f"sshd:x:{SSHD_UID}:65534::/run/sshd:/usr/sbin/nologin"]
    groups = [
        row
        for row in Path("/etc/group").read_text(encoding="utf-8").splitlines()
        if row.split(":")[0] not in USERS and row.split(":")[2] not in map(str, USERS.values())
    ]
    contents = {
        "hosts": f"127.0.0.1 localhost\n{hosts}",
        "hostname": f"{node.name}\n",
        "passwd": "\n".join(passwd) + "\n",
        "group": "\n".join([*groups, *(f"{user}:x:{uid}:" for user, uid in USERS.items())]) + "\n",
        "shadow": "".join(f"{row.split(':')[0]}:*:19000:0:99999:7:::\n" for row in passwd),
        "nsswitch.conf": "".join(f"{name}: files\n" for name in ("passwd", "group", "shadow", "hosts", "services")),
    }
    for name, text in contents.items():
        (etc / name).write_text(text, encoding="utf-8")
    (etc / "shadow").chmod(0o600)
