"""A libnvidia-ml.so.1 that answers from a file: tests/exporter/gpu/fake_nvml.c says how that is written."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "exporter/gpu/fake_nvml.c"


def build(folder: Path) -> Path | None:
    """Build it there, for LD_LIBRARY_PATH; None: there is no compiler."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([compiler, *flags, "-o", folder / "libnvidia-ml.so.1", SOURCE], check=True)
    return folder
