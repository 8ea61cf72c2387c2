"""Which programs are never moved, and below which ones a job begins: tables of names.

Names are whole base names of program, script or module (shell patterns where a family shares a prefix), as
`exporter.classify.command_of` finds them in argv, plus the kernel's `comm` and the executable's name. A name too many
only protects more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Protocol

from exporter.classify import command_of, head_of

__all__ = [
    "Boundary",
    "Hindrance",
    "Program",
    "Protection",
    "boundary_by_name",
    "is_interactive_shell",
    "keeps_a_terminal",
    "matches",
    "protection_of",
]


class Hindrance(StrEnum):
    """Why a process is not moved, as far as the process itself tells: the words of docs/reasons.md."""

    PROTECTED = "PROTECTED"
    INTERACTIVE = "INTERACTIVE"
    DAEMON = "DAEMON"
    SCHEDULER_CLIENT = "SCHEDULER_CLIENT"
    WORKFLOW_DRIVER = "WORKFLOW_DRIVER"
    FILE_TRANSFER = "FILE_TRANSFER"
    CONTAINER = "CONTAINER"
    SET_ID = "SET_ID"
    SYSTEM_USER = "SYSTEM_USER"
    OPTED_OUT = "OPTED_OUT"
    STOPPED = "STOPPED"
    TRACED = "TRACED"
    SUPERVISED = "SUPERVISED"
    SHELL_WAITING = "SHELL_WAITING"


class Program(Protocol):
    """What of a process tells which program it runs. `exe` is None where it cannot be read, `tty_nr` 0 without one."""

    @property
    def argv(self) -> tuple[bytes, ...]:
        """/proc/PID/cmdline."""

    @property
    def comm(self) -> str:
        """The kernel's name of it."""

    @property
    def exe(self) -> str | None:
        """Path of the executable."""

    @property
    def tty_nr(self) -> int:
        """Its controlling terminal."""


class Boundary(StrEnum):
    """What ends the climb to the top of a job, seen from below."""

    SHELL = "interactive shell"
    LOGIN = "login"
    MULTIPLEXER = "terminal multiplexer"
    MANAGER = "service manager"
    SUPERVISOR = "supervisor"
    CRON = "cron"
    SCHEDULER = "batch scheduler"
    OWN = "grid-offloader's own parent"
    KEEPER = "keeper of a job's terminal"


@dataclass(frozen=True, slots=True)
class Protection:
    """A family of programs that is never moved. `what` continues "it is …"; `paths` are patterns of script paths."""

    reason: Hindrance
    what: str
    names: frozenset[str]
    paths: tuple[str, ...] = ()


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


SHELLS = _set("sh bash dash zsh ksh mksh fish tcsh csh ash rbash")

BOUNDARIES: Mapping[Boundary, frozenset[str]] = {
    Boundary.LOGIN: _set("sshd sshd-session sshd-auth login su agetty getty gdm-session-worker dropbear in.rshd"),
    Boundary.MULTIPLEXER: _set("tmux tmux:* screen SCREEN zellij dtach abduco mosh-server byobu"),
    Boundary.MANAGER: _set("systemd init tini dumb-init openrc-run launchd"),
    Boundary.SUPERVISOR: _set("supervisord runsv s6-supervise monit circusd pm2 supervise"),
    Boundary.CRON: _set("cron crond CRON atd anacron fcron"),
    Boundary.SCHEDULER: _set(
        "slurmd slurmstepd sge_execd sge_shepherd pbs_mom pbs_tmrsh res sbatchd condor_startd condor_starter"
    ),
}

