"""Capsules survive, are private, and go away with their job."""

import os
import stat

import pytest

from offloader.adapters.capsules import CapsuleFiles
from offloader.errors import JournalError


def test_a_capsule_is_readable_by_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        capsules = CapsuleFiles(tmp_path / "capsules")
        capsules.put("01JOB", b'{"secret": "x"}')
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "capsules").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "capsules/01JOB.json").stat().st_mode) == 0o600
    assert capsules.get("01JOB") == b'{"secret": "x"}'


def test_a_dropped_capsule_is_gone_and_dropping_again_is_fine(tmp_path):
    capsules = CapsuleFiles(tmp_path)
    capsules.put("01JOB", b"{}")
    capsules.drop("01JOB")
    capsules.drop("01JOB")
    assert capsules.get("01JOB") is None


def test_a_directory_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    capsules = CapsuleFiles(tmp_path / "capsules")
    (tmp_path / "capsules").rmdir()
    with pytest.raises(JournalError, match="capsules"):
        capsules.put("01JOB", b"{}")
