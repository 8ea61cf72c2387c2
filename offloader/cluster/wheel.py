"""The wheel of this very program, for other nodes: built from a checkout, or put together from what is installed."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from offloader.config.shipped import shipped
from offloader.errors import ExternalError
from offloader.ports import Host

__all__ = ["digest_of", "own_wheel"]

_NAME = "grid-offloader"
_LEFT_OUT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
_BUILD_S = 120.0


async def own_wheel(directory: Path, builder: Host, python: str) -> Path:
    """The wheel as a file in `directory`. The same sources give the same bytes.

    Args:
        directory: an empty one.
        builder: this machine.
        python: the interpreter whose environment we run in; in a checkout it has hatchling.

    Raises:
        ExternalError: a checkout whose environment cannot build.
    """
    project = shipped("pyproject.toml")
    if not project.is_file():
        return _repacked(distribution(_NAME), directory)
    words = ("env", "-C", str(project.parent), python, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory))
    done = await builder.run(words, timeout_s=_BUILD_S)
    built = sorted(directory.glob("*.whl"))  # noqa: ASYNC240 - one small local directory
    if done.returncode != 0 or len(built) != 1:
        said = done.stderr.decode("utf-8", "replace").strip()[-600:]
        raise ExternalError(f"the wheel of this checkout cannot be built ({said}): run deploy/setup")
    return built[0]


def digest_of(wheel: Path) -> str:
    """Of its content: names and bytes of what it holds, not of the archive, in which times may differ."""
    total = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(name for name in archive.namelist() if not name.endswith("/RECORD")):
            total.update(name.encode() + b"\0" + hashlib.sha256(archive.read(name)).digest())
    return total.hexdigest()


def _repacked(installed: Distribution, directory: Path) -> Path:
    """From an installation: its packages and metadata; scripts and bytecode are made again where it is installed."""
    name = f"{_NAME.replace('-', '_')}-{installed.version}-py3-none-any.whl"
    record: list[str] = []
    with zipfile.ZipFile(directory / name, "w", zipfile.ZIP_DEFLATED) as archive:
        info = ""
        for path, data in _content(installed):
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if data.startswith(b"#!") else 0o644) << 16
            archive.writestr(entry, data)
            record.append(f"{path},,")
            info = path.rpartition("/")[0] if path.endswith(".dist-info/METADATA") else info
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
    return directory / name


def _content(installed: Distribution) -> Iterator[tuple[str, bytes]]:
    for file in sorted(installed.files or (), key=str):
        name = str(file)
        if name.startswith("..") or name.endswith(".pyc") or file.name in _LEFT_OUT:
            continue
        yield name, Path(str(file.locate())).read_bytes()
