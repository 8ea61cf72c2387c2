"""Every query of every dashboard works, and yields something, in the middle of a move."""

import os
import subprocess
import sys
import time
from pathlib import Path

import fake_nvml
import pytest
from _check.prometheus import Prometheus
from _testbed import monitoring, nodes, services

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.timeout(600)]

PROJECT = Path(__file__).resolve().parent.parent.parent
CHECK = PROJECT / "grafana/check"
EXPORTER = str(PROJECT / ".venv/bin/grid-exporter")
HEAD, WITH_GPU, TARGET = "gpu-master", "gpu1", "gpu2"
SLOW = "slow.py"
"""Takes SAVING_S to save its state when it is asked to: that long its move is under way."""
SAVING_S, GRACE = 240, "5m"
GPU = """\
gpu 0 uuid GPU-11111111-2222-3333-4444-555555555555
gpu 0 name NVIDIA H100 80GB HBM3
gpu 0 util 7
gpu 0 memory_total 85520809984
gpu 0 memory_used 40000000000
gpu 0 temperature 61
gpu 0 power 512500
gpu 0 mig 0
gpu 0 ecc0 7
gpu 0 ecc1 0
process 0 {pid} 39000000000
"""


@pytest.fixture
def whole_hosts(controlled, tmp_path):
    """Exporters of the head and of a worker that show the machine as it is, not a control group; the worker has a GPU.

    Only so there are load averages, disks and stalls to be seen, and drivers number processes as the machine does.
    """
    settings = controlled.settings
    named = {node.name: node for node in settings.nodes}
    if fake_nvml.build(tmp_path) is None:
        pytest.skip("gcc is missing: the fake NVML library cannot be built (apt-get install gcc libc6-dev)")
    (tmp_path / "gpu").write_text(GPU.format(pid=os.getpid()), encoding="ascii")
    for name in (HEAD, WITH_GPU):
        services.stop(settings, named[name], "exporter")
    listen = f"--web.listen-address={{}}:{monitoring.EXPORTER_PORT}"
    services.start(settings, named[HEAD], "exporter", [EXPORTER, listen.format(named[HEAD].ip)])
    net = ["nsenter", f"--net=/proc/{nodes.pid(settings, named[WITH_GPU])}/ns/net"]
    with subprocess.Popen(
        [*net, EXPORTER, listen.format(named[WITH_GPU].ip), "--gpu.interval=1"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "GRID_FAKE_NVML": str(tmp_path / "gpu")},
    ) as exporter:
        try:
            yield controlled
        finally:
            exporter.terminate()
    services.stop(settings, named[HEAD], "exporter")
    monitoring.up(settings)


def can_be_moved_to(controlled):
    """Whether there is all that a move to the target needs; the machine may be too busy to lend anything itself."""
    state = controlled.status()
    offers = {worker["name"]: worker["offer"] for worker in state["workers"]}
    return state["head"]["up"] and offers[TARGET] is not None


def move(controlled, load, *options, user=""):
    """Start a move by hand and return its id at once."""
    (begun,) = controlled.json("move", str(load.pid), "-t", TARGET, "--detach", *options, user=user)
    return begun["id"]


def saves_slowly(bed, name):
    state = bed.shared / f"{name}.state"
    state.unlink(missing_ok=True)
    return bed.start_load(HEAD, name, program=SLOW, cpu=0.05, state=state, save_after=SAVING_S)


def check(prometheus, *options, seconds=80):
    """What it prints, once all is well. A scrape that fails on a busy machine leaves a gap of a moment: asked again."""
    line = [CHECK, "--prometheus", prometheus, "--window", "300", "--scrape-interval", "2", *options]
    deadline = time.monotonic() + seconds
    while True:
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode == 0:
            return done.stdout
        assert time.monotonic() < deadline, done.stdout + done.stderr


def test_all_queries_of_all_dashboards_during_a_move(whole_hosts):
    controlled, bed = whole_hosts, whole_hosts.bed
    checkpoints = [{"programs": [SLOW], "signal": "USR1", "grace": GRACE}]
    # The shipped rules: of every resource.
    controlled.start(changes={"auto_offload": {"check_interval": "2s"}, "checkpoints": checkpoints})
    bed.wait_for(lambda: can_be_moved_to(controlled), 60, "fresh data and an offer")
    first = move(controlled, bed.start_load(HEAD, "first", cpu=0.05))
    assert controlled.final(first)["state"] == "done"
    second = move(controlled, bed.start_load(HEAD, "second", cpu=0.05), user="root")  # its owner is told
    controlled.reached(second, "frozen")
    controlled.ok("cancel", second)
    assert controlled.final(second)["state"] == "rolled_back"
    bed.wait_for(lambda: controlled.move(first)["receipt"]["final"], 120, "the receipt of the first move")

    third = move(controlled, saves_slowly(bed, "third"), "--strategy", "checkpoint")
    controlled.reached(third, "held")
    told = f'grid_offloader_move_state{{move="{third}",state="held"}}'
    prometheus = Prometheus(bed.prometheus, 10)
    bed.wait_for(lambda: prometheus.instant(told, time.time()), 20, "Prometheus to know of it")
    for options in ((), ("--choose", "cluster=testbed")):
        listed = check(bed.prometheus, *options)
        assert "5 dashboards: 0 faults" in listed
        assert " queries: 0 errors, 0 empty\n" in listed
        sys.stdout.write(listed)  # pytest -s shows it
    assert not controlled.move(third)["final"], "the move was over before all was asked"
