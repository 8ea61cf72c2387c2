"""Whether a process could be moved, as far as the process itself tells; each answer has its word (docs/reasons.md).

The controller looks further before it moves anything: at the whole job, at what it shares with others (pipes, sockets,
locks), at the configuration. It uses the same tests for what is asked here.
"""

import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from exporter.procfs.pid import CgroupMembership, PidStatus
from exporter.procfs.process import ProcessFacts
from exporter.programs import Hindrance, is_interactive_shell, protection_of

__all__ = [
    "ALLOW",
    "NEVER",
    "STOPPED_STATES",
    "WISH",
    "Policy",
    "container_of",
    "has_set_id",
    "hindrance_of",
    "path_of",
    "service_of",
    "waits_in_shell",
]

WISH = b"GRID_OFFLOAD"
"""The variable by which an owner says at a process's start whether it may move."""
ALLOW, NEVER = "allow", "never"

STOPPED_STATES = frozenset("Tt")

_CONTAINER = re.compile(
    r"(?:docker|libpod|crio|cri-containerd|containerd|lxc|kubepods|nspawn)[-/.].*|.*/(?:lxc\.payload|machine\.slice)[./].*"
)
_LOGIN_SERVICES = re.compile(r"(?:user@\d+|sshd?(?:@.*)?|getty@.*|serial-getty@.*|crond?|atd|anacron)\.service")
"""Services whose processes are what people start: their own sessions, and on hosts without logind whatever they run."""
_UNITS = (".service", ".scope", ".slice")


@dataclass(frozen=True, slots=True)
class Policy:
    """What the answer depends on besides the process: accounts below `min_uid` are the system's.

    `home` is the container that the exporter itself runs in, None outside of one.
    """

    min_uid: int = 1000
    home: str | None = None


def hindrance_of(facts: ProcessFacts, wish: str | None, policy: Policy) -> Hindrance | None:
    """What of the process itself keeps a rule from moving it, None where nothing does. `wish`: its GRID_OFFLOAD.

    Plainest first, in the controller's order.
    """
    if facts.pid == 1:
        return Hindrance.PROTECTED
    protection = protection_of(facts)
    if protection is not None:
        return protection.reason
    if is_interactive_shell(facts):
        return Hindrance.INTERACTIVE
    path = path_of(facts.cgroups)
    container = container_of(path)
    tests = (
        (Hindrance.CONTAINER, container is not None and container != policy.home),
        (Hindrance.SET_ID, has_set_id(facts.status, facts.exe_mode)),
        (Hindrance.SYSTEM_USER, facts.uid < policy.min_uid),
        (Hindrance.OPTED_OUT, wish == NEVER),
        (Hindrance.STOPPED, facts.state in STOPPED_STATES),
        (Hindrance.TRACED, facts.tracer_pid != 0),
        (Hindrance.SUPERVISED, wish != ALLOW and service_of(path) is not None),
        (Hindrance.SHELL_WAITING, wish != ALLOW and waits_in_shell(facts.tty_nr, facts.tpgid, facts.pgid)),
    )
    return next((hindrance for hindrance, found in tests if found), None)


def path_of(memberships: Iterable[CgroupMembership]) -> str:
    """The control group path that says most: v2's, else systemd's, else the first that is not the root."""
    by_rank = sorted(memberships, key=lambda one: (one.hierarchy != 0, "name=systemd" not in one.controllers))
    return next((one.path for one in by_rank if one.path != "/"), "/" if by_rank else "")


def container_of(cgroup: str) -> str | None:
    """The part of a control group's path that names a container; None outside of one."""
    found = _CONTAINER.search(cgroup)
    return found[0] if found else None


def service_of(cgroup: str) -> str | None:
    """The service manager's unit that would be started again.

    The innermost systemd unit decides: a .service's processes are started again, a session's scope's are not.
    """
    units = [part for part in cgroup.split("/") if part.endswith(_UNITS)]
    if not units or not units[-1].endswith(".service") or _LOGIN_SERVICES.fullmatch(units[-1]):
        return None
    return units[-1]


def has_set_id(status: PidStatus, exe_mode: int | None) -> bool:
    """Whether it has, or would get again when started, rights that its owner does not have by himself."""
    real_uid, effective_uid, *_ = status.uids
    real_gid, effective_gid, *_ = status.gids
    marked = (exe_mode or 0) & (stat.S_ISUID | stat.S_ISGID)
    capable = status.effective_capabilities != 0 and effective_uid != 0
    return bool(marked) or capable or real_uid != effective_uid or real_gid != effective_gid


def waits_in_shell(tty_nr: int, terminal_pgid: int, pgid: int) -> bool:
    """Whether it is in the foreground of its terminal: somebody, or the rest of a command line, waits for its end."""
    return tty_nr != 0 and terminal_pgid > 0 and pgid == terminal_pgid
