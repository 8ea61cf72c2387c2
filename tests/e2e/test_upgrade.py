"""Another version, and back, while a moved job runs; and nothing left when it is uninstalled."""

import shutil
import zipfile

import pytest
from managed import HEAD, pids

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.promtool, pytest.mark.timeout(900)]

OURS = {(HEAD, "exporter"), (HEAD, "controller"), ("gpu1", "exporter"), ("gpu2", "exporter")}


def another(managed, own):
    """The wheel with something changed in it, as of another version."""
    made = managed.settings.shared / "newer" / own.name
    made.parent.mkdir(exist_ok=True)
    shutil.copy(own, made)
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("offloader/newer.py", "")
    made.parent.chmod(0o755)
    made.chmod(0o644)
    return made


def changed(before, after):
    return {key for key, pid in pids(after).items() if pids(before)[key] != pid}


def test_a_moved_job_runs_through_an_upgrade_and_back_and_uninstall_leaves_nothing(managed):
    managed.write_installing()
    before = managed.json("up")
    (own,) = managed.environments.glob("wheels/*/*.whl")
    move = managed.moved("trial")

    managed.cli("cluster", "upgrade", "--wheel", str(another(managed, own)))
    newer = managed.healthy()
    assert changed(before, newer) == OURS
    assert managed.bed.running("trial") == ["gpu1"]
    assert managed.json("status", move["id"])["job_state"] == "running"
    (used,) = managed.app_of("gpu1", "newer.py")
    assert used.exists()

    managed.cli("cluster", "upgrade", "--rollback")
    back = managed.healthy()
    assert changed(newer, back) == OURS
    assert managed.app_of("gpu1", "newer.py") == []
    assert managed.bed.running("trial") == ["gpu1"]
    assert managed.json("status", move["id"])["job_state"] == "running"

    managed.cli("cluster", "uninstall", "--yes", code=4)
    managed.end_job("trial", move)
    managed.cli("cluster", "uninstall", "--yes")
    assert managed.ours() == []
    assert managed.left() == []
