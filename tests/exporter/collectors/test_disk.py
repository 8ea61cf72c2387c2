import shutil

from exporter.collectors.disk import DiskCollector
from exporter.procfs.cgroup_io import CgroupIo

ZEROS = {
    "disk_reads_completed_total": 0,
    "disk_read_bytes_total": 0,
    "disk_writes_completed_total": 0,
    "disk_written_bytes_total": 0,
    "disk_busy_seconds_total": 0,
}


class Slice:
    """A cgroup whose I/O went through a logical volume to a disk."""

    amount = 0

    def io(self):
        return {"253:0": CgroupIo(1, self.amount, 2, self.amount), "8:0": CgroupIo(1, self.amount, 2, self.amount)}


def test_a_stick_that_is_pulled_out_leaves_the_sum(proc, sysfs, make_node, look):
    """rate() must not see a restart of the counter."""
    stats = proc / "diskstats"
    disk, stick = "8 0 sda 0 0 0 0 0 0 {} 0 0 {} 0\n", "8 16 sdb 0 0 0 0 0 0 {} 0 0 0 0\n"
    shutil.copytree(sysfs / "dev/block/8:0", sysfs / "dev/block/8:16")
    stats.write_text(disk.format(0, 0) + stick.format(0))
    collector = DiskCollector(make_node())
    look(collector)
    stats.write_text(disk.format(2, 1500) + stick.format(4))
    assert look(collector)["disk_written_bytes_total"] == 6 * 512
    shutil.rmtree(sysfs / "dev/block/8:16")
    stats.write_text(disk.format(3, 2500))
    values = look(collector)
    assert values["disk_written_bytes_total"] == 7 * 512
    assert values["disk_busy_seconds_total"] == 2.5


def test_a_node_without_disks_has_zeros(proc, make_node, look):
    """It boots from the network: nothing is missing."""
    (proc / "diskstats").write_text("7 0 loop0 5 0 5 0 5 0 5 0 0 5 0\n")
    assert look(DiskCollector(make_node())) == {"missing:disk": 0, "missing:disk_busy": 0} | ZEROS


def test_a_cgroups_io_counts_once_and_has_no_busy_time(make_node, look):
    """What a volume passes on to its disk is listed for both."""
    cgroup = Slice()
    collector = DiskCollector(make_node(cgroup, "/batch.slice"))
    look(collector)
    cgroup.amount = 4096
    values = look(collector)
    assert (values["disk_read_bytes_total"], values["missing:disk"], values["missing:disk_busy"]) == (4096, 0, 1)
    assert "disk_busy_seconds_total" not in values


def test_what_cannot_be_told_apart_is_missing(proc, sysfs, make_node, look):
    """Without /sys nobody knows a disk from a partition; without /proc/diskstats there is nothing to tell."""
    missing = {"missing:disk": 1, "missing:disk_busy": 1}
    shutil.move(sysfs / "dev", sysfs / "away")
    assert look(DiskCollector(make_node())) == missing
    shutil.move(sysfs / "away", sysfs / "dev")
    (proc / "diskstats").unlink()
    assert look(DiskCollector(make_node())) == missing
