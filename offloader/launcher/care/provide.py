"""`provide`: makes a virtual environment on this node, or takes the one that is there and right; says what it does.

On stdin one line, a document: `kind` and `directory` (of the environment), `lock` (what identifies its content),
`state_dir`, `release` (of all that is installed together), `requirements` (text, every line with its hashes), `wheel`
(a file to install besides, or nothing), `wheels` (a directory to install from instead of an index, or nothing), `given`
(true: somebody else looks after that environment; nothing is installed in it). On stdout a line per step, the last one
with `done`. Nodes that share the directory make it once: the others wait. Interrupted, it goes on where it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..durable import write_json
from ..errors import LauncherError
from ..wire import LIMIT_BYTES, Document, decode, emit
from .installed import MARK, complete, use

__all__ = ["main"]

_TAIL = 1200
_VERSIONS = (
    "import importlib.metadata as m, json\n"
    "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
)


def main(_arguments: list[str]) -> Document:
    """The verb. Raises LauncherError: NOT_INSTALLED, with the end of what pip said."""
    asked = decode(sys.stdin.buffer.readline(8 * LIMIT_BYTES))
    directory, lock = Path(str(asked["directory"])), str(asked["lock"])
    os.umask(0o022)  # other accounts of the node may run what is installed here
    made = False if asked.get("given") else _made(directory, lock, asked)
    mark = {"lock": lock, "versions": _versions(directory)}
    changed = use(Path(str(asked["state_dir"])), str(asked["kind"]), directory, mark, str(asked["release"]))
    return {"done": True, "made": made, "changed": changed, "directory": str(directory), "versions": mark["versions"]}


def _made(directory: Path, lock: str, asked: Document) -> bool:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        if complete(directory, lock):
            return False
        _make(directory, asked)
        return True


def _make(directory: Path, asked: Document) -> None:
    _say("making the environment")
    _run([sys.executable, "-m", "venv", str(directory)], "python3 -m venv")
    python = str(directory / "bin/python")
    pip = [python, "-I", "-m", "pip", "--no-input", "--disable-pip-version-check", "install", "--quiet"]
    where = ["--no-index", "--find-links", str(asked["wheels"])] if asked.get("wheels") else []
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
        requirements.write(str(asked["requirements"]))
        requirements.flush()
        _say("installing packages")
        _run([*pip, *where, "--require-hashes", "-r", requirements.name], "pip install")
    if asked.get("wheel"):
        _say("installing grid-offloader")
        _run([*pip, "--no-index", "--no-deps", "--force-reinstall", str(asked["wheel"])], "pip install of the wheel")
    write_json(directory / MARK, {"lock": str(asked["lock"])})


def _versions(directory: Path) -> Document:
    text = _run([str(directory / "bin/python"), "-I", "-c", _VERSIONS], "its Python")
    wanted = ("grid-offloader", "ray")
    found = decode(text.encode())
    return {name: found[name] for name in wanted if name in found}


def _run(argv: list[str], what: str) -> str:
    environ = {key: os.environ[key] for key in os.environ if key not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(argv, capture_output=True, text=True, env=environ, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-_TAIL:]
        raise LauncherError("NOT_INSTALLED", f"{what} failed: {said}")
    return done.stdout


def _say(step: str) -> None:
    emit({"step": step})


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One at a time, also from several nodes (flock(2): over NFS, too)."""
    path = directory.with_name(f".{directory.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting: another node makes the same environment")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