PROTECTED: tuple[Protection, ...] = (
    Protection(
        Hindrance.PROTECTED,
        "a part of grid-offloader",
        _set("grid-offloader grid-exporter launcher-*.pyz offloader exporter"),
    ),
    Protection(
        Hindrance.PROTECTED,
        "a part of Ray",
        _set("raylet gcs_server ray ray::* plasma_store"),
        ("*/ray/dashboard/*", "*/ray/_private/*", "*/ray/autoscaler/*", "*/ray/core/src/ray/*"),
    ),
    Protection(
        Hindrance.PROTECTED,
        "a part of the monitoring",
        _set(
            "prometheus alertmanager grafana grafana-server node_exporter process-exporter dcgm-exporter pushgateway "
            "promtool"
        ),
    ),
    Protection(Hindrance.PROTECTED, "what people log in through", BOUNDARIES[Boundary.LOGIN]),
    Protection(Hindrance.INTERACTIVE, "a terminal multiplexer", BOUNDARIES[Boundary.MULTIPLEXER]),
    Protection(
        Hindrance.PROTECTED,
        "a part of the system",
        BOUNDARIES[Boundary.MANAGER]
        | BOUNDARIES[Boundary.SUPERVISOR]
        | BOUNDARIES[Boundary.CRON]
        | _set(
            "systemd-* dbus-daemon dbus-broker* polkitd rsyslogd syslog-ng chronyd ntpd udevd sssd* nscd nslcd munged "
            "rpcbind rpc.* automount autofs snapd cupsd (sd-pam) gpg-agent ssh-agent runsvdir s6-svscan "
            "nvidia-persistenced dockerd containerd containerd-shim* conmon crio runc"
        ),
    ),
    Protection(
        Hindrance.PROTECTED,
        "a daemon of the batch scheduler",
        BOUNDARIES[Boundary.SCHEDULER]
        | _set(
            "slurmctld slurmdbd slurmrestd sge_qmaster pbs_server pbs_server.bin pbs_sched pbs_comm lim mbatchd "
            "mbschd condor_*"
        ),
    ),
    Protection(
        Hindrance.SCHEDULER_CLIENT,
        "a client that holds an allocation, a container or a connection",
        _set(
            "srun salloc sbatch sattach qrsh qlogin qsub qsh bsub lsrun blaunch mpirun mpiexec mpiexec.* orterun "
            "prterun prte orted hydra_pmi_proxy docker podman nerdctl kubectl apptainer singularity ssh autossh "
            "mosh-client"
        ),
    ),
    Protection(
        Hindrance.WORKFLOW_DRIVER,
        "a workflow driver or notebook server",
        _set(
            "snakemake nextflow nextflow.cli.* luigi luigid airflow cromwell* toil* cwltool dagster prefect jupyter "
            "jupyter-* jupyterhub jupyterlab notebook ipykernel ipykernel_launcher marimo"
        ),
    ),
    Protection(
        Hindrance.FILE_TRANSFER,
        "a file transfer",
        _set(
            "rsync scp sftp sftp-server rclone globus* bbcp lftp ncftp wget curl aria2c ftp gridftp* axel croc restic "
            "borg"
        ),
    ),
    Protection(
        Hindrance.INTERACTIVE,
        "a program that people work in",
        _set(
            "vi vim vim.* nvim nano pico emacs emacs-* emacsclient joe micro hx kak mcedit mc less more man top htop "
            "btop code-server code-tunnel rserver rsession remote-dev-server* pycharm idea gdb lldb ipython "
            "Xorg Xwayland Xvnc gnome-shell gnome-session* plasmashell kwin_* xrdp* firefox* chrome chromium*"
        ),
        ("*/.vscode-server/*", "*/.cursor-server/*", "*/.vscode-remote/*", "*/JetBrains/RemoteDev/*"),
    ),
    Protection(
        Hindrance.DAEMON,
        "a database or message server",
        _set(
            "postgres postmaster mysqld mariadbd redis-server valkey-server memcached mongod etcd influxd "
            "clickhouse-server rabbitmq-server"
        ),
    ),
)
"""First match decides; patterns hold `*` only."""

_STUBS = frozenset({"grid-offloader", "offloader"})

