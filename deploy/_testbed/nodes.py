"""The life of one node: start, run things inside, crash."""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from _testbed import files, network
from _testbed.cgroups import Group
from _testbed.errors import NodeDownError, TestbedError
from _testbed.settings import USERS, Node, Settings
from _testbed.shell import kill as send
from _testbed.shell import start_time, wait_until

START_S = 30
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")


def group(settings: Settings, node: Node) -> Group:
    """The node's control group."""
    return settings.group(node.name)


def pid(settings: Settings, node: Node) -> int | None:
    """The node's process 1 as the machine numbers it; None when the node is down."""
    try:
        stored = json.loads((settings.node_dir(node) / "init.json").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):  # never started, or `up` was killed while writing
        return None
    return int(stored["pid"]) if start_time(stored["pid"]) == stored["start"] else None


def start(settings: Settings, wanted: Sequence[Node]) -> None:
    """Start nodes side by side, each from a clean slate; raises TestbedError with the log of one that fails."""
    deadline = time.monotonic() + START_S
    born = [(node, _spawn(settings, node)) for node in wanted]
    for node, process in born:
        number = int(_line(settings, node, process, deadline))
        network.plug(settings, node, number)
        _tell(process)
        stored = {"pid": number, "start": start_time(number)}
        (settings.node_dir(node) / "init.json").write_text(json.dumps(stored), encoding="ascii")
    for node, process in born:
        if _line(settings, node, process, deadline) != "ready":
            raise TestbedError(_failure(settings, node))
        _pipe(process.stdout).close()
        process.returncode = 0  # it lives on without us; Popen would warn about that


def _spawn(settings: Settings, node: Node) -> subprocess.Popen[str]:
    members = group(settings, node)
    members.kill()
    network.unplug(settings.link(node))
    spec = files.create_node(settings, node)
    members.create()
    members.limit(settings.cpu, settings.memory)
    unshare = ["unshare", "--fork", "--kill-child", "--propagation", "private", *NAMESPACES]
    with _log(settings, node).open("w", encoding="utf-8") as log:
        return subprocess.Popen(
            [*unshare, "/usr/bin/python3", "-I", str(Path(__file__).with_name("node_init.py")), str(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd="/",
            env=files.environment(settings),
            start_new_session=True,
            preexec_fn=members.join,  # noqa: PLW1509 - single-threaded; joining first makes every process findable
        )


def _log(settings: Settings, node: Node) -> Path:
    return settings.node_dir(node) / "init.log"


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _line(settings: Settings, node: Node, process: subprocess.Popen[str], deadline: float) -> str:
    stream = _pipe(process.stdout)
    readable, _, _ = select.select([stream], [], [], max(0, deadline - time.monotonic()))
    line = stream.readline().strip() if readable else ""
    if not line:
        raise TestbedError(_failure(settings, node))
    return line


def _tell(process: subprocess.Popen[str]) -> None:
    stream = _pipe(process.stdin)
    stream.write("go\n")
    stream.close()


def _failure(settings: Settings, node: Node) -> str:
    log = _log(settings, node)
    return f"node {node.name} did not come up; {log} ends with: {log.read_text(encoding='utf-8')[-1500:].strip()}"


def crash(settings: Settings, node: Node) -> None:
    """Kill the node's process 1, hence everything in it, and wait until nothing is left: a power failure."""
    if (number := pid(settings, node)) is not None:
        send(number, signal.SIGKILL)
    group(settings, node).kill()
    wait_until(lambda: pid(settings, node) is None, START_S, f"process 1 of {node.name} to end")
    network.unplug(settings.link(node))


def command_line(number: int) -> str:
    """What a process was started with, blanks between the words; empty when it is gone."""
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def end_loads(settings: Settings, node: Node) -> None:
    """End every sample load on the node, frozen ones too."""
    members = group(settings, node)
    program = f"/usr/bin/python3 {settings.root}/bin/"

    def ended() -> bool:
        loads = [number for number in members.pids() if command_line(number).startswith(program)]
        for number in loads:
            send(number, signal.SIGKILL)
        if loads:
            members.thaw()
        return not loads

    wait_until(ended, 15, f"the loads on {node.name} to end")


def argv(settings: Settings, node: Node, command: Sequence[str], user: str = "root", cwd: str = "/") -> list[str]:
    """What to execute to run `command` inside the node; raises NodeDownError, TestbedError for an unknown user."""
    if user != "root" and user not in USERS:
        raise TestbedError(f"there is no user {user!r} on the nodes; there are: root, {', '.join(USERS)}")
    number = pid(settings, node)
    if number is None:
        raise NodeDownError(f"{node.name} is down: deploy/testbed start {node.name}")
    variables = [f"{key}={value}" for key, value in files.environment(settings, user).items()]
    terminal = [f"TERM={os.environ['TERM']}"] if "TERM" in os.environ else []
    become = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    # A login on a host knows nothing of signals that the test bed's caller ignores (nohup, a shell's background).
    inside = ["env", "-i", "--default-signal", "-C", cwd, *variables, *terminal, *become, *command]
    return ["nsenter", "--target", str(number), *NAMESPACES, "--", *inside]


def enter(settings: Settings, node: Node, command: Sequence[str], user: str = "root", cwd: str = "/") -> None:
    """Become `command` inside the node. Does not return."""
    line = argv(settings, node, command, user, cwd)
    group(settings, node).join()
    os.closerange(3, 65536)  # descriptors of ours would be visible inside, and criu(8) cannot dump them
    os.execvp(line[0], line)  # noqa: S606 - replaces this process on purpose


def wait_for_port(address: tuple[str, int], seconds: float, what: str) -> None:
    """Return once something listens at a TCP address; raises TestbedError after `seconds`."""
    wait_until(lambda: listens(address), seconds, what)


def listens(address: tuple[str, int], seconds: float = 0.5) -> bool:
    """Whether a TCP connection succeeds within `seconds`."""
    import socket  # noqa: PLC0415 - `exec` starts faster without

    try:
        with socket.create_connection(address, timeout=seconds):
            return True
    except OSError:
        return False
