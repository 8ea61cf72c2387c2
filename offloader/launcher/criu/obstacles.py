"""What stands in the way of a live move. Pure: what the source and the target said in, obstacles out.

| seen | code |
| --- | --- |
| no criu that works on one side, or not for the job's account | NO_CRIU |
| criu, architecture, processor or kernel unlike | NODES_DIFFER |
| processes that do not descend from the first one | NOT_ONE_TREE |
| stopped, traced, in other namespaces | STOPPED, TRACED, CONTAINER |
| program or library missing or another build | NO_EXECUTABLE |
| file missing, another one, or of another size; not brought along | NO_FILE |
| directory missing | NO_DIRECTORY |
| deleted file too large, file without its name, device, descriptor or memory that criu does not know | UNSUPPORTED_FD |
| a lock that somebody else has, or on a file that the target sees too | LOCKED |
| a terminal, but for the one that is kept for its user | TERMINAL |
| a pipe or unix socket to somebody outside | OPEN_EDGE |
| no room on the target for an image of its memory | NO_ROOM |
| established TCP, where it may not be closed | REMOTE_CONNECTION |
| bound to an address that is not the target's, or to a port that is taken there | LISTENER |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..fileprint import SharedDevices
from ..obstacle import obstacle, shown
from ..room import size_shown
from ..wire import Document, unpack_bytes
from .arguments import GHOST_LIMIT_BYTES

__all__ = ["Allowed", "accounts", "between", "unlike"]

_SHARE = "put it on a file system that both nodes see, or into its working directory, which can be copied"
_SAME_VERSION = "install the same version on both nodes"
_PROGRAMS_USE = re.compile(
    r"mmx|sse|ssse|avx|amx|aes|vaes|v?pclmul|sha_ni|sha512|sm[34]|fma|f16c|bmi|abm|popcnt|movbe|adx|rdrand|rdseed|rdpid|"
    r"rdtscp|xsave|gfni|3dnow|clflushopt|clwb|fsgsbase|lahf_lm|cx16|fsrm|erms|movdir|serialize|waitpkg|user_shstk"
)
"""Of a processor's flags those that a program itself may have chosen its code by; others concern the kernel."""
_KNOWN_SOCKETS = frozenset({"tcp", "udp", "raw", "unix", "netlink", "packet"})
_VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True)
class Allowed:
    """What the caller takes care of, or permits.

    `carried`: paths (base64) that are brought to the target as they are; `staged`: a directory (base64) that the target
    does not have, and that is brought there with all that is in it (`arrived`: it was); `attached_pipes`: inodes of
    pipes that are attached again there (--inherit-fd); `terminal`: the one (`device` of an estate) that is kept for its
    user, wherever it is; `close_connections`: established TCP with other nodes is closed.
    """

    carried: frozenset[str] = frozenset()
    staged: str = ""
    arrived: bool = False
    attached_pipes: frozenset[int] = frozenset()
    terminal: str = ""
    close_connections: bool = False
    ghost_limit_bytes: int = GHOST_LIMIT_BYTES

    def brings(self, path: str) -> bool:
        """Whether that path (base64) is one of those that are brought."""
        if path in self.carried:
            return True
        if not self.staged:
            return False
        root = unpack_bytes(self.staged).rstrip(b"/")
        return unpack_bytes(path) == root or unpack_bytes(path).startswith(root + b"/")


def between(estate: Document, offer: Document, shared: SharedDevices, allowed: Allowed) -> list[Document]:
    """Everything at once, so that nobody mends one thing only to meet the next."""
    return [
        *_members(estate),
        *_programs(estate, offer, allowed),
        *_directories(estate, offer, allowed),
        *(found for file in estate["files"] for found in _file(file, offer, shared, allowed)),
        *_image(estate, offer),
        *_edges(estate, allowed),
        *(found for one in estate["sockets"] for found in _socket(one, offer, allowed)),
    ]


def accounts(estate: Document, source: Document) -> list[Document]:
    """Of the job and the source's report: whether criu there may take processes of their account."""
    others = sorted({member["uid"] for member in estate["members"]} - {0})
    if not others or source.get("any_account", True):
        return []
    seen = f"at the source root lacks CAP_SYS_RESOURCE, without which criu cannot take processes of uid {others[0]}"
    return [obstacle("NO_CRIU", seen, "run the launcher there with all of root's capabilities (not in a container)")]