_LONGEST_REMEMBERED = 4096
"""Bytes of arguments."""


def _names(argv: tuple[bytes, ...], comm: str, exe: str | None) -> frozenset[str]:
    """The base names that tell what a process is: program (wrappers peeled off), script, module, comm, executable."""
    command = command_of(argv) if argv else None
    found = {comm, _base((exe or "").removesuffix(" (deleted)"))}
    if argv:
        found.add(_base(argv[0].decode("utf-8", "replace")).removeprefix("-"))
    if command is not None:
        module = command.module or ""
        found |= {command.program, command.script or "", module, module.partition(".")[0]}
    return frozenset(found - {""})


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def is_interactive_shell(process: Program) -> bool:
    """Whether people type into it: a shell without script and `-c` that is a login shell, has `-i` or a terminal.

    `ssh host bash -s < script` has no terminal and is a job; `bash < script` on a terminal cannot be told from one
    that waits for input by argv: it counts as interactive, and shares its process group with what it starts, so that
    closure joins both and the job is refused.
    """
    if not process.argv:
        return False
    command = command_of(process.argv)
    if command.program not in SHELLS or command.script is not None or command.inline:
        return False
    options = [argument for argument in process.argv[1:] if argument.startswith(b"-") and argument[1:2] != b"-"]
    asked = process.argv[0].startswith(b"-") or any(b"i" in option for option in options) or b"--login" in process.argv
    return asked or process.tty_nr != 0


def keeps_a_terminal(process: Program) -> bool:
    """Whether it is the stub of `grid-offloader run --local`, or the keeper that it forks: what it starts is a job."""
    words = process.argv[: process.argv.index(b"--")] if b"--" in process.argv else process.argv
    return b"--local" in words and b"run" in words and not _STUBS.isdisjoint(_known(process)[0])


def boundary_by_name(process: Program) -> Boundary | None:
    """What kind of boundary a process is, told from itself alone."""
    if is_interactive_shell(process):
        return Boundary.SHELL
    if keeps_a_terminal(process):
        return Boundary.KEEPER
    names = _known(process)[0]
    return next((kind for kind, patterns in BOUNDARIES.items() if _any(names, patterns)), None)


def protection_of(process: Program) -> Protection | None:
    """The family of protected programs that a process belongs to."""
    return _known(process)[1]


_Known = tuple[frozenset[str], Protection | None]
"""Names that tell what a process is, and the protected family that one of them belongs to."""


def _known(process: Program) -> _Known:
    """Remembered where that stays small whatever people run."""
    argv = head_of(process.argv)
    look_up = _remembered if sum(map(len, argv)) <= _LONGEST_REMEMBERED else _look_up
    return look_up(argv, process.comm, process.exe)


def _look_up(argv: tuple[bytes, ...], comm: str, exe: str | None) -> _Known:
    names, paths = _names(argv, comm, exe), _paths(argv)
    for protection in PROTECTED:
        by_path = any(fnmatchcase(path, pattern) for pattern in protection.paths for path in paths)
        if by_path or _any(names, protection.names):
            return names, protection
    return names, None


_remembered = lru_cache(maxsize=4096)(_look_up)


def matches(process: Program, patterns: tuple[str, ...]) -> bool:
    """Whether one of the process's names fits one of the patterns that people wrote."""
    names = _known(process)[0]
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


@lru_cache(maxsize=8192)
def _any(names: frozenset[str], patterns: frozenset[str]) -> bool:
    if names & patterns:
        return True
    families = [pattern for pattern in patterns if "*" in pattern]
    return any(fnmatchcase(name, pattern) for name in names for pattern in families)


def _paths(argv: tuple[bytes, ...]) -> tuple[str, ...]:
    """The arguments that may be the program's and the script's paths: some of the first four."""
    return tuple(part.decode("utf-8", "replace") for part in argv[:4] if b"/" in part and not part.startswith(b"-"))
