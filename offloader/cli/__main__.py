"""`python -m offloader.cli`: the same as `grid-offloader`."""

from __future__ import annotations

from offloader.cli.main import main

main()
