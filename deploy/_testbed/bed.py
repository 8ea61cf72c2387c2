"""The whole test bed: up, down, status. Each finishes what an interrupted one began."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _testbed import files, monitoring, network, nodes, ray_cluster
from _testbed.errors import MissingRequirementError, TestbedError
from _testbed.settings import MARKER, Node, Settings
from _testbed.shell import run, say, wait_until

TOOLS = ("ip", "nsenter", "unshare", "setpriv", "env", "ssh", "ssh-keygen")
NEEDED = ({"cpu", "cpu.max"}, {"memory", "memory.max"}, {"freezer", "cgroup.freeze"})
PID_MAX = Path("/proc/sys/kernel/pid_max")


def missing(settings: Settings) -> list[str]:
    """What this machine lacks for a test bed, each with what to do about it."""
    if os.geteuid():
        return ["root: nodes are made of namespaces, links and control groups; run it with sudo"]
    lacking = [f"{tool}: run deploy/setup" for tool in TOOLS if shutil.which(tool, path=files.SYSTEM_PATH) is None]
    try:
        files.sshd_program()
    except MissingRequirementError as error:
        lacking.append(str(error))
    hierarchies = settings.group().hierarchies
    if not hierarchies or not all(os.access(hierarchy.mount, os.W_OK) for hierarchy in hierarchies):
        lacking.append("control groups: /sys/fs/cgroup must be mounted and writable (in a container: --privileged)")
    if not lacking:
        try:
            run(["unshare", "--fork", *nodes.NAMESPACES, "mount", "--make-rprivate", "/"])
        except TestbedError as error:
            lacking.append(f"namespaces: {error} (in a container: --privileged)")
    return lacking


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Hold the test bed for one command; another one waits.

    The lock is the state directory itself. Children keep it until they have joined their control group, so whoever gets
    it after a crash finds every process.
    """
    while True:
        settings.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(settings.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _acquire(descriptor)
            with suppress(FileNotFoundError):
                if settings.root.stat().st_ino == os.fstat(descriptor).st_ino:
                    yield
                    return
        finally:
            os.close(descriptor)


def _acquire(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("  … waiting: another command works on the test bed")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def up(settings: Settings) -> None:
    """Bring up everything that is not up. Raises MissingRequirementError naming all that the machine lacks."""
    if lacking := missing(settings):
        raise MissingRequirementError("this machine cannot hold a test bed; it lacks\n  " + "\n  ".join(lacking))
    files.claim(settings)
    _remember_pid_max(settings)
    files.create_common(settings)
    network.create_bridge(settings)
    start_witness(settings)
    nodes.start(settings, [node for node in settings.nodes if nodes.pid(settings, node) is None])
    for node in settings.nodes:
        nodes.wait_for_port((node.ip, 22), nodes.START_S, f"sshd of {node.name}")


def down(settings: Settings, *, keep_files: bool = False) -> None:
    """End and remove everything, from whatever state: processes first, by id, through their control groups."""
    for node in settings.nodes:
        nodes.crash(settings, node)
    settings.group().kill()
    network.destroy(settings)
    settings.group().remove()
    _restore_pid_max(settings)
    entries = {path.name for path in settings.root.iterdir()}
    if MARKER in entries and not keep_files:
        for name in sorted(entries - {MARKER}):
            path = settings.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (settings.root / MARKER).unlink()  # last: an interrupted removal is still ours to finish
        entries = set()
    if not entries:
        settings.root.rmdir()


def start_witness(settings: Settings) -> None:
    """Start the recorder unless it runs."""
    members = settings.group("witness")
    if members.pids():
        return
    members.create()
    directory = settings.root / "witness"
    (directory / "socket").unlink(missing_ok=True)
    with (directory / "stderr").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("witness.py")), str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            preexec_fn=members.join,  # noqa: PLW1509 - single-threaded; joining first makes it findable after a crash
        )
    wait_until(lambda: (directory / "socket").exists() or process.poll() is not None, 10, "the witness")
    if process.poll() is not None:
        raise TestbedError(f"the witness ended at once: see {directory / 'stderr'}")
    process.returncode = 0  # it lives on without us; Popen would warn about that


def status(settings: Settings) -> dict[str, Any]:
    """What is up: one object per node, and the witness."""
    return {
        "directory": settings.directory,
        "name": settings.name,
        "subnet": settings.subnet,
        "up": all(nodes.pid(settings, node) is not None for node in settings.nodes),
        "ssh_config": str(settings.root / "ssh/config"),
        "known_hosts": str(settings.root / "ssh/known_hosts"),
        "shared": str(settings.shared),
        "ray": asdict(reach) if (reach := ray_cluster.access(settings)) else None,
        "prometheus": monitoring.url(settings),
        "witness": bool(settings.group("witness").pids()),
        "nodes": [_node_status(settings, node) for node in settings.nodes],
    }


def _node_status(settings: Settings, node: Node) -> dict[str, Any]:
    pid = nodes.pid(settings, node)
    members = nodes.group(settings, node)
    commands = {_command(number) for number in members.pids()} if pid is not None else set()
    return {
        "node": node.name,
        "role": node.role,
        "ip": node.ip,
        "pid": pid,
        "up": pid is not None,
        "sshd": pid is not None and nodes.listens((node.ip, 22)),
        "partitioned": network.is_cut(settings, node),
        "cgroup": members.path,
        "processes": len(members.pids()),
        "ray": "raylet" in commands,
        "exporter": pid is not None and nodes.listens((node.ip, monitoring.EXPORTER_PORT)),
        "prometheus": "prometheus" in commands,
    }


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _remember_pid_max(settings: Settings) -> None:
    """Kernels before 6.14 have one pid_max for all namespaces: nodes raise it, `down` puts it back."""
    file = settings.root / "pid_max.json"
    if not file.exists():
        file.write_text(json.dumps(int(PID_MAX.read_text(encoding="ascii"))), encoding="ascii")


def _restore_pid_max(settings: Settings) -> None:
    with suppress(FileNotFoundError):
        before = (settings.root / "pid_max.json").read_text(encoding="ascii")
        if PID_MAX.read_text(encoding="ascii").strip() != before:
            PID_MAX.write_text(before, encoding="ascii")
