import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def promtool():
    own = PROJECT / ".cache" / "debian" / "usr" / "bin" / "promtool"
    found = str(own) if own.exists() else shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is missing: run deploy/setup")
    return found


@pytest.mark.promtool
def test_promtool_finds_nothing_to_complain_about(start_exporter, proc, promtool, fake_nvml):
    """Names, types and help texts of everything there is, GPUs included."""
    env = {"LD_LIBRARY_PATH": str(fake_nvml), "GRID_FAKE_NVML": str(FIXTURES / "gpu.state")}
    text = start_exporter(f"--procfs={proc}", env=env).get_until("^grid_gpu_info")
    assert "grid_process_gpu_memory_bytes" in text
    run = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