def unlike(source: Document, target: Document) -> list[Document]:
    """Of two nodes' reports (report.py)."""
    found = []
    for report, where in ((source, "the source"), (target, "the target")):
        if not report["usable"]:
            one = report["obstacle"]
            found.append(obstacle("NO_CRIU", f"at {where}: {one['seen']}", one["remedy"]))
    if found:
        return found
    return list(_differences(source, target))


def _differences(source: Document, target: Document) -> Iterator[Document]:
    if source["machine"] != target["machine"]:
        seen = f"the target is a {target['machine']}, the source a {source['machine']}"
        yield obstacle("NODES_DIFFER", seen, "choose a node of the same architecture")
        return
    if _short(source["version"]) != _short(target["version"]):
        seen = f"criu is {target['version']} at the target and {source['version']} at the source"
        yield obstacle("NODES_DIFFER", seen, _SAME_VERSION)
    if _short(target["kernel"]) < _short(source["kernel"]):
        seen = f"the target's kernel is {target['kernel']}, older than the source's {source['kernel']}"
        yield obstacle("NODES_DIFFER", seen, "choose a node with the same kernel or a newer one")
    lacking = sorted(set(source["cpu_flags"]) - set(target["cpu_flags"]))
    if source["machine"] in {"x86_64", "i686"}:
        lacking = [flag for flag in lacking if _PROGRAMS_USE.match(flag)]
    if lacking:
        seen = f"the target's processor lacks {', '.join(lacking[:8])}, which a program may use"
        yield obstacle("NODES_DIFFER", seen, "choose a node with the same processor or a newer one")


def _short(version: str) -> tuple[int, int]:
    found = _VERSION.match(version)
    return (int(found.group(1)), int(found.group(2))) if found is not None else (0, 0)


def _members(estate: Document) -> Iterator[Document]:
    outside = estate["outside"]
    if outside:
        seen = f"{_some(outside)} of the job do not descend from its first process"
        yield obstacle("NOT_ONE_TREE", seen, "start its parts below one process: `sh -c 'one | two'`")
    for member in estate["members"]:
        pid = member["pid"]
        if member["stopped"]:
            yield obstacle("STOPPED", f"process {pid} is stopped", f"continue it first: `kill -CONT {pid}`")
        if member["tracer"]:
            yield obstacle("TRACED", f"process {pid} is traced by {member['tracer']}", "detach the debugger first")
        if member["foreign"]:
            seen = f"process {pid} is in namespaces of its own ({', '.join(member['foreign'])})"
            yield obstacle("CONTAINER", seen, "move the whole container by its own tools")
    for what in estate["strange"]:
        yield obstacle("UNSUPPORTED_FD", f"it uses {what}, which criu cannot take along", "let it close that first")


def _some(pids: list[int]) -> str:
    return ", ".join(map(str, pids[:5])) + (", …" if len(pids) > 5 else "")  # noqa: PLR2004 (enough to recognise)


def _programs(estate: Document, offer: Document, allowed: Allowed) -> Iterator[Document]:
    for one in estate["programs"]:
        here, path = offer["programs"][one["path"]], shown(unpack_bytes(one["path"]))
        if allowed.brings(one["path"]):
            continue
        if here is None:
            yield obstacle("NO_EXECUTABLE", f"it runs {path}, which is not on the target", _SAME_VERSION)
        elif here != one["digest"]:
            yield obstacle("NO_EXECUTABLE", f"it runs {path}, which is another build on the target", _SAME_VERSION)


def _directories(estate: Document, offer: Document, allowed: Allowed) -> Iterator[Document]:
    for path in estate["directories"]:
        if not (offer["directories"][path] or allowed.brings(path)):
            yield obstacle("NO_DIRECTORY", f"{shown(unpack_bytes(path))} is not on the target", _SHARE)


def _file(file: Document, offer: Document, shared: SharedDevices, allowed: Allowed) -> Iterator[Document]:
    path = shown(unpack_bytes(file["path"]))
    here = offer["files"][file["path"]]
    same = here is not None and (file["dev"], here["dev"]) in shared and here["inode"] == file["inode"]
    if file.get("locked_by_others"):
        seen = f"somebody else has, or waits for, a lock on {path}, which the restored job would wait for"
        yield obstacle("LOCKED", seen, "wait until the others are done")
    elif file["locked"] and same:
        seen = f"it holds a lock on {path}, which the target sees too: the restored job would wait for the frozen one's"
        yield obstacle("LOCKED", seen, "let it release the lock first")
    if file["deleted"]:
        yield from _deleted(file, path, offer, allowed)
    elif file["nameless"]:
        seen = f"it has {path} open, which lives on without that name (deleted on NFS, or replaced)"
        yield obstacle("UNSUPPORTED_FD", seen, "let it close that file first")
    elif not same and not allowed.brings(file["path"]):
        yield from _other_file(file, path, here)
    elif not same and file["stored_to"]:
        seen = f"it writes to {path} by mapping it (mmap), which shows in no file time: it would go on with an old copy"
        yield obstacle("UNSUPPORTED_FD", seen, "put it on a file system that both nodes see")
    elif not same and allowed.arrived and here is None:
        yield obstacle("NO_FILE", f"{path} was not copied", "take it out of what `staging.exclude` leaves behind")


