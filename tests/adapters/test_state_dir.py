"""Where the journal may lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from offloader.adapters.journal import check_state_dir
from offloader.errors import JournalError

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:20 / /run rw,nosuid - tmpfs tmpfs rw
24 22 0:40 / /home rw - nfs4 server:/home rw
25 24 8:2 / /home/local rw master:3 propagate_from:2 - xfs /dev/sdb1 rw
26 22 0:41 / /scratch rw - lustre mds@tcp:/fs rw
27 22 0:42 / /mnt/with\\040space rw - fuse.sshfs me@host:/ rw
28 22 8:3 / /data rw - ext4 /dev/sdc1 rw
29 28 0:43 / /data rw - cifs //server/share rw
30 22 8:4 / /usb rw - fuseblk /dev/sdd1 rw
31 22 0:44 / /share rw - 9p host rw
"""


@pytest.fixture
def mountinfo(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS)
    return file


@pytest.mark.parametrize("path", ["/var/lib/no-such/state", "/home/local/x", "/", "/usb/state", "/homeless/x"])
def test_a_local_disk_is_accepted_whether_or_not_the_directory_exists(mountinfo, path):
    check_state_dir(Path(path), mountinfo=mountinfo)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/anna/state", "nfs4"),
        ("/scratch/state", "lustre"),
        ("/mnt/with space/state", "fuse.sshfs"),
        ("/data/state", "cifs"),  # mounted over the local disk
        ("/share/x", "9p"),
    ],
)
def test_a_network_file_system_is_refused_by_name_with_advice(mountinfo, path, kind):
    with pytest.raises(JournalError, match=rf"network or user-space file system \({kind}\); set `state_dir`"):
        check_state_dir(Path(path), mountinfo=mountinfo)


@pytest.mark.parametrize("path", ["/tmp/state", "/tmp", "/var/tmp/x", "/dev/shm/x"])
def test_temporary_directories_are_refused_whatever_they_lie_on(mountinfo, path):
    with pytest.raises(JournalError, match="is emptied behind our back"):
        check_state_dir(Path(path), mountinfo=mountinfo)


def test_memory_is_refused(mountinfo):
    with pytest.raises(JournalError, match=r"in memory \(tmpfs\)"):
        check_state_dir(Path("/run/grid-offloader"), mountinfo=mountinfo)


def test_a_link_is_judged_by_where_it_leads(mountinfo, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/scratch")
    with pytest.raises(JournalError, match="lustre"):
        check_state_dir(link / "state", mountinfo=mountinfo)


def test_this_machines_own_mounts_can_be_read():
    check_state_dir(Path("/var/lib/grid-offloader"))
