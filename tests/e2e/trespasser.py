"""A job that tries, where it was moved to, whatever it must not be able to do; and says in a file what became of it.

Usage: trespasser.py NAME DIRECTORY. On the head it only waits. Elsewhere it carries out DIRECTORY/plan.json and leaves
DIRECTORY/NAME.json. It is run by the environment that Ray is in, so that it could speak with it.
"""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc

HEAD = "gpu-master"
PTRACE_ATTACH = 16
LIMIT_S = 10
NOBODY = 0
METHODS = (
    *("JobInfoGcsService/GetAllJobInfo", "JobInfoGcsService/AddJob", "InternalKVGcsService/InternalKVPut"),
    *("NodeManagerService/RequestWorkerLease", "ObjectManagerService/Push", "ReporterService/GetTraceback"),
    *("CoreWorkerService/PushTask", "RayletDriver/Init"),
)


def attempt(what):
    """How it was refused; None: it was not."""
    try:
        what()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"{type(error).__name__} {getattr(error, 'stderr', '') or error}"
    return None


def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def touch(path):
    """Whether one could leave anything there."""
    (Path(path) / "left-by-a-moved-process").touch()


def call(name, *arguments):
    """A call of the C library's. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def sudo(argv, text):
    subprocess.run(["/usr/bin/sudo", "-n", *argv], input=text, text=True, capture_output=True, check=True)


def http(url, data, token):
    """The status of a question; NOBODY where a worker of Ray's has ended since."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=LIMIT_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return NOBODY


def methods(address):
    """What a port that speaks gRPC says to calls without a token, by method that it has."""
    found = {}
    with grpc.insecure_channel(address) as channel:
        for method in METHODS:
            try:
                channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=LIMIT_S)
                found[method] = "OK"
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE):
                    found[method] = error.code().name
    return found


def environments():
    """Other accounts' processes whose environment could be read."""
    readable, mine = [], os.getuid()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid == mine:
                continue
            (entry / "environ").read_bytes()
            readable.append((entry / "cmdline").read_bytes().decode())
        except OSError:
            continue
    return readable


def descriptors():
    """What each of its own descriptors leads to; the one that looks has gone by then."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[entry.name] = str(entry.readlink())
    return found


def read(path):
    """Open it, as a file."""
    Path(path).open("rb").close()


def look(path):
    """Look what is in it."""
    list(Path(path).iterdir())


def each(what, paths):
    """The same with all of them."""
    return {path: attempt(lambda path=path: what(path)) for path in paths}


def seen(plan):
    """Everything that was tried."""
    parent = os.getppid()
    launcher = f"/proc/{parent}"
    return {
        "status": Path("/proc/self/status").read_text(encoding="ascii"),
        "environ": Path("/proc/self/environ").read_bytes().decode(),
        "descriptors": descriptors(),
        "environments": environments(),
        "launcher": {
            "files": each(read, [f"{launcher}/{name}" for name in ("environ", "mem", "maps")]),
            "descriptors": attempt(lambda: look(f"{launcher}/fd")),
            "signal": attempt(lambda: os.kill(parent, 0)),
            "ptrace": attempt(lambda: call("ptrace", PTRACE_ATTACH, parent, None, None)),
        },
        "read": each(read, plan["read"]),
        "list": each(look, plan["list"]),
        "write": each(touch, [*plan["list"], *plan["write"]]),
        "connect": each(connect, plan["connect"]),
        "sudo": attempt(lambda: sudo([plan["opener"]], plan["task"])),
        "http": {url: [http(url, b"{}", token) for token in (None, "wrong")] for url in plan["http"]},
        "grpc": {address: methods(address) for address in plan["grpc"]},
    }


def main():
    """Until it is ended."""
    name, directory = sys.argv[1], Path(sys.argv[2])
    if os.uname().nodename == HEAD:
        (directory / f"{name}.pid").write_text(str(os.getpid()), encoding="ascii")
    else:
        plan = json.loads((directory / "plan.json").read_text(encoding="utf-8"))
        (directory / f"{name}.new").write_text(json.dumps(seen(plan)), encoding="utf-8")
        (directory / f"{name}.new").rename(directory / f"{name}.json")
    while True:
        time.sleep(1)


main()
