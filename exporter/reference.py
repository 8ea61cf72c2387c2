"""`python -m exporter.reference` writes docs/metrics.md from the declarations; `--check` tells when it is stale."""

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from exporter.collectors import COLLECTORS
from exporter.metrics import Kind, Metric
from exporter.registry import OWN_METRICS

DEFAULT_PATH = Path(__file__).parent.parent / "docs" / "metrics.md"

_INTRODUCTION = """\
# Metrics of grid-exporter

Written by `python -m exporter.reference` from the declarations in the code: change those, not this page.

One sample is taken per scrape; a second scraper within half a second gets the same sample. With `--scope=cgroup` the
node is a cgroup (a container or a slice): CPU, memory, disk I/O and pressure are its own, and what the kernel does not
tell per cgroup is absent. What cannot be seen on a node is no failure: `grid_exporter_detail_missing` names it.

Prometheus adds `instance`, `job` and the labels of the target (`node`, `role`). Series of processes carry `pid`,
`comm`, `user` and `class`, never arguments or environment. Classes: training, inference, data_processing, compute, io,
batch, interactive, daemon, unknown. Only significant processes have series: at least 4 MiB resident or 0.005 core used,
at most 50 (`--process.min-rss`, `--process.min-cpu`, `--process.top`), those that use a GPU first.
Dead, kernel and other cgroups' processes have none.

Metrics of the controller: [controller_metrics.md](controller_metrics.md). Recorded series `grid:*`:
[rules.md](rules.md).
"""

_DETAILS_HEADING = """
## Details that may be missing

`grid_exporter_detail_missing{detail="…"}` is 1 when this exporter cannot see:

| detail | means | what helps |
| --- | --- | --- |
"""

_PSI = "a kernel with `psi=1`; of a cgroup: v2"
_DETAILS = (
    ("cpu", "CPU time is not accounted for this cgroup", "cgroup v1: its controllers `cpu` and `cpuacct`"),
    ("memory", "memory is not accounted for this cgroup", "its controller `memory`"),
    ("swap", "swap is not accounted for this cgroup", "its controller `memory`; v1: a kernel with `swapaccount=1`"),
    ("load", "no load average", "nothing: the kernel keeps none per cgroup"),
    ("pressure_cpu", "no pressure stall information for CPU", _PSI),
    ("pressure_memory", "no pressure stall information for memory", _PSI),
    ("pressure_io", "no pressure stall information for I/O", _PSI),
    (
        "network",
        "no traffic",
        "nothing: a cgroup has no network of its own; `--cgroup-path=/` in a container, which has",
    ),
    (
        "disk",
        "I/O is not accounted for this cgroup, or nothing tells disks from what lies on top of them",
        "its controller `io` (v1: `blkio`); /sys mounted, see `--sysfs`",
    ),
    ("disk_busy", "no busy time of disks", "nothing: the kernel keeps none per cgroup"),
    (
        "gpu",
        "an NVIDIA board has no driver here, or one of several GPUs does not answer",
        "`nvidia-smi`; in a container: its NVIDIA runtime; the exporter's log says more",
    ),
    (
        "gpu_version_mismatch",
        "the GPUs' driver was updated: its library and the loaded kernel module are of different versions",
        "restart the node; or stop the exporter, which keeps the module in use, reload that, and start it again",
    ),
    ("process_io", "disk I/O of some processes", "run as root, or with `CAP_SYS_PTRACE` and `CAP_DAC_READ_SEARCH`"),
    (
        "process_malformed",
        "some process is left out: the kernel's answer cannot be understood",
        "report it with the kernel's version",
    ),
    (
        "process_wish",
        "whether some processes are movable: what their owners said, or their programs, may not be seen",
        "run as root, or with `CAP_SYS_PTRACE` and `CAP_DAC_READ_SEARCH`",
    ),
    (
        "process_gpu",
        "which processes use the GPUs: drivers may number them otherwise than this pid namespace",
        "run in the host's pid namespace",
    ),
    (
        "process_other_users",
        "processes of other users are hidden",
        "mount /proc without `hidepid`, or run as root",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or with --check compare. Exit status 1 when it is stale."""
    parser = argparse.ArgumentParser(prog="python -m exporter.reference", description=main.__doc__)
    parser.add_argument("--output", type=Path, default=DEFAULT_PATH, help="the page (default docs/metrics.md)")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the page is not up to date")
    options = parser.parse_args(argv)
    page = render()
    if not options.check:
        options.output.write_text(page, encoding="utf-8")
        return 0
    if options.output.is_file() and options.output.read_text(encoding="utf-8") == page:
        return 0
    sys.stderr.write(f"{options.output} is stale: run python -m exporter.reference\n")
    return 1


def render() -> str:
    """The page."""
    sections = [_section("The exporter itself", OWN_METRICS)]
    sections += [
        _section(f"Collector `{collector.name}`", collector.metrics, inspect.getdoc(collector) or "")
        for collector in COLLECTORS
    ]
    details = "".join(f"| `{detail}` | {meaning} | {remedy} |\n" for detail, meaning, remedy in _DETAILS)
    return _INTRODUCTION + "".join(sections) + _DETAILS_HEADING + details


def _section(title: str, metrics: Sequence[Metric], text: str = "") -> str:
    lines = ["", f"## {title}", ""]
    if text:
        lines += [text, ""]
    lines += ["| metric | type | unit | labels | meaning |", "| --- | --- | --- | --- | --- |"]
    lines += [_row(metric) for metric in metrics]
    if examples := [metric.example for metric in metrics if metric.example]:
        lines += ["", "```promql", *examples, "```"]
    return "\n".join(lines) + "\n"


def _row(metric: Metric) -> str:
    kind = Kind.GAUGE if metric.kind is Kind.INFO else metric.kind
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
    return f"| `{metric.name}` | {kind} | {metric.unit} | {labels} | {metric.help} |"


if __name__ == "__main__":
    sys.exit(main())
