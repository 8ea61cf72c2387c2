"""Where the files are that come with the program: beside the packages in a checkout, in the package once installed."""

from __future__ import annotations

from pathlib import Path

__all__ = ["offload_rules", "prometheus_rules", "shipped"]

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(*parts: str) -> Path:
    """A shipped file or directory, e.g. `shipped("rules", "offload", "default.yml")`."""
    installed = _PACKAGE / "_data"
    return (installed if installed.is_dir() else _PACKAGE.parent).joinpath(*parts)


def offload_rules() -> tuple[Path, ...]:
    """The default offload rules."""
    return (shipped("rules", "offload", "default.yml"),)


def prometheus_rules() -> tuple[Path, ...]:
    """The recording and alerting rules."""
    return tuple(sorted(shipped("rules", "prometheus").glob("*.yml")))
