"""`.ci/run`: green only when every test was run, or its absence is waived by name and with a reason."""

import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
TESTS = """\
#!/bin/sh
mkdir -p .cache
[ ! -f not-run ] || cp not-run .cache/not-run.tsv
exit {code}
"""


@pytest.fixture
def ci(tmp_path):
    """Run it where `deploy/test` ends with `code` and reports these tests as not run (None: reports nothing)."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / ".ci").mkdir()
    shutil.copy2(PROJECT / ".ci/run", tmp_path / ".ci/run")

    def run(*, not_run=(), waived="", code=0):
        tests = tmp_path / "deploy/test"
        tests.write_text(TESTS.format(code=code), encoding="ascii")
        tests.chmod(0o755)
        if not_run is not None:
            lines = (f"{name}\tneeds root\n" for name in not_run)
            (tmp_path / "not-run").write_text("".join(lines), encoding="ascii")
        (tmp_path / ".ci/waived").write_text(f"# TEST-ID  # REASON\n{waived}", encoding="ascii")
        done = subprocess.run([tmp_path / ".ci/run"], capture_output=True, text=True, check=False, timeout=30)
        return done.returncode, done.stderr

    return run


def test_all_was_run(ci):
    assert ci() == (0, "")


def test_a_test_that_was_not_run_is_named_and_fails_it(ci):
    code, told = ci(not_run=["tests/a.py::test_b[c d]", "tests/a.py::test_e"])
    assert code == 1
    assert {"tests/a.py::test_b[c d]", "tests/a.py::test_e"} <= set(told.splitlines())


def test_waived_by_name_with_a_reason(ci):
    assert ci(not_run=["tests/a.py::test_b[c d]"], waived="tests/a.py::test_b[c d]  # no such kernel here\n") == (0, "")


@pytest.mark.parametrize("waived", ["t::a\n", "t::a  #\n", "t::b  # another one\n"])
def test_a_waiver_without_a_reason_or_for_another_test_is_none(ci, waived):
    code, told = ci(not_run=["t::a"], waived=waived)
    assert code == 1
    assert "t::a" in told


def test_a_waiver_that_nothing_needs_fails_it(ci):
    code, told = ci(waived="t::a  # was slow once\n")
    assert code == 1
    assert "remove from .ci/waived:\nt::a" in told


def test_failing_tests_fail_it_although_all_were_run(ci):
    assert ci(code=1)[0] == 1


def test_tests_that_tell_nothing_of_what_was_run_fail_it(ci):
    code, told = ci(not_run=None)
    assert code == 1
    assert "no report" in told
