"""`python -m exporter` and `grid-exporter`: options → settings → serve."""

import argparse
import gc
import logging
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from exporter import __version__
from exporter.collectors import COLLECTORS, Node
from exporter.nvml import GpuSampler
from exporter.procfs.cgroup import Cgroup, open_cgroup
from exporter.procfs.process import Procfs
from exporter.registry import Registry
from exporter.roots import Roots
from exporter.server import ExporterServer, Web, serve
from exporter.settings import DEFAULT_HOST, DEFAULT_PORT, ProcessLimits, Scope, Settings

_NAMES = tuple(collector.name for collector in COLLECTORS)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_HIGHEST_PORT = 65535

_GARBAGE = 10_000
"""Objects before cycles are looked for among them: more than one scrape makes, for those go without."""

EXIT_LISTEN = 1
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the exporter. Exit status 0 after SIGTERM, 1 when it cannot listen, 2 for bad options or a bad file."""
    settings = parse(argv)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    web = open_web(settings.web_config)
    registry = build(settings)
    try:
        server = ExporterServer(settings.host, settings.port, registry.scrape, web)
    except OSError as error:
        print(f"grid-exporter: cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)
        return EXIT_LISTEN
    gc.freeze()  # what is there now stays: later collections need not walk it
    gc.set_threshold(_GARBAGE)
    serve(server)
    return 0


def build(settings: Settings) -> Registry:
    """The collectors over the node, looked at once. Raises FileNotFoundError when the cgroup is gone again."""
    gpus = GpuSampler(settings.gpu_interval)
    if "gpu" in settings.collectors:
        gpus.start()
    node = Node(settings, Procfs(settings.roots.proc), open_scope(settings), gpus)
    registry = Registry([collector(node) for collector in COLLECTORS if collector.name in settings.collectors])
    registry.prime()
    return registry


def open_web(path: Path | None) -> Web | None:
    """What the web configuration file adds, None without one; exits with status 2 and its problems for a bad one."""
    if path is None:
        return None
    # only those who configure it pay for the memory of YAML and bcrypt
    from exporter.web.config import WebConfigError  # noqa: PLC0415
    from exporter.web.live import LiveWeb  # noqa: PLC0415

    try:
        return LiveWeb(path)
    except WebConfigError as error:
        for problem in error.problems:
            print(f"grid-exporter: {problem}", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def open_scope(settings: Settings) -> Cgroup | None:
    """The cgroup that is the node, None when the host is. Raises FileNotFoundError."""
    if settings.scope is Scope.HOST:
        return None
    return open_cgroup(settings.roots.cgroup, settings.cgroup_path)


def parse(argv: Sequence[str] | None) -> Settings:
    """Options → settings; exits with status 2 and a message for bad ones."""
    parser = _parser()
    options = parser.parse_args(argv)
    wanted = tuple(name for name in options.collectors if name not in options.no_collector)
    if not wanted:
        parser.error("no collector is left: --collectors and --no-collector cancel each other out")
    settings = Settings(
        collectors=wanted,
        host=options.listen[0],
        port=options.listen[1],
        scope=Scope(options.scope),
        cgroup_path=options.cgroup_path,
        roots=Roots(options.procfs, options.sysfs, options.cgroupfs),
        process=ProcessLimits(options.top, options.min_rss, options.min_cpu, options.min_uid),
        gpu_interval=options.gpu_interval,
        web_config=options.web_config,
    )
    if problem := _problem(settings):
        parser.error(problem)
    return settings


def _problem(settings: Settings) -> str | None:
    """What of the settings does not fit the node or each other."""
    if settings.scope is Scope.HOST and settings.cgroup_path != "/":
        return "--cgroup-path goes with --scope=cgroup"
    if not (settings.roots.proc / "stat").exists():
        return f"--procfs: {settings.roots.proc} is no procfs, there is no {settings.roots.proc / 'stat'}"
    try:
        open_scope(settings)
    except FileNotFoundError as error:
        return f"--scope=cgroup: {error} (see --cgroup-path and --cgroupfs)"
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="grid-exporter",
        description="Tells Prometheus how loaded this node is, and by which processes.",
        epilog=f"Collectors: {', '.join(_NAMES)}. Metrics: docs/metrics.md.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"%(prog)s {__version__}")
    add("--web.listen-address", dest="listen", metavar="HOST:PORT", type=_address,
        default=(DEFAULT_HOST, DEFAULT_PORT),
        help=f"where to listen (default {DEFAULT_HOST}:{DEFAULT_PORT}; 0.0.0.0:{DEFAULT_PORT} or "
             f"[::]:{DEFAULT_PORT} for all interfaces; port 0 takes a free one)")  # fmt: skip
    add("--web.config.file", dest="web_config", metavar="FILE", type=Path,
        help="TLS, client certificates, passwords: as for Prometheus' own exporters (docs/exporter.md)")  # fmt: skip
    add("--scope", choices=[scope.value for scope in Scope], default=Scope.HOST.value,
        help="what the node is: the host, or a cgroup (container, slice) with its limits (default host)")  # fmt: skip
    add("--cgroup-path", metavar="PATH", default="/", type=_cgroup_path,
        help="the cgroup, for --scope=cgroup; below --cgroupfs (default /, the root that is visible here)")  # fmt: skip
    add("--procfs", metavar="DIR", type=Path, default=Roots().proc, help="where procfs is mounted")
    add("--sysfs", metavar="DIR", type=Path, default=Roots().sys, help="where sysfs is mounted")
    add("--cgroupfs", metavar="DIR", type=Path, default=Roots().cgroup, help="where the cgroup hierarchies are")
    limits = ProcessLimits()
    add("--process.top", dest="top", metavar="N", type=_count, default=limits.top,
        help=f"export at most so many processes (default {limits.top})")  # fmt: skip
    add("--process.min-rss", dest="min_rss", metavar="BYTES", type=_size, default=limits.min_rss,
        help="a process matters from this resident size on; K, M, G for powers of 1024 (default 4M)")  # fmt: skip
    add("--process.min-cpu", dest="min_cpu", metavar="CORES", type=_cores, default=limits.min_cpu,
        help=f"... or from this CPU use on, in cores (default {limits.min_cpu})")  # fmt: skip
    add("--process.min-uid", dest="min_uid", metavar="UID", type=_uid, default=limits.min_uid,
        help=f"accounts below are the system's, never movable (default {limits.min_uid})")  # fmt: skip
    add("--gpu.interval", dest="gpu_interval", metavar="SECONDS", type=_seconds, default=5.0,
        help="how often GPUs are read in the background (default 5)")  # fmt: skip
    add("--collectors", metavar="NAME,...", type=_collectors, default=_NAMES, help="run only these (default all)")
    add("--no-collector", metavar="NAME", action="append", choices=_NAMES, default=[],
        help="leave this one out; may be given several times")  # fmt: skip
    return parser


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise argparse.ArgumentTypeError(f"{text!r}: write an IPv6 address in brackets, as [::1]:{DEFAULT_PORT}")
    return (host[1:-1] if bracketed else host) or "0.0.0.0", int(port)  # noqa: S104 -- ":9777" means all interfaces


def _cgroup_path(text: str) -> str:
    if not text.startswith("/") or ".." in text.split("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not an absolute cgroup path")
    return text


def _collectors(text: str) -> tuple[str, ...]:
    wanted = [name.strip() for name in text.split(",")]
    if unknown := [name for name in wanted if name not in _NAMES]:
        raise argparse.ArgumentTypeError(f"no such collector: {', '.join(unknown)} (there are {', '.join(_NAMES)})")
    return tuple(name for name in _NAMES if name in wanted)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _uid(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no user id")
    return int(text)


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)([kmg]?)(?:i?b)?", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, as 4M or 4194304")
    return int(match[1]) * _UNITS[match[2]]


def _cores(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: cores cannot be negative")
    return value


def _seconds(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time above 0")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


if __name__ == "__main__":
    sys.exit(main())
