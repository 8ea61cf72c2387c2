"""The pass over all CPU clocks."""

import os
import subprocess

import pytest

from benchmarks.errors import CannotRunError
from benchmarks.exporter.kernel_limit import kernel_limit, pids_on_node
from benchmarks.exporter.programs import compiled

NO_SUCH_PID = (1 << 22) + 1  # more than pid_max can be


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return compiled("kernel_limit", tmp_path_factory.mktemp("program"))


def test_a_pass_counts_what_it_read_and_what_was_gone(program):
    """Round after round with another list; the more processes, the more is read."""
    with kernel_limit(program) as limit:
        few = limit.look([os.getpid(), NO_SUCH_PID, os.getppid()])
        assert (few.processes, few.gone) == (2, 1)
        assert 0 < few.cpu_s < 1
        many = limit.look(pids_on_node())
        assert many.processes >= 2


def test_a_kernel_without_these_clocks_is_told(program):
    """A sandbox: most of them fail."""
    with kernel_limit(program) as limit, pytest.raises(CannotRunError, match="cannot be read here: 2 of 3"):
        limit.look([os.getpid(), NO_SUCH_PID, NO_SUCH_PID + 1])


def test_a_program_that_ended_is_told(program, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    broken.chmod(0o755)
    with kernel_limit(broken) as limit, pytest.raises(CannotRunError, match="ended"):
        limit.look([1])


def test_processes_on_the_node():
    """New ones too."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert {os.getpid(), process.pid} <= set(pids_on_node())
        finally:
            process.kill()
