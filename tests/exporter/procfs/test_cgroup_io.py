from exporter.procfs.cgroup_io import CgroupIo, parse_io_stat


def test_devices_without_io_are_left_out():
    """They are named alone, on some kernels on the line of the next one."""
    text = "7:0 7:1 8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:0\n253:0 rbytes=5 wbytes=6 rios=7 wios=8\n"
    assert parse_io_stat(text) == {"8:16": CgroupIo(3, 1, 4, 2), "253:0": CgroupIo(7, 5, 8, 6)}


def test_keys_of_io_controllers_do_not_matter():
    """io.cost and io.latency add their own, with fractions."""
    text = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 cost.vrate=100.00 cost.usage=7 use_delay=1\n"
    assert parse_io_stat(text) == {"8:0": CgroupIo(3, 1, 4, 2)}
