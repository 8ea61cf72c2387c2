"""The command as people start it: help, start-up cost, completion, interrupts."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from offloader.cli.main import COMMANDS, cli

HEAVY = ("ray", "paramiko", "prometheus_api_client", "pydantic", "aiohttp", "requests", "numpy")
WATCH = """
import sys
from offloader.cli.main import run_command
code = run_command(sys.argv[1:])
print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""


def start(*arguments: str, socket: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    program = WATCH.format(heavy=HEAVY)
    known = {name: value for name, value in os.environ.items() if not name.startswith("GRID_OFFLOADER")}
    if socket:
        known["GRID_OFFLOADER_SOCKET"] = str(socket)
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**known, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_imports_nothing_heavy() -> None:
    done = start("--help")
    assert done.returncode == 0
    assert done.stderr.strip() == ""
    for section in ("Look:", "Move:", "Control:", "Cluster:"):
        assert section in done.stdout


@pytest.mark.parametrize("words", [["auto", "--status"], ["status"], ["scan"], ["move", "1"], ["auto", "--enable"]])
def test_commands_that_ask_the_controller_import_nothing_heavy(controller, tmp_path, words) -> None:
    from .test_commands import STATUS

    controller.answers |= {"status": STATUS, "scan": [], "move": {}, "auto": STATUS}
    done = start(*words, "--format", "json", socket=tmp_path / "control.sock")
    assert "Traceback" not in done.stderr or words == ["move", "1"]
    assert not set(done.stderr.splitlines()[-1].split()) & set(HEAVY)


def test_status_from_the_journal_imports_nothing_heavy(tmp_path) -> None:
    environment = {"GRID_OFFLOADER_STATE_DIR": str(tmp_path), "GRID_OFFLOADER_CONFIG": str(tmp_path / "none")}
    done = start("auto", "--status", socket=tmp_path / "none.sock", **environment)
    assert done.returncode == 3
    assert not set(done.stderr.splitlines()[-1].split()) & set(HEAVY)


def test_every_command_of_the_table_is_one_and_has_help(command) -> None:
    for name in COMMANDS:
        with click.Context(cli) as context:
            found = cli.get_command(context, name)
        assert isinstance(found, click.Command)
        ran = command(name, "--help")
        assert ran.code == 0
        assert "Usage: grid-offloader" in ran.out


def test_a_misspelt_command_is_suggested(command) -> None:
    ran = command("statsu")
    assert ran.code == 2
    assert "Did you mean 'status'?" in ran.err


def test_version(command) -> None:
    assert command("--version").out.startswith("grid-offloader 0.")


def test_completion_knows_the_commands() -> None:
    environment = {"_GRID_OFFLOADER_COMPLETE": "bash_complete", "COMP_WORDS": "grid-offloader st", "COMP_CWORD": "1"}
    done = start(**environment)
    assert "plain,status" in done.stdout


def test_an_interrupt_is_no_traceback(monkeypatch, command) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    ran = command("status")
    assert (ran.code, ran.err) == (130, "interrupted\n")
