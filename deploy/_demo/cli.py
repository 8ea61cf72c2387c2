"""The demo's command line and its course."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _testbed import bed, controller, monitoring, witness_report, work
from _testbed.errors import TestbedError
from _testbed.settings import PROJECT, Settings, load
from _testbed.setup_step import ensure_setup

from _demo import cluster, report
from _demo.story import Story
from _demo.watch import Watch

__all__ = ["main"]

LOAD = "simulation"
LOAD_CORES = 0.45
THRESHOLD = 0.60
CALM_S = 120
RELIEF_S = 240
NO_RULE_S = 75

EPILOG = """
exit codes:
  0  the move happened, in order, and the witness saw one copy at a time
  1  it did not; the message says what is missing
  2  wrong usage, or this machine lacks something
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    os.umask(0o022)  # as in deploy/testbed: its accounts read what is made here
    options = _parser().parse_args(argv)
    story = Story()
    try:
        story.chapter("Setting up")
        ensure_setup()
        settings = load()
        with bed.locked(settings):
            return _run(load(), options, story)
    except TestbedError as error:
        print(f"deploy/demo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("deploy/demo: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/demo",
        description="A cluster of three hosts on this machine gets into trouble on its head node, and out of it again.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured as JSON")
    parser.add_argument("--no-rule", action="store_true", help="same load, rule disabled: must end with exit code 1")
    parser.add_argument("--keep", action="store_true", help="leave everything running and print the addresses")
    return parser


def _run(settings: Settings, options: argparse.Namespace, story: Story) -> int:
    try:
        failed = asyncio.run(_course(settings, options, story))
        if options.keep:
            _print_addresses(settings, story)
        return 1 if failed else 0
    finally:
        if not options.keep:
            bed.down(settings)


async def _course(settings: Settings, options: argparse.Namespace, story: Story) -> bool:
    story.chapter("Three hosts, Ray with tokens, Prometheus, one exporter each")
    cluster.start(settings, rule=not options.no_rule)
    watch = Watch(controller.socket(settings), monitoring.url(settings), story.event)
    await watch.enable(THRESHOLD)
    story.line(f"the controller watches gpu-master; automatic moves are on, CPU threshold {THRESHOLD:.0%}")
    story.line("waiting for fresh data and the end of the initial cooldown …")
    if not await watch.calm(CALM_S):
        raise TestbedError(f"the head was not calm within {CALM_S} s: see {settings.root}/nodes/gpu-master/*.log")
    await watch.skip_past()
    story.chapter("Trouble: somebody's computation on the head node")
    pid = work.start_load(settings, LOAD, cores=LOAD_CORES)
    story.line(f"{LOAD} (pid {pid}) runs on gpu-master")
    await watch.to_relief(NO_RULE_S if options.no_rule else RELIEF_S)
    witness = _witness(settings)
    failures = report.failures(watch.seen, witness)
    if options.json is not None:
        options.json.write_text(json.dumps(report.document(watch.seen, witness), indent=2) + "\n", encoding="utf-8")
    _tell_end(story, watch, witness, failures)
    return bool(failures)


def _witness(settings: Settings) -> dict[str, Any]:
    records = [one for one in witness_report.read(settings.root / "witness/log.jsonl") if one["load"] == LOAD]
    newest = max((float(one["t"]) for one in records), default=0.0)
    return witness_report.report(records, newest)


def _tell_end(story: Story, watch: Watch, witness: dict[str, Any], failures: list[str]) -> None:
    if failures:
        story.chapter("It did not happen")
        for failure in failures:
            story.line(failure)
        return
    story.chapter("Proven")
    for line in report.screen(watch.seen, witness):
        story.line(line)
    story.chapter("Next")
    story.line("./deploy/demo --keep         leaves it running, to look around")
    story.line("./deploy/demo --no-rule      the same load without the rule: nothing moves")
    story.line("less README.md               your own cluster")


def _print_addresses(settings: Settings, story: Story) -> None:
    story.chapter("Left running")
    story.line(f"Prometheus   {monitoring.url(settings)}")
    story.line(f"Ray          http://{settings.head.ip}:8265 (token in {settings.root}/ray/token)")
    story.line(f"controller   http://{settings.head.ip}:{monitoring.CONTROLLER_PORT}/metrics")
    socket = controller.socket(settings)
    story.line("look         " + f"{PROJECT}/.venv/bin/grid-offloader --socket {socket} status")
    story.line("end it       ./deploy/testbed down")
