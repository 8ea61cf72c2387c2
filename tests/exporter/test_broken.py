"""Each collector broken in turn, in each way a node can break it: it costs only its own metrics, and is said."""

import contextlib
import errno
import os
import re
import shutil
from pathlib import Path

import pytest
from exposition import samples_of

from exporter.collectors import COLLECTORS, Node
from exporter.collectors.base import DETAIL_MISSING
from exporter.nvml import GpuSampler
from exporter.procfs.process import Procfs
from exporter.procfs.read import ParseError
from exporter.registry import Registry
from exporter.roots import Roots
from exporter.settings import Settings

FIXTURES = Path(__file__).parent / "fixtures"

FILES = {
    "cpu": "stat",
    "load": "loadavg",
    "memory": "meminfo",
    "pressure": "pressure/memory",
    "network": "net/dev",
    "disk": "diskstats",
}
OPTIONAL = {"pressure", "network", "disk"}
"""What an ordinary user or a kernel may not have: denied is then missing, not broken."""


def _malformed(file):
    file.write_bytes(b"\xff\x00 what (is) this? -1\n" * 3)


def _directory(file):
    file.unlink()
    file.mkdir()


def _io_error(file):
    """Address 0 of a process cannot be read: EIO, as from a bad disk."""
    file.unlink()
    file.symlink_to("/proc/self/mem")


def _loop(file):
    file.unlink()
    file.symlink_to(file)


@pytest.fixture
def exporter(start_exporter, proc, fake_nvml, tmp_path):
    """Over the host fixture, with GPUs, and without the rights that let root read everything."""
    shutil.copy(FIXTURES / "gpu.state", tmp_path / "state")
    env = {"LD_LIBRARY_PATH": str(fake_nvml), "GRID_FAKE_NVML": str(tmp_path / "state")}
    options = (f"--procfs={proc}", f"--sysfs={FIXTURES}/host/sys", "--gpu.interval=0.2")
    prefix = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is missing: root can read everything (apt-get install util-linux)")
        prefix = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")
    started = start_exporter(*options, env=env, prefix=prefix)
    assert set(_success(started.get_until("^grid_gpu_info")).values()) == {True}
    return started


def _success(text):
    found = re.findall(r'^grid_exporter_collector_success\{collector="(\w+)"\} (\d)', text, re.MULTILINE)
    return {name: value == "1" for name, value in found}


def _series(text, collector):
    """Whether anything of the collector's own is there."""
    (kind,) = (kind for kind in COLLECTORS if kind.name == collector)
    return any(re.search(rf"^{metric.name}[{{ ]", text, re.MULTILINE) for metric in kind.metrics)


def _assert_only(text, broken):
    """The broken one failed and is gone, the others are there."""
    success = _success(text)
    assert success.keys() == {kind.name for kind in COLLECTORS}
    failed = {name for name, well in success.items() if not well}
    assert failed == {broken}
    assert [name for name in success if _series(text, name)] == [name for name in success if name not in failed]


@contextlib.contextmanager
def _broken(file, breakage):
    good = file.read_bytes()
    breakage(file)
    yield
    shutil.rmtree(file) if file.is_dir() else file.unlink()
    file.write_bytes(good)


@pytest.mark.slow
@pytest.mark.parametrize("breakage", [_malformed, _directory, _io_error, _loop])
def test_a_broken_file_costs_its_collector(exporter, proc, breakage):
    """One after the other: HTTP 200 (else `get` raises), success 0 for it, 1 for the others; then all is well again."""
    for collector, name in FILES.items():
        with _broken(proc / name, breakage):
            _assert_only(exporter.get_until(f'success{{collector="{collector}"}} 0'), collector)
    assert set(_success(exporter.get_until('success{collector="disk"} 1')).values()) == {True}


@pytest.mark.slow
def test_a_denied_file(exporter, proc):
    """A failure where every node has the file; where not every user or kernel has it, a detail that is missing."""
    for collector, name in FILES.items():
        with _broken(proc / name, lambda file: file.chmod(0)):
            if collector not in OPTIONAL:
                _assert_only(exporter.get_until(f'success{{collector="{collector}"}} 0'), collector)
                continue
            missing = rf'detail="{collector}\w*"}} 1'
            text = exporter.get_until(missing)
            assert re.search(missing, text)
            assert set(_success(text).values()) == {True}


@pytest.mark.slow
@pytest.mark.parametrize("state", ["gpu 0 uuid GPU-a\ngpu 0 handle !15\n", "gpu 0 uuid GPU-a\ngpu 0 temperature !1\n"])
def test_an_nvml_error_costs_the_gpu_collector(exporter, tmp_path, state):
    """The only GPU is lost; the library says that it is not initialised."""
    (tmp_path / "state").write_text(state)
    _assert_only(exporter.get_until('success{collector="gpu"} 0'), "gpu")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "bad disk"), ParseError("odd"), RecursionError(), MemoryError()])
@pytest.mark.parametrize("broken", COLLECTORS)
def test_whatever_a_collector_raises_costs_only_itself(proc, monkeypatch, broken, error):
    """Also in the middle of its work: half its metrics would be wrong, all the others' are as before."""
    node = Node(Settings((), roots=Roots(proc, FIXTURES / "host" / "sys")), Procfs(proc), None, GpuSampler())

    def fails(self):
        yield DETAIL_MISSING.sample(True, "half")
        raise error

    monkeypatch.setattr(broken, "collect", fails)
    registry = Registry([kind(node) for kind in COLLECTORS])
    samples = samples_of(registry.scrape("")[0].decode())
    success = {kind.name: samples["grid_exporter_collector_success", kind.name] for kind in COLLECTORS}
    assert success == {kind.name: float(kind is not broken) for kind in COLLECTORS}
    assert ("grid_exporter_detail_missing", "half") not in samples
    exported = {sample[0] for sample in samples}
    assert not exported & {metric.name for metric in broken.metrics}
