"""A real exporter where it sees less: it starts, no collector fails, and a metric says exactly what it cannot see."""

import ctypes.util
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from _testbed.cgroups import Group, hierarchies

PROJECT = Path(__file__).resolve().parent.parent.parent
RESOURCES = ("cpu", "memory", "io")
NAME = f"grid-exporter-test-{os.getpid()}"

AS_NOBODY = """
import ctypes, os, sys
from exporter.__main__ import main  # while it may be read: the checkout may lie where others cannot go
os.setgroups([]), os.setgid(65534), os.setuid(65534)
PR_SET_DUMPABLE = 4
ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # as for any program that an ordinary user starts
sys.exit(main(sys.argv[1:]))
"""

DOCKER = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod "
    "audit_write setfcap"
)
"""What a container's root may do unless told otherwise: not look into other users' processes."""

SCRAPE = "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1], timeout=20).read())"

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def start(start_exporter):
    """Starts an exporter behind a shell script that prepares its surroundings, in new namespaces if wanted."""

    def confined(
        script: str, *options: str, namespaces: Iterable[str] = (), run='exec "$@"', program=("-m", "exporter")
    ):
        unshare = ("unshare", *namespaces) if namespaces else ()
        prefix = (*unshare, "sh", "-ec", f"{script}\n{run}", "sh")
        return start_exporter(*options, prefix=prefix, program=program, stop=signal.SIGKILL)

    return confined


