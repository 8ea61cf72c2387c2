"""Disk I/O of a cgroup: io.stat of v2 (kernel: cgroup-v2.rst), blkio.throttle.* of v1 (cgroup-v1/blkio-controller.rst).

Pure. Devices are named by their numbers, as `8:0`.
"""

from typing import NamedTuple

from exporter.procfs.read import ParseError, natural

_KEYS = {"rios": "reads", "rbytes": "read_bytes", "wios": "writes", "wbytes": "written_bytes"}


class CgroupIo(NamedTuple):
    """Requests and bytes that the cgroup and those below it caused on one device, as far as charged to them."""

    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    written_bytes: int = 0


def parse_io_stat(text: str) -> dict[str, CgroupIo]:
    """`8:0 rbytes=… wbytes=… rios=… wios=…`; other keys may follow.

    A device without I/O is named alone, and some kernels then begin the next one on the same line.
    """
    found: dict[str, dict[str, int]] = {}
    device = ""
    try:
        for word in text.split():
            key, equals, value = word.partition("=")
            if not equals:
                device = _number(word)
                found[device] = {}
            elif key in _KEYS:
                found[device][_KEYS[key]] = natural(value)
    except (ValueError, KeyError) as error:
        raise ParseError(f"io.stat: {error!r}") from error
    return {number: CgroupIo(**counts) for number, counts in found.items() if counts}


def parse_blkio(serviced: str, service_bytes: str) -> dict[str, CgroupIo]:
    """io_serviced and io_service_bytes: lines `8:0 Read 4096`, and at the end `Total 4096`."""
    requests, amounts = _by_operation(serviced), _by_operation(service_bytes)
    none: dict[str, int] = {}
    return {
        number: CgroupIo(
            requests.get(number, none).get("Read", 0),
            amounts.get(number, none).get("Read", 0),
            requests.get(number, none).get("Write", 0),
            amounts.get(number, none).get("Write", 0),
        )
        for number in requests | amounts
    }


def _by_operation(text: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    try:
        for line in text.splitlines():
            *device, operation, count = line.split()
            if device:
                found.setdefault(_number(*device), {})[operation] = natural(count)
    except (ValueError, TypeError) as error:
        raise ParseError(f"blkio: {error}") from error
    return found


def _number(word: str) -> str:
    major, _, minor = word.partition(":")
    return f"{natural(major)}:{natural(minor)}"
