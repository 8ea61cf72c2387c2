"""The command line of the test bed."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _testbed import bed, controller, monitoring, network, nodes, ray_cluster, services, witness_report
from _testbed.errors import NodeDownError, TestbedError
from _testbed.settings import DEFAULT_NODES, USERS, Node, Settings, load
from _testbed.shell import say

EPILOG = """
exit codes:
  0  done
  1  failed; the message says why
  2  wrong usage, or this machine lacks something; each thing is named
  `exec` passes on the exit code of the command, or gives 125 when the node is down.

environment:
  GRID_TESTBED_NAME    prefix of links and control groups [gt]
  GRID_TESTBED_SUBNET  [10.77.0.0/24]; another name and subnet make a test bed beside the first
  GRID_TESTBED_DIR     state directory [/var/lib/grid-testbed-NAME]
  GRID_TESTBED_CPU     cores per node [0.66]
  GRID_TESTBED_MEMORY  bytes per node [6442450944]
  GRID_TESTBED_CGROUPS machine: as mounted here [default]; v2: cgroup v2 alone
"""


def parser() -> argparse.ArgumentParser:
    """The options and what each command does."""
    top = argparse.ArgumentParser(
        prog="deploy/testbed",
        description="A cluster of three hosts on this machine: gpu-master (head), gpu1, gpu2.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="bring up what is not up")
    down = commands.add_parser("down", help="end and remove everything")
    down.add_argument("--keep-files", action="store_true", help="leave the state directory (logs) in place")
    status = commands.add_parser("status", help="what is up")
    status.add_argument("--format", choices=("table", "json"), default="table")
    execute = commands.add_parser("exec", help="run a command inside a node")
    execute.add_argument("node", choices=DEFAULT_NODES, metavar="NODE")
    execute.add_argument("--user", default="root", choices=("root", *USERS))
    execute.add_argument("--cwd", default="/", metavar="DIR")
    execute.add_argument("argv", nargs="+", metavar="-- CMD…")
    for name, text in {
        "kill": "crash a node: kill -9 of its process 1",
        "start": "start a node that is down",
        "partition": "cut a node's network cable",
        "heal": "mend a node's network cable",
    }.items():
        commands.add_parser(name, help=text).add_argument("node", choices=DEFAULT_NODES, metavar="NODE")
    commands.add_parser("end-loads", help="end every sample load on every node")
    _add_groups(commands)
    return top


def _add_groups(commands: Any) -> None:
    ray = commands.add_parser("ray", help="the Ray cluster on the nodes").add_subparsers(dest="action", required=True)
    start = ray.add_parser("up", help="start what is not running; with token authentication")
    start.add_argument("--user", default=ray_cluster.DEFAULT_USER, choices=("root", *USERS))
    ray.add_parser("down", help="kill Ray on every node")
    ray.add_parser("kill-head", help="kill all of Ray on the head; workers keep their part")
    ray.add_parser("kill-raylet", help="kill a node's raylet").add_argument(
        "node", choices=DEFAULT_NODES, metavar="NODE"
    )
    watch = commands.add_parser("monitoring", help="exporters and Prometheus").add_subparsers(
        dest="action", required=True
    )
    start = watch.add_parser("up", help="start what is not running, wait for the first scrape of every node")
    start.add_argument("--interval", type=float, default=monitoring.INTERVAL_S, metavar="S", help="between scrapes")
    watch.add_parser("down", help="stop Prometheus and the exporters")
    watch.add_parser("stop-prometheus", help="stop Prometheus alone")
    watch.add_parser("stop-exporter", help="stop a node's exporter").add_argument(
        "node", choices=DEFAULT_NODES, metavar="NODE"
    )
    start = watch.add_parser("start-alertmanager", help="start an Alertmanager on the head; Prometheus sends it alerts")
    start.add_argument("file", type=Path, metavar="FILE", help="its configuration")
    watch.add_parser("stop-alertmanager", help="stop it")
    control = commands.add_parser("controller", help="the controller on the head").add_subparsers(
        dest="action", required=True
    )
    start = control.add_parser("up", help="start it, observing only; needs ray up and monitoring up")
    start.add_argument("--mode", default="auto", help="of its one rule [auto]")
    control.add_parser("down", help="stop it")
    control.add_parser("kill", help="kill -9")
    control.add_parser("run", help="run grid-offloader on the head").add_argument("argv", nargs="+", metavar="-- ARG…")
    witness = commands.add_parser("witness", help="what executed where").add_subparsers(dest="action", required=True)
    told = witness.add_parser("report", help="copies of each load in order, and how often two executed at once")
    told.add_argument("--load", help="only this one")
    told.add_argument("--gap", type=float, default=witness_report.GAP_S, metavar="S", help="silence that means frozen")
    told.add_argument("--format", choices=("json",), default="json")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    os.umask(0o022)  # the caller's must not decide what sshd thinks of its directories
    try:
        settings = load()
        if arguments.command == "status":
            show(bed.status(settings), arguments.format)
        elif arguments.command == "witness":
            print(json.dumps(_witness_report(settings, arguments), indent=2))
        elif (arguments.command, getattr(arguments, "action", None)) == ("controller", "run"):
            controller.become_cli(settings, arguments.argv)
        elif arguments.command == "exec":
            nodes.enter(settings, settings.node(arguments.node), arguments.argv, arguments.user, arguments.cwd)
        else:
            with bed.locked(settings):
                change(load(), arguments)
    except TestbedError as error:
        say(f"deploy/testbed: {error}")
        return error.exit_code
    return 0


def change(settings: Settings, arguments: argparse.Namespace) -> None:
    """The commands that change something; the caller holds the lock."""
    if arguments.command == "up":
        bed.up(settings)
        say(f"test bed {settings.name} is up: {', '.join(f'{node.name} {node.ip}' for node in settings.nodes)}")
        return
    if arguments.command == "down":
        bed.down(settings, keep_files=arguments.keep_files)
        return
    if not network.exists(settings.bridge):
        raise TestbedError("there is no test bed: deploy/testbed up")
    if arguments.command == "end-loads":
        for node in settings.nodes:
            nodes.end_loads(settings, node)
    elif arguments.command == "ray":
        change_ray(settings, arguments)
    elif arguments.command == "monitoring":
        change_monitoring(settings, arguments)
    elif arguments.command == "controller":
        change_controller(settings, arguments)
    else:
        change_node(settings, arguments.command, settings.node(arguments.node))


def change_node(settings: Settings, command: str, node: Node) -> None:
    """Start, kill, partition or heal one node."""
    if command == "start":
        if nodes.pid(settings, node) is None:
            nodes.start(settings, [node])
        nodes.wait_for_port((node.ip, 22), nodes.START_S, f"sshd of {node.name}")
        return
    if nodes.pid(settings, node) is None:
        raise NodeDownError(f"{node.name} is down: deploy/testbed start {node.name}")
    {"kill": nodes.crash, "partition": network.cut, "heal": network.mend}[command](settings, node)


def change_ray(settings: Settings, arguments: argparse.Namespace) -> None:
    """The commands about Ray."""
    match arguments.action:
        case "up":
            ray_cluster.up(settings, arguments.user)
        case "down":
            ray_cluster.down(settings)
        case "kill-head":
            ray_cluster.down(settings, only=settings.head)
        case "kill-raylet":
            ray_cluster.kill_raylet(settings, settings.node(arguments.node))


def change_monitoring(settings: Settings, arguments: argparse.Namespace) -> None:
    """The commands about exporters and Prometheus."""
    match arguments.action:
        case "up":
            monitoring.up(settings, arguments.interval)
        case "down":
            monitoring.down(settings)
        case "stop-prometheus":
            services.stop(settings, settings.head, "prometheus")
        case "start-alertmanager":
            monitoring.start_alertmanager(settings, arguments.file)
        case "stop-alertmanager":
            monitoring.stop_alertmanager(settings)
        case "stop-exporter":
            services.stop(settings, settings.node(arguments.node), "exporter", signal.SIGKILL)


def change_controller(settings: Settings, arguments: argparse.Namespace) -> None:
    """The commands about the controller."""
    match arguments.action:
        case "up":
            controller.configure(settings, mode=arguments.mode)
            controller.start(settings)
            say("the controller is up; look: deploy/testbed controller run -- status")
        case "down":
            controller.stop(settings)
        case "kill":
            controller.kill(settings)


def _witness_report(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    records = witness_report.read(settings.root / "witness/log.jsonl")
    if arguments.load is None:
        return witness_report.reports(records, time.time(), arguments.gap)
    mine = [record for record in records if record["load"] == arguments.load]
    return {"load": arguments.load, **witness_report.report(mine, time.time(), arguments.gap)}


def show(state: dict[str, Any], form: str) -> None:
    """Print the status."""
    if form == "json":
        print(json.dumps(state, indent=2))
        return
    columns = ("node", "role", "ip", "pid", "up", "sshd", "partitioned", "ray", "exporter", "prometheus", "processes")
    rows = [columns, *(tuple(_cell(node[column]) for column in columns) for node in state["nodes"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"witness {_cell(state['witness'])}, state in {state['directory']}")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