def _deleted(file: Document, path: str, offer: Document, allowed: Allowed) -> Iterator[Document]:
    if file["size"] > allowed.ghost_limit_bytes:
        seen = f"the deleted file {path} has {file['size']} bytes, more than {allowed.ghost_limit_bytes}"
        yield obstacle("UNSUPPORTED_FD", seen, "let it close that file first, or raise the limit")
    elif not (offer["parents"][file["path"]] or allowed.brings(file["path"])):
        seen = f"the deleted file {path} would be made anew, and its directory is not on the target"
        yield obstacle("NO_DIRECTORY", seen, _SHARE)


def _other_file(file: Document, path: str, here: Document | None) -> Iterator[Document]:
    if here is None:
        yield obstacle("NO_FILE", f"it has {path} open, which is not on the target", _SHARE)
    elif file["writable"]:
        yield obstacle("NO_FILE", f"it writes {path}, which is another file on the target", _SHARE)
    elif here["size"] != file["size"] and not file["append"]:
        seen = f"{path} has {here['size']} bytes on the target and {file['size']} at the source"
        yield obstacle("NO_FILE", seen, _SHARE)


def _image(estate: Document, offer: Document) -> Iterator[Document]:
    """Memory that changed after it went ahead is there twice (ahead.py)."""
    needed, free = 2 * estate["memory_bytes"], offer["free_bytes"]
    if free is not None and free < needed:
        seen = f"the target has {size_shown(free)} free for an image, which may take {size_shown(needed)}"
        yield obstacle("NO_ROOM", seen, "make room in the launcher's directory there, or choose another node")


def _edges(estate: Document, allowed: Allowed) -> Iterator[Document]:
    others = [one["path"] for one in estate["terminals"] if one["device"] != allowed.terminal]
    if others and allowed.terminal:
        seen = f"besides the terminal that `run --local` keeps for it, it has {', '.join(others)} open"
        yield obstacle("TERMINAL", seen, "let it close that first")
    elif others:
        yield obstacle("TERMINAL", "it has a terminal open", "start it by `grid-offloader run --local`, or without one")
    for inode in estate["half_pipes"]:
        if inode not in allowed.attached_pipes:
            seen = f"the other end of its pipe {inode} is outside of the job"
            yield obstacle("OPEN_EDGE", seen, "put both ends below one process: `sh -c 'one | two'`")


def _socket(one: Document, offer: Document, allowed: Allowed) -> Iterator[Document]:
    kind = one["kind"]
    if kind not in _KNOWN_SOCKETS:
        seen = f"it has a socket of kind {kind}, which criu cannot take along"
        yield obstacle("UNSUPPORTED_FD", seen, "let it close that first")
    elif kind == "unix" and one.get("stream") and one["inside"] is False:
        seen = "it is connected to a process outside of the job by a unix socket"
        yield obstacle("OPEN_EDGE", seen, "end the connection")
    elif kind == "tcp" and one["state"] not in {"listening", "closed"}:
        if not (allowed.close_connections and one["state"] == "established" and not _on_this_node(one)):
            seen = f"it has a TCP connection with {one['remote']}"
            yield obstacle("REMOTE_CONNECTION", seen, "end it, or allow that connections are closed")
    elif "address" in one:
        yield from _bound(one, offer)


def _on_this_node(one: Document) -> bool:
    """Whether the other end is here: the job's own, or that of a service which the target does not have."""
    remote = one["remote"].rpartition(":")[0]
    return bool(remote == one["address"] or remote.startswith(("127.", "::ffff:127.")) or remote == "::1")


def _bound(one: Document, offer: Document) -> Iterator[Document]:
    where = f"{one['kind']} {one['address']} port {one['port']}"
    if one["address"] not in offer["addresses"]:
        yield obstacle("LISTENER", f"it is bound to {where}, an address of the source", "bind it to all addresses")
    elif [one["kind"], one["port"]] in offer["taken_ports"]:
        yield obstacle("LISTENER", f"it is bound to {where}, which is taken on the target", "choose another node")