def _enters(kind: str) -> None:
    """Skip where root may not make such a namespace (a container without CAP_SYS_ADMIN)."""
    tried = subprocess.run(["unshare", *kind.split(), "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs the right to make namespaces (CAP_SYS_ADMIN): {tried.stderr.strip()}")


def _missing(text: str) -> set[str]:
    """What it says that it cannot see; all collectors well."""
    success = re.findall(r'^grid_exporter_collector_success\{collector="(\w+)"\} (\S+)$', text, re.MULTILINE)
    assert len(success) >= 8
    assert [name for name, value in success if value != "1.0"] == []
    return set(re.findall(r'^grid_exporter_detail_missing\{detail="(\w+)"\} 1\.0$', text, re.MULTILINE))


def _readable(file: Path, word: str = "") -> bool:
    try:
        return word in file.read_text()
    except OSError:
        return False


def _unseen_gpu() -> set[str]:
    """A board of NVIDIA without its library: the machine's, not the environment's."""
    vendors = [path for path in Path("/sys/bus/pci/devices").glob("*/vendor") if path.read_text() == "0x10de\n"]
    boards = [path for path in vendors if (path.parent / "class").read_text().startswith("0x03")]
    return {"gpu"} if boards and ctypes.util.find_library("nvidia-ml") is None else set()


def _unseen_on_the_host() -> set[str]:
    """What nobody sees on this machine."""
    pressure = {f"pressure_{name}" for name in RESOURCES if not _readable(Path("/proc/pressure") / name)}
    disk = set() if Path("/sys/dev/block").is_dir() and _readable(Path("/proc/diskstats")) else {"disk", "disk_busy"}
    return pressure | disk | _unseen_gpu()


def _users(text: str) -> set[str]:
    return set(re.findall(r'^grid_process_info\{.*user="([^"]+)"', text, re.MULTILINE))


def test_as_nobody(start):
    """Sees everybody's processes, but not what they read and write."""
    text = start("", program=("-c", AS_NOBODY)).get()
    assert _missing(text) - {"process_wish"} == {"process_io"} | _unseen_on_the_host()  # a wish counts only for users
    assert "root" in _users(text)


def test_as_nobody_where_proc_hides_others_processes(start):
    """hidepid=2: what it does see, its own, it sees with I/O. Process 1 of the pid namespace is root's."""
    _enters("--mount --pid --fork")
    text = start(
        "mount -t proc -o hidepid=2 proc /proc",
        namespaces=("--mount", "--pid", "--fork", "--kill-child"),
        run='"$@" & wait',
        program=("-c", AS_NOBODY),
    ).get()
    assert _missing(text) == {"process_other_users"} | _unseen_on_the_host()
    assert _users(text) == {"nobody"}


def _minimal_root(root: Path) -> str:
    """A root directory with programs, the checkout, and file systems of its own: what an image and a runtime give."""
    seen = {"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", sys.base_prefix, sys.prefix, str(PROJECT)}
    lines = ["mount --make-rprivate /", f"mount -t tmpfs root {root}", f"cd {root}", "mkdir -p proc sys dev tmp"]
    for path in sorted(seen):
        inside = shlex.quote(path.removeprefix("/"))
        if Path(path).is_symlink():
            lines.append(f"mkdir -p {shlex.quote(str(Path(path).parent.relative_to('/')))}; cp -a {path} {inside}")
        elif Path(path).is_dir():
            lines.append(f"mkdir -p {inside}; mount --rbind {shlex.quote(path)} {inside}")
    lines += ["mount -t proc proc proc", "mount -t sysfs -o ro sysfs sys", "touch dev/null"]
    lines += ["mount --bind /dev/null dev/null", "ip link set lo up"]
    return "\n".join(lines)


def _mount_cgroups(found) -> str:
    """As a runtime mounts them, with the container's own cgroup as the root."""
    if all(hierarchy.unified for hierarchy in found):
        return "mount -t cgroup2 cgroup2 sys/fs/cgroup"
    lines = ["mount -t tmpfs cgroup sys/fs/cgroup"]
    for hierarchy in found:
        kind = "cgroup2" if hierarchy.unified else f"cgroup -o {hierarchy.options}"
        folder = f"sys/fs/cgroup/{hierarchy.options or 'unified'}"
        lines.append(f"mkdir {folder}; mount -t {kind} cgroup {folder}")
    return "\n".join(lines)


@pytest.fixture
def group():
    """A control group in all hierarchies of the machine."""
    found = hierarchies()
    if not found:
        pytest.skip("needs cgroups: none are mounted here (mount -t cgroup2 cgroup2 /sys/fs/cgroup)")
    made = Group(NAME, found)
    try:
        made.create()
    except OSError as error:
        pytest.skip(f"needs the right to make cgroups: {error}")
    yield made
    made.kill()
    made.remove()


def _unseen_in(group: Group) -> set[str]:
    """What the kernel does not account for a group, by the files that are there."""
    unified = next((hierarchy.mount / group.path for hierarchy in group.hierarchies if hierarchy.unified), None)
    folders = {
        name: hierarchy.mount / group.path for hierarchy in group.hierarchies for name in hierarchy.options.split(",")
    }
    seen = {f"pressure_{name}": unified is not None and _readable(unified / f"{name}.pressure") for name in RESOURCES}
    if "cpuacct" in folders:  # version 1; the helper mounts no blkio
        seen |= {
            "disk": False,
            "swap": "memory" in folders and _readable(folders["memory"] / "memory.stat", "total_swap"),
        }
        seen |= {"memory": "memory" in folders}
    elif unified is not None:
        files = {"disk": "io.stat", "memory": "memory.current", "swap": "memory.swap.current"}
        seen |= {detail: _readable(unified / name) for detail, name in files.items()}
    return {detail for detail, there in seen.items() if not there}


def test_in_a_container_without_nvml(start, group, tmp_path):
    """Namespaces of its own, a minimal root, its limited cgroup as the root of the hierarchy, Docker's rights."""
    _enters("--mount --pid --net --ipc --uts --cgroup --fork")
    if ctypes.util.find_library("nvidia-ml"):
        pytest.skip("needs a machine without NVIDIA's library: the container has the machine's /usr")
    group.limit(cpu=0.5, memory=1 << 30)
    join = "".join(f"echo $$ > {folder}/cgroup.procs\n" for folder in group.directories())
    bounds = ",".join(["-all", *(f"+{right}" for right in DOCKER.split())])
    namespaces = "unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child"
    inside = f"""{_minimal_root(tmp_path)}
{_mount_cgroups(group.hierarchies)}
cd {PROJECT}
exec chroot {tmp_path} setpriv --inh-caps=-all --bounding-set={bounds} sh -c 'cd "$0" && exec "$@"' {PROJECT} "$@"
"""
    exporter = start(join, "--scope=cgroup", run=f'exec {namespaces} sh -ec {shlex.quote(inside)} sh "$@"')
    enter = ["nsenter", "--net", f"--target={exporter.process.pid}"]
    scraped = subprocess.run(
        [*enter, sys.executable, "-c", SCRAPE, f"{exporter.url}/metrics"], capture_output=True, check=True, timeout=60
    )
    text = scraped.stdout.decode()
    assert _missing(text) == {"load", "disk_busy"} | _unseen_in(group) | _unseen_gpu()
    assert re.findall(r'^grid_process_info\{.*pid="(\d+)"', text, re.MULTILINE) == ["1"]
    for line in ("cpu_cores 0.5", "memory_total_bytes 1073741824.0", "network_receive_bytes_total 0.0"):
        assert f"\ngrid_node_{line}\n" in text


@pytest.fixture
def slice_of_v2(tmp_path):
    """Where cgroup v2 is mounted in a namespace of the exporter's own, wherever the machine has it or not."""
    _enters("--mount")
    mount = f"mount -t cgroup2 cgroup2 {tmp_path}"
    tried = subprocess.run(["unshare", "--mount", "sh", "-ec", mount], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs cgroup v2 in the kernel: {tried.stderr.strip()}")
    yield tmp_path
    remove = f"{mount}\nrmdir {tmp_path}/{NAME}"
    subprocess.run(["unshare", "--mount", "sh", "-ec", remove], check=True, timeout=20)


def test_on_a_slice_of_cgroup_v2(start, slice_of_v2):
    """Its own CPU time and pressure; memory and I/O only where their controllers are enabled for it; no network."""
    folder = slice_of_v2 / NAME
    script = f"mount -t cgroup2 cgroup2 {slice_of_v2}\nmkdir {folder}\necho $$ > {folder}/cgroup.procs"
    options = ("--scope=cgroup", f"--cgroupfs={slice_of_v2}", f"--cgroup-path=/{NAME}")
    exporter = start(script, *options, namespaces=("--mount",))
    text = exporter.get()
    seen_there = Path(f"/proc/{exporter.process.pid}/root{folder}")
    files = {"cpu": "cpu.stat", "memory": "memory.current", "swap": "memory.swap.current", "disk": "io.stat"}
    files |= {f"pressure_{name}": f"{name}.pressure" for name in RESOURCES}
    unseen = {detail for detail, name in files.items() if not _readable(seen_there / name)}
    assert "cpu" not in unseen
    assert _missing(text) == {"load", "network", "disk_busy"} | unseen | _unseen_gpu()
    exporter.process.kill()
    exporter.process.wait(10)
