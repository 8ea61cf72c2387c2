"""Terminals that end with their test, and everything that ran on them."""

import os
import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from terminals import STUB, Screen, end, marked

PROJECT = Path(__file__).resolve().parents[2]


class Desk:
    """Opens terminals. All that is started on them carries a mark, and is ended by its pid."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TERM": "dumb",
            "PYTHONPATH": str(PROJECT),
            "GRID_OFFLOADER_STATE_DIR": str(folder / "state"),
            "TERMINAL_TEST": self.mark,
            "PS1": "prompt> ",
        }
        self.screens: list[Screen] = []

    def open(self, *argv: str, **options) -> Screen:
        screen = Screen(argv, self.env, self.folder, **options)
        self.screens.append(screen)
        return screen

    def local(self, *command: str, **options) -> Screen:
        """`run --local` as the leader of the terminal's session."""
        return self.open(*STUB, "run", "--local", "--", *command, **options)

    def shell(self) -> Screen:
        screen = self.open("bash", "--norc", "--noprofile", "--noediting", "-i")
        screen.until(b"prompt> ")
        return screen

    def close(self) -> None:
        end(marked("TERMINAL_TEST", self.mark))
        for screen in self.screens:
            screen.close()
        end(marked("TERMINAL_TEST", self.mark))


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.close()
