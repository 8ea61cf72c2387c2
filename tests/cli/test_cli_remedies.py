"""Commands that messages and documents tell people to type exist."""

import re
from pathlib import Path

import click
import pytest

from offloader.cli.main import ALIASES, COMMANDS, cli

PROJECT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / "docs").glob("*.md"))]
SOURCES = sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / "offloader").rglob("*.py"))


def groups():
    """Commands that have commands of their own."""
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in COMMANDS}
    return {name: set(one.commands) for name, one in found.items() if isinstance(one, click.Group)}


GROUPS = groups()


@pytest.mark.parametrize("page", [*PAGES, *SOURCES])
def test_every_command_that_people_are_told_to_type_exists(page):
    text = (PROJECT / page).read_text(encoding="utf-8")
    for command, word in re.findall(r"[`\"]grid-offloader ([a-z][a-z-]*)(?: ([a-z]+))?", text):
        assert command in {*COMMANDS, *ALIASES}, f"{page}: grid-offloader {command}"
        assert not word or command not in GROUPS or word in GROUPS[command], f"{page}: grid-offloader {command} {word}"
