"""Processes, and the closed sets of them that could move."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.classify import ProcessClass, command_of
from offloader.model.reasons import Obstacle
from offloader.model.resources import Capacity

__all__ = ["Candidate", "Checkpointing", "Identity", "Process"]


@dataclass(frozen=True, slots=True)
class Checkpointing:
    """How a job is asked to save its state and end, so that the same command line goes on from there.

    `file` (absolute) is where it keeps its checkpoint, None where its exit code 85 says that it saved. `grace_s`: how
    long it may take. `source`: who declared it, in words.
    """

    signal: int
    file: bytes | None = None
    grace_s: float = 60.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a process *this* process; a bare pid is re-used by the kernel."""

    boot_id: str
    pid: int
    start_ticks: int
    uid: int
    exe_dev: int
    exe_inode: int


@dataclass(frozen=True, slots=True)
class Process:
    """What decisions need to know of one process. argv never leaves the host except to its owner and admins."""

    identity: Identity
    ppid: int
    pgid: int
    sid: int
    tty_nr: int
    state: str
    comm: str
    user: str
    argv: tuple[bytes, ...] = ()
    exe: str | None = None
    cwd: str | None = None
    cgroup: str = ""
    process_class: ProcessClass = ProcessClass.UNKNOWN
    kernel: bool = False
    tracer_pid: int = 0
    set_id: bool = False
    listening: bool = False
    remote_tcp: bool = False
    age_s: float = 0.0
    cpu_cores: float = 0.0
    rss_bytes: int = 0
    swap_bytes: int = 0
    gpu_memory_bytes: int = 0
    wish: str | None = None  # GRID_OFFLOAD of its environment: never, allow
    environ_readable: bool = True
    argv_rewritten: bool = False
    edges: frozenset[str] = frozenset()  # names of shared kernel objects: "pipe:[123]", "unix:[7-8]", "shm:26:9"
    # An edge whose name begins with "outside:" ends at something that is no visible process: it is always open.
    locked: frozenset[str] = frozenset()  # paths of files on which it holds a lock, or waits for one
    credentials: tuple[str, ...] = ()  # what it was seen to carry, in words: tickets, tokens, kernel keys
    licence_variables: frozenset[str] = frozenset()  # names, never values, of its variables that speak of licences
    checkpoint_signal: str | None = None  # GRID_OFFLOAD_CHECKPOINT_SIGNAL of its environment, as it stands there
    checkpoint_file: bytes | None = None  # GRID_OFFLOAD_CHECKPOINT_FILE, absolute
    handled_signals: int = 0  # a bit each, 1 << number - 1: it has a handler, or waits for the signal
    session_terminal_pgid: int = -1  # foreground process group of its terminal, -1 without one

    @property
    def pid(self) -> int:
        """The process id, shorthand for people and logs."""
        return self.identity.pid

    @property
    def name(self) -> str:
        """What people call it: its script or module where an interpreter runs one, else its program."""
        if not self.argv:
            return self.comm
        command = command_of(self.argv)
        return command.script or command.module or command.program or self.comm


@dataclass(frozen=True, slots=True)
class Candidate:
    """A closed set of processes that moves as a whole or not at all, with everything known about moving it."""

    leader: Process
    members: tuple[Process, ...]
    node: str
    usage: Capacity
    needs: Capacity
    age_s: float
    restart_safe: bool
    obstacles: tuple[Obstacle, ...] = ()  # never, by nobody
    owner_only: tuple[Obstacle, ...] = ()  # not in mode auto: the owner's own `move` passes over these
    checkpointing: Checkpointing | None = None
    no_checkpoint: Obstacle | None = None  # why it cannot be asked to save
    only_live: Obstacle | None = None  # why no other strategy may take it: its connections are let go
    kept_terminal: bool = False  # by the stub of `run --local`: only what goes on from where it is takes it along
    confidence: float = 0.5
    complexity: str = "medium"

    @property
    def identity(self) -> Identity:
        """The leader's identity stands for the job."""
        return self.leader.identity

    @property
    def movable(self) -> bool:
        """Whether anybody may move it."""
        return not self.obstacles
