"""A small disk of its own for the controller's state directory, so that it can be full.

A file with an ext4 file system, mounted inside the head alone: the state directory may not be in memory.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from _testbed import controller, nodes
from _testbed.shell import run

from _faults.rig import Rig

__all__ = ["fill", "free", "prepare", "tidy"]

SIZE = 64 << 20
FULL_AGAIN_S = 0.1
_filling = threading.Event()


def _inside(rig: Rig) -> str:
    return f"{controller.inside(rig.settings)}/state"


def _seen(rig: Rig) -> Path:
    """The mounted directory; the machine itself does not see it under its own name."""
    return Path(f"/proc/{nodes.pid(rig.settings, rig.head)}/root{_inside(rig)}")


def _on_head(rig: Rig, *command: str) -> None:
    run(["nsenter", "--target", str(nodes.pid(rig.settings, rig.head)), "--mount", "--", *command])


def prepare(rig: Rig) -> None:
    """Give the controller a small disk, and with it a new journal."""
    controller.stop(rig.settings)
    image = rig.settings.root / "small-disk.img"
    with image.open("wb") as file:
        file.truncate(SIZE)
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(image)])
    rig.state_dir().mkdir(exist_ok=True)
    _on_head(rig, "mount", "-o", "loop", str(image), _inside(rig))
    uid = rig.state_dir().parent.stat().st_uid
    os.chown(_seen(rig), uid, uid)
    _seen(rig).chmod(0o700)
    rig.start_controller()


def fill(rig: Rig, _: Sequence[Any]) -> None:
    """Take every free block, and each that becomes free, until `free`."""
    _filling.set()
    _take(_seen(rig) / "fill")
    threading.Thread(target=_keep_full, args=(_seen(rig) / "fill",), daemon=True).start()


def _keep_full(file: Path) -> None:
    while _filling.is_set():
        _take(file)
        threading.Event().wait(FULL_AGAIN_S)


def _take(file: Path) -> None:
    with file.open("ab", buffering=0) as opened:
        for size in (1 << 16, 4096, 1):
            with suppress(OSError):
                while opened.write(b"x" * size):
                    pass


def free(rig: Rig) -> None:
    """There is room again."""
    _filling.clear()
    (_seen(rig) / "fill").unlink(missing_ok=True)


def tidy(rig: Rig) -> None:
    """Back to the large disk."""
    controller.stop(rig.settings)
    _on_head(rig, "umount", _inside(rig))
    (rig.settings.root / "small-disk.img").unlink()
    rig.start_controller()
