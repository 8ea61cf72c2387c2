"""Process 1 of a node: builds the node around itself, starts sshd, then reaps orphans until it is killed.

Usage: node_init.py SPEC.json, started inside fresh pid, mount, uts, ipc, cgroup and network namespaces. It prints its
process id as the machine sees it, waits for a line on standard input (the network cable is in), prints `ready` when the
node is complete. End of file instead of that line means that whoever starts us died: then the node ends too.
"""

import ctypes
import ctypes.util
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
PIDS_PER_NODE = 300_000
PID_MAX = 4_194_304
LIBC = ctypes.CDLL(None, use_errno=True)


def attach(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a file system, see mount(2); raise OSError naming the target."""
    if LIBC.mount(source.encode(), target.encode(), fstype.encode() or None, flags, data.encode() or None):
        raise OSError(ctypes.get_errno(), f"{os.strerror(ctypes.get_errno())}: mount {source} ({fstype})", target)


def uncover(target: str) -> None:
    """Remove every mount at `target`, however many are stacked: criu(8) refuses covered mounts."""
    while not LIBC.umount2(target.encode(), MNT_DETACH):
        pass
    if (code := ctypes.get_errno()) not in {errno.EINVAL, errno.ENOENT}:
        raise OSError(code, os.strerror(code), target)


def file_systems(spec: dict[str, Any]) -> None:
    """Give the node its own /tmp, /run, /dev/shm, /dev/pts, /proc, /sys, accounts and host names.

    The project and the state directory stay visible even when they lie below one of these, or below a directory that
    ordinary users may not enter (root's home): such a directory is empty but for them.
    """
    kept = {path: os.open(path, os.O_PATH) for path in spec["keep"]}
    own = Path(spec["node_dir"])
    attach("none", "/", flags=MS_REC | MS_PRIVATE)
    for file in sorted((own / "etc").iterdir()):
        if (target := Path("/etc") / file.name).is_file() and not target.is_symlink():
            attach(str(file), str(target), flags=MS_BIND)
    attach(str(own / "private"), spec["private"], flags=MS_BIND)
    attach(str(own / "run"), "/run", flags=MS_BIND)
    attach(str(own / "tmp"), "/tmp", flags=MS_BIND)  # noqa: S108 - the node's own, made by the test bed
    uncover("/dev/shm")  # noqa: S108 - likewise
    attach("shm", "/dev/shm", "tmpfs", data="size=2g,mode=1777")  # noqa: S108 - likewise
    uncover("/dev/pts")
    attach("devpts", "/dev/pts", "devpts", data="newinstance,ptmxmode=0666,mode=620,gid=5")
    attach("/dev/pts/ptmx", "/dev/ptmx", flags=MS_BIND)
    uncover("/proc")
    attach("proc", "/proc", "proc")
    uncover("/sys")
    attach("sysfs", "/sys", "sysfs")
    for directory in spec["closed"]:
        if Path(directory).is_dir():  # else it lies below one that is the node's own by now, as /tmp
            attach("closed", directory, "tmpfs", data="mode=755")
    for path, descriptor in kept.items():
        if not Path(path).exists() or Path(path).stat().st_ino != os.fstat(descriptor).st_ino:
            Path(path).mkdir(parents=True, exist_ok=True)
            attach(f"/proc/self/fd/{descriptor}", path, flags=MS_BIND | MS_REC)
        os.close(descriptor)


def control_groups(spec: dict[str, Any]) -> None:
    """Mount the hierarchies with the node's own group as their root, as a host of that kind would have them."""
    root = Path("/sys/fs/cgroup")
    if not any(options for options in spec["cgroups"]):
        attach("cgroup2", str(root), "cgroup2")
        return
    attach("cgroup", str(root), "tmpfs", data="mode=755")
    for options in spec["cgroups"]:
        target = root / (options or "unified")
        target.mkdir()
        attach("cgroup", str(target), "cgroup" if options else "cgroup2", data=options)


def network(spec: dict[str, Any]) -> None:
    """Address and loopback; the cable `eth0` is there already."""
    lines = f"link set lo up\naddress add {spec['address']} dev eth0\nlink set eth0 up\n"
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)


def pid_range(index: int) -> None:
    """Process ids that no other node uses, so that a restored process finds its own free (clone3(2), criu(8))."""
    kernel = Path("/proc/sys/kernel")
    if int((kernel / "pid_max").read_text(encoding="ascii")) < PID_MAX:
        (kernel / "pid_max").write_text(str(PID_MAX), encoding="ascii")
    (kernel / "ns_last_pid").write_text(str(index * PIDS_PER_NODE), encoding="ascii")


def reap() -> None:
    """Collect orphans until a TERM comes."""
    signals = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while signal.sigwait(signals) != signal.SIGTERM:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            continue


def main() -> None:
    """Build the node, report, reap."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.umask(0o022)  # ordinary users pass through the directories made here, whatever the caller's umask
    print(Path("/proc/self").readlink(), flush=True)  # /proc is still the machine's
    if not sys.stdin.readline():
        return
    socket.sethostname(spec["name"])
    file_systems(spec)
    control_groups(spec)
    pid_range(spec["index"])
    network(spec)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    environment = {"PATH": spec["path"], **spec["sshd_environment"]}
    subprocess.Popen(spec["sshd"], env=environment, stdin=0, stdout=2, start_new_session=True)
    print("ready", flush=True)
    os.dup2(2, 1)
    os.close(null)
    reap()


if __name__ == "__main__":
    main()
