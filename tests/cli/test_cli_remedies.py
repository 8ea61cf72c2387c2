"""Commands that messages and documents tell people to type exist."""

import re
from pathlib import Path

import pytest

from offloader.cli.main import ALIASES, COMMANDS

PROJECT = Path(__file__).resolve().parents[2]
GROUPS = {"rules": {"check", "list"}, "config": {"init", "check", "show"}, "cluster": {"rules", "targets"}}
PAGES = ["README.md", *sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / "docs").glob("*.md"))]
SOURCES = sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / "offloader").rglob("*.py"))


@pytest.mark.parametrize("page", [*PAGES, *SOURCES])
def test_every_command_that_people_are_told_to_type_exists(page):
    text = (PROJECT / page).read_text(encoding="utf-8")
    for command, word in re.findall(r"[`\"]grid-offloader ([a-z][a-z-]*)(?: ([a-z]+))?", text):
        assert command in {*COMMANDS, *ALIASES}, f"{page}: grid-offloader {command}"
        assert not word or command not in GROUPS or word in GROUPS[command], f"{page}: grid-offloader {command} {word}"
