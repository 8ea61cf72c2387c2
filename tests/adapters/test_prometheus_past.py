"""A real Prometheus tells what it showed at a moment in the past, long after the controller could ask."""

import asyncio
import socket
import subprocess
import time

import pytest

from offloader.adapters.gather import gather
from offloader.adapters.prometheus import PrometheusSource
from offloader.model import Resource, Role, Rule

pytestmark = [pytest.mark.slow, pytest.mark.promtool]

RULE = Rule("g", "cpu", 'grid:node_pressure:ratio{role="head",resource="cpu"}', Resource.CPU, 0.8, 0.6, 0.0)
LABELS = 'node="head",role="head"'


def history(t: float) -> str:
    """OpenMetrics, a sample every 5 s: the head's CPU falls from 90 % to 40 % at `t`, and a minute later all ends."""
    moments = [t + offset for offset in range(-120, 61, 5)]
    series = {
        f"grid:up{{{LABELS}}}": lambda _: 1.0,
        f"grid:sample_age_seconds{{{LABELS}}}": lambda _: 2.0,
        f'grid:node_pressure:ratio{{{LABELS},resource="cpu"}}': lambda at: 0.9 if at < t else 0.4,
        f'grid:node_pressure:ratio{{{LABELS},resource="memory"}}': lambda _: 0.5,
    }
    lines = [f"{name} {value(at)} {at}" for name, value in series.items() for at in moments]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture
async def source(tmp_path, promtool):
    t = float(int(time.time()) - 1200)
    (tmp_path / "history").write_text(history(t))
    blocks = [promtool, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "history", tmp_path / "data"]
    subprocess.run(blocks, check=True, capture_output=True)
    (tmp_path / "prometheus.yml").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = (f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}")
    with (tmp_path / "log").open("wb") as log:
        command = [promtool.with_name("prometheus"), f"--config.file={tmp_path}/prometheus.yml", *options]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    made = PrometheusSource(f"http://127.0.0.1:{port}")
    try:
        async with asyncio.timeout(60):
            while (await made.query("vector(1)"))[0].error is not None:
                assert process.poll() is None, (tmp_path / "log").read_text()
                await asyncio.sleep(0.2)
        yield made, t
    finally:
        await made.close()
        process.kill()
        process.wait()


async def test_what_it_showed_before_and_after_a_move_is_there_again(source):
    prometheus, t = source

    async def seen(now, *, past=True):
        found = await gather(prometheus, [RULE], {"head": Role.HEAD}, now=now, limit_s=15.0, past=past)
        return found.values["g/cpu", "head"], found.nodes["head"].pressure[Resource.MEMORY]

    for at, value in ((t - 7, 0.9), (t + 33, 0.4)):
        cpu, memory = await seen(at)
        assert (cpu.value, memory.value) == (value, 0.5)
        assert 2 <= cpu.age_s <= 2 + 5, "as old as it was then, not as it is now"
    assert (await seen(t + 90))[0].problem == "STALE"
    assert (await seen(t - 3600))[0].problem == "NO_DATA"
    assert (await seen(time.time(), past=False))[0].problem == "NO_DATA"
