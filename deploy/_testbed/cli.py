"""The command line of the test bed."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from _testbed import bed, network, nodes
from _testbed.errors import NodeDownError, TestbedError
from _testbed.settings import DEFAULT_NODES, USERS, Settings, load
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
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        settings = load()
        if arguments.command == "status":
            show(bed.status(settings), arguments.format)
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
    node = settings.node(arguments.node)
    if arguments.command == "start":
        if not network.exists(settings.bridge):
            raise TestbedError("there is no test bed: deploy/testbed up")
        if nodes.pid(settings, node) is None:
            nodes.start(settings, [node])
        nodes.wait_for_port((node.ip, 22), 10, f"sshd of {node.name}")
        return
    if nodes.pid(settings, node) is None:
        raise NodeDownError(f"{node.name} is down: deploy/testbed start {node.name}")
    {"kill": nodes.crash, "partition": network.cut, "heal": network.mend}[arguments.command](settings, node)


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
