"""What all tests share: markers that skip with a reason, and a report of everything that was not run."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PROMTOOL = PROJECT / ".cache/debian/usr/bin/promtool"
CRIU = PROJECT / ".cache/criu/criu"
COMPOSE = PROJECT / ".cache/compose/docker-compose"

sys.path.insert(0, str(PROJECT / "tests/shared"))  # helpers of tests in several folders
sys.path.insert(0, str(PROJECT / "deploy"))  # the test bed's helper package is no part of the wheel's packages
sys.path.insert(0, str(PROJECT / "grafana"))  # neither are the dashboards' packages


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--not-run-report FILE`: one line per test that was not run: its id, a tab, the reason."""
    parser.addoption("--not-run-report", type=Path, metavar="FILE", help="write every skipped test and its reason here")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a report file that cannot be written before any test runs."""
    if (file := config.getoption("--not-run-report")) is None:
        return
    try:
        file.write_text("", encoding="utf-8")
    except OSError as error:
        raise pytest.UsageError(f"--not-run-report {file}: {error.strerror}") from error
    config.pluginmanager.register(NotRun(file), "not-run-report")


class NotRun:
    """Collects what was skipped, deselected or expected to fail."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self._reasons[report.nodeid] = getattr(report, "wasxfail", None) or _reason(report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._reasons[report.nodeid] = _reason(report.longrepr)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._reasons.update((item.nodeid, "deselected on the command line") for item in items)

    def pytest_sessionfinish(self) -> None:
        lines = (f"{test}\t{' '.join(reason.split())}\n" for test, reason in sorted(self._reasons.items()))
        self._file.write_text("".join(lines), encoding="utf-8")


def _reason(longrepr: object) -> str:
    text = str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


NEEDS = {
    "criu": (
        lambda: os.geteuid() == 0 and CRIU.exists(),
        "needs root and CRIU: run deploy/criu, which says what is wrong",
    ),
    "chromium": (lambda: importlib.import_module("chromium").program() is not None, "needs Chromium: run deploy/setup"),
    "compose": (COMPOSE.exists, "needs Docker Compose: run deploy/setup"),
    "root": (lambda: os.geteuid() == 0, "needs root"),
    "ray": (lambda: importlib.util.find_spec("ray") is not None, "needs Ray: pip install grid-offloader[ray]"),
    "systemd": (lambda: shutil.which("systemd-analyze") is not None, "needs systemd-analyze: run deploy/setup"),
    "sudo": (lambda: Path("/usr/sbin/visudo").exists(), "needs sudo: run deploy/setup"),
    "promtool": (PROMTOOL.exists, "needs promtool: run deploy/setup"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names something that this machine lacks."""
    for marker, (present, reason) in NEEDS.items():
        if item.get_closest_marker(marker) is not None and not present():
            pytest.skip(reason)


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own checker."""
    if not PROMTOOL.exists():
        pytest.skip("needs promtool: run deploy/setup")
    return PROMTOOL
