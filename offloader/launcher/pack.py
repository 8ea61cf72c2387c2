"""The launcher as one file for nodes: a zipapp of this package, the same bytes for the same sources everywhere."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

__all__ = ["pack"]

_PACKAGE = "grid_launcher"
_MAIN = f"import sys\nfrom {_PACKAGE}.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
_HASH_LENGTH = 16
_LEFT_OUT = frozenset({"pack.py"})


def pack() -> tuple[bytes, str]:
    """The zipapp, and the first 16 hexadecimal digits of its SHA-256, which its file name carries.

    Stored, not compressed: nodes need no zlib, and its bytes depend on no library's version.
    """
    folder = Path(__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry("__main__.py"), _MAIN)
        for source in sorted(folder.rglob("*.py")):
            if source.name not in _LEFT_OUT:
                name = source.relative_to(folder).as_posix()
                archive.writestr(_entry(f"{_PACKAGE}/{name}"), source.read_bytes())
    data = buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()[:_HASH_LENGTH]


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    return entry
