"""criu's command lines (criu(8)). Pure: what is asked for in, argv out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["GHOST_LIMIT_BYTES", "DumpRequest", "Inherited", "Options", "Pages", "RestoreRequest", "dump", "page_server"]
__all__ += ["restore"]

GHOST_LIMIT_BYTES = 16 << 20
"""Of a deleted file that is still open, criu carries at most so much."""


@dataclass(frozen=True)
class Options:
    """What must be the same for the dump and for the restore of its image.

    `shell_job`: the job's first process leads no session of its own; the restored one is in criu's, and in the place of
    a terminal that it has open is criu's standard input. `tcp_close`: established TCP connections are let go, the
    program sees their end.
    """

    shell_job: bool = False
    tcp_close: bool = False
    ghost_limit_bytes: int = GHOST_LIMIT_BYTES


class Pages(NamedTuple):
    """Where memory goes: a page server at a TCP address, or behind an open socket, which needs no open port."""

    address: str = ""
    port: int = 0
    socket: int | None = None


class Inherited(NamedTuple):
    """An open descriptor that takes the place of what the image calls `resource` (see `pipe`, `file`)."""

    descriptor: int
    resource: str

    @classmethod
    def pipe(cls, descriptor: int, inode: int) -> Inherited:
        """In the place of a pipe that had this inode at the source."""
        return cls(descriptor, f"pipe:[{inode}]")

    @classmethod
    def file(cls, descriptor: int, path: str) -> Inherited:
        """In the place of a file; the image has its path without the leading slash."""
        return cls(descriptor, path.lstrip("/"))


@dataclass(frozen=True)
class DumpRequest:
    """`freezer`: directory of the frozen cgroup; `limit_s`: how long criu itself may take to collect the tasks."""

    leader: int
    freezer: str
    images: str
    options: Options = Options()
    pages: Pages | None = None
    limit_s: int = 10


@dataclass(frozen=True)
class RestoreRequest:
    """`images` is also where criu logs."""

    images: str
    options: Options = Options()
    inherited: Sequence[Inherited] = ()


def _common(action: str, images: str, log: str) -> list[str]:
    # Configuration files of the node would add options that the other node does not have.
    return [action, "--no-default-config", "--images-dir", images, "--log-file", log, "-v2"]


def _both(options: Options) -> list[str]:
    found = ["--manage-cgroups=ignore", "--file-locks", "--ext-unix-sk", "--link-remap", "--cpu-cap=fpu,ins"]
    found += ["--ghost-limit", str(options.ghost_limit_bytes)]
    found += ["--shell-job"] if options.shell_job else []
    return [*found, "--tcp-close"] if options.tcp_close else found


def dump(criu: str, request: DumpRequest) -> list[str]:
    """Dump the tree of one process; it is left frozen, as it was found, and not stopped (ADR 18)."""
    found = [criu, *_common("dump", request.images, "dump.log"), *_both(request.options)]
    found += ["--tree", str(request.leader), "--leave-running", "--timeout", str(request.limit_s)]
    found += ["--freeze-cgroup", request.freezer] if request.freezer else []
    if request.pages is not None:
        found += ["--page-server", *_pages(request.pages)]
    return found


def page_server(criu: str, images: str, pages: Pages) -> list[str]:
    """Receive the memory of one dump, then end."""
    return [criu, *_common("page-server", images, "page-server.log"), *_pages(pages)]


def _pages(pages: Pages) -> list[str]:
    if pages.socket is not None:
        return ["--ps-socket", str(pages.socket)]
    return ["--address", pages.address, "--port", str(pages.port)]


def restore(criu: str, request: RestoreRequest) -> list[str]:
    """Restore a tree as a child of criu's own parent, every task of it stopped."""
    found = [criu, *_common("restore", request.images, "restore.log"), *_both(request.options)]
    found += ["--restore-detached", "--restore-sibling", "--leave-stopped"]
    found += ["--pidfile", os.path.join(request.images, "restored.pid")]
    for one in request.inherited:
        found += ["--inherit-fd", f"fd[{one.descriptor}]:{one.resource}"]
    return found
