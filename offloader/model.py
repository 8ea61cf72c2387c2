"""The words of the domain as frozen types. Everything imports this module; it imports only the process classes.

Units are in the names: `_s` seconds, `_bytes` bytes, `cores` CPU cores (fractional), `_ratio` and pressures 0..1.
Wall-clock times are Unix seconds (float).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from exporter.classify import ProcessClass, command_of

__all__ = [
    "Attempt",
    "AttemptState",
    "Budgets",
    "Candidate",
    "Capacity",
    "Completion",
    "Decision",
    "DecisionKind",
    "Identity",
    "Job",
    "JobState",
    "Mode",
    "Move",
    "MoveState",
    "NodeView",
    "Obstacle",
    "Policy",
    "Process",
    "ProcessClass",
    "Reading",
    "Reason",
    "Reservation",
    "ReservationKind",
    "Resource",
    "Role",
    "Rule",
    "RuleMove",
    "RuleSelect",
    "Snapshot",
    "StrategyName",
    "Toggles",
    "Truth",
]


class Resource(StrEnum):
    """What a node can be short of."""

    CPU = "cpu"
    MEMORY = "memory"
    GPU = "gpu"


class Role(StrEnum):
    """What a node is for: pressure on the head triggers, workers are destinations only."""

    HEAD = "head"
    WORKER = "worker"


class Mode(StrEnum):
    """How far a rule may go by itself. Ordered: the effective mode is the lower of rule and ceiling."""

    OBSERVE = "observe"
    ADVISE = "advise"
    APPROVE = "approve"
    AUTO = "auto"

    @property
    def rank(self) -> int:
        """Position in observe < advise < approve < auto."""
        return list(Mode).index(self)

    def capped(self, ceiling: Mode) -> Mode:
        """The lower one of this mode and the ceiling."""
        return self if self.rank <= ceiling.rank else ceiling


class Truth(StrEnum):
    """A rule's answer for one node; unknown never moves anything."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


class StrategyName(StrEnum):
    """How a job's work gets from one attempt to the next."""

    RESTART = "restart"
    CHECKPOINT = "checkpoint"
    LIVE = "live"


class Reason(StrEnum):
    """Why something was refused, held back or could not be done. The same word in CLI, metrics, logs and API."""

    # Data: a reading that must not be acted on.
    QUERY_FAILED = "QUERY_FAILED"
    NO_DATA = "NO_DATA"
    NOT_A_NUMBER = "NOT_A_NUMBER"
    AMBIGUOUS = "AMBIGUOUS"
    STALE = "STALE"
    DOWN = "DOWN"
    WARNINGS = "WARNINGS"
    # Selection: why a process is not moved, at all.
    NO_SUCH_PROCESS = "NO_SUCH_PROCESS"
    PID_REUSED = "PID_REUSED"
    KERNEL_THREAD = "KERNEL_THREAD"
    PROTECTED = "PROTECTED"
    SYSTEM_USER = "SYSTEM_USER"
    OTHER_USER = "OTHER_USER"
    NOT_YOURS = "NOT_YOURS"
    EXCLUDED = "EXCLUDED"
    INTERACTIVE = "INTERACTIVE"
    DAEMON = "DAEMON"
    SCHEDULER_CLIENT = "SCHEDULER_CLIENT"
    WORKFLOW_DRIVER = "WORKFLOW_DRIVER"
    FILE_TRANSFER = "FILE_TRANSFER"
    LISTENER = "LISTENER"
    CONTAINER = "CONTAINER"
    SET_ID = "SET_ID"
    STOPPED = "STOPPED"
    TRACED = "TRACED"
    OPTED_OUT = "OPTED_OUT"
    KEPT = "KEPT"
    TOO_YOUNG = "TOO_YOUNG"
    NOT_SIGNIFICANT = "NOT_SIGNIFICANT"
    OPEN_EDGE = "OPEN_EDGE"
    LOCKED = "LOCKED"
    CREDENTIALS = "CREDENTIALS"
    LICENCE = "LICENCE"
    REMOTE_CONNECTION = "REMOTE_CONNECTION"
    ARGV_REWRITTEN = "ARGV_REWRITTEN"
    UNREADABLE = "UNREADABLE"
    ALREADY_MOVING = "ALREADY_MOVING"
    QUARANTINED = "QUARANTINED"
    # Selection: why not in mode auto (the owner may still move it).
    SUPERVISED = "SUPERVISED"
    CRON = "CRON"
    SHELL_WAITING = "SHELL_WAITING"
    NOT_RESTART_SAFE = "NOT_RESTART_SAFE"
    LOSES_TOO_MUCH = "LOSES_TOO_MUCH"
    DOES_NOT_PAY = "DOES_NOT_PAY"
    # Preflight: what is missing at the target.
    NO_EXECUTABLE = "NO_EXECUTABLE"
    NO_DIRECTORY = "NO_DIRECTORY"
    NO_FILE = "NO_FILE"
    IDENTITY_MISMATCH = "IDENTITY_MISMATCH"
    TERMINAL = "TERMINAL"
    UNSUPPORTED_FD = "UNSUPPORTED_FD"
    TOO_LARGE = "TOO_LARGE"
    NO_STRATEGY = "NO_STRATEGY"
    # Placement.
    NO_TARGET = "NO_TARGET"
    TARGET_IS_HEAD = "TARGET_IS_HEAD"
    TARGET_UNKNOWN = "TARGET_UNKNOWN"
    TARGET_DOWN = "TARGET_DOWN"
    TARGET_DRAINING = "TARGET_DRAINING"
    TARGET_BUSY = "TARGET_BUSY"
    TARGET_FULL = "TARGET_FULL"
    TARGET_NOT_ALLOWED = "TARGET_NOT_ALLOWED"
    # Guard.
    CEILING = "CEILING"
    KILL_SWITCH = "KILL_SWITCH"
    PAUSED = "PAUSED"
    COOLDOWN = "COOLDOWN"
    BUDGET_NODE = "BUDGET_NODE"
    BUDGET_CLUSTER = "BUDGET_CLUSTER"
    BUDGET_HOUR = "BUDGET_HOUR"
    BUDGET_PROCESS = "BUDGET_PROCESS"
    BUDGET_USER = "BUDGET_USER"
    LOOK_BACK = "LOOK_BACK"
    RULE_PENDING = "RULE_PENDING"
    RULE_FALSE = "RULE_FALSE"
    RULE_UNKNOWN = "RULE_UNKNOWN"
    NO_CANDIDATE = "NO_CANDIDATE"
    # Hand-off.
    SUBMIT_FAILED = "SUBMIT_FAILED"
    HOLD_TIMEOUT = "HOLD_TIMEOUT"
    FREEZE_FAILED = "FREEZE_FAILED"
    ORIGINAL_GONE = "ORIGINAL_GONE"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    NOT_PROVEN = "NOT_PROVEN"
    LINK_LOST = "LINK_LOST"
    WATCHDOG_LOST = "WATCHDOG_LOST"
    FILES_CHANGED = "FILES_CHANGED"
    CANCELLED = "CANCELLED"
    DISABLED = "DISABLED"
    CONTROLLER_RESTARTED = "CONTROLLER_RESTARTED"
    JOURNAL_FAILED = "JOURNAL_FAILED"
    TIMEOUT = "TIMEOUT"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing in the way: its code, what was seen, and what would mend it (both are shown to people)."""

    reason: Reason
    seen: str
    remedy: str = ""


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
class Capacity:
    """An amount of every resource: needed, used, offered or reserved."""

    cores: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0
    gpu_memory_bytes: int = 0

    def __add__(self, other: Capacity) -> Capacity:
        return Capacity(
            self.cores + other.cores,
            self.memory_bytes + other.memory_bytes,
            self.gpus + other.gpus,
            self.gpu_memory_bytes + other.gpu_memory_bytes,
        )

    def __sub__(self, other: Capacity) -> Capacity:
        """What is left, never below nothing."""
        return Capacity(
            max(0.0, self.cores - other.cores),
            max(0, self.memory_bytes - other.memory_bytes),
            max(0, self.gpus - other.gpus),
            max(0, self.gpu_memory_bytes - other.gpu_memory_bytes),
        )

    def fits(self, within: Capacity) -> bool:
        """Whether this amount is available within the other one (a millicore of rounding is forgiven)."""
        return (
            self.cores <= within.cores + 1e-3
            and self.memory_bytes <= within.memory_bytes
            and self.gpus <= within.gpus
            and self.gpu_memory_bytes <= within.gpu_memory_bytes
        )


class ReservationKind(StrEnum):
    """What capacity is held for."""

    MOVE = "move"
    ALLOCATION = "allocation"
    BOOST = "boost"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Capacity of one node that is held for one holder (a move's or job's id); the ledger's entry."""

    id: str
    node: str
    amount: Capacity
    holder: str
    kind: ReservationKind
    created_t: float


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


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one node as Prometheus gave it, or why there is none to act on.

    Exactly one of `value` and `problem` is set. `age_s` is the age of the raw sample, not of the recorded one.
    """

    node: str
    value: float | None = None
    age_s: float | None = None
    problem: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as one tick sees it."""

    name: str
    role: Role
    up: bool
    draining: bool = False
    total: Capacity = Capacity()
    offer: Capacity | None = None  # None: it offers nothing now; `offer_reason` says why
    offer_reason: str = ""
    pressure: Mapping[Resource, Reading] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleSelect:
    """Which processes a rule may choose."""

    classes: tuple[ProcessClass, ...] = (
        ProcessClass.TRAINING,
        ProcessClass.INFERENCE,
        ProcessClass.DATA_PROCESSING,
        ProcessClass.COMPUTE,
        ProcessClass.IO,
        ProcessClass.BATCH,
        ProcessClass.UNKNOWN,
    )
    users: tuple[str, ...] = ()  # empty: every user that may be moved at all
    min_age_s: float = 60.0
    include: tuple[str, ...] = ()  # glob patterns on program or script base names; empty: all
    exclude: tuple[str, ...] = ()
    restart_safe: tuple[str, ...] = ()
    listeners: bool = False


@dataclass(frozen=True, slots=True)
class RuleMove:
    """How and where a rule may move what it chose."""

    strategies: tuple[StrategyName, ...] = (StrategyName.LIVE, StrategyName.CHECKPOINT, StrategyName.RESTART)
    backend: str = "ray"
    nodes: tuple[str, ...] = ()  # empty: every worker
    max_lost_work_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Rule:
    """An offload rule as the engine runs it. Threshold and relief are ratios; `expr` yields the value itself."""

    group: str
    name: str
    expr: str
    resource: Resource
    threshold: float
    relief: float
    for_s: float
    keep_firing_for_s: float = 0.0
    cooldown_s: float = 30.0
    interval_s: float = 5.0
    look_back_s: float = 0.0  # longest range that the value averages over, resolved through recording rules
    mode: Mode | None = None  # None: follows the ceiling
    when: str | None = None
    threshold_toggle: bool = True  # `auto --threshold` may replace the threshold
    select: RuleSelect = field(default_factory=RuleSelect)
    move: RuleMove = field(default_factory=RuleMove)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Group and name: unique among all loaded rules."""
        return f"{self.group}/{self.name}"


@dataclass(frozen=True, slots=True)
class Toggles:
    """What people switched: read at every tick and before every irreversible step."""

    ceiling: Mode = Mode.OBSERVE
    thresholds: Mapping[Resource, float] = field(default_factory=dict)  # ratios set by `auto --threshold`
    kill_switch: bool = False  # the file `disabled`: nothing moves, by hand neither


@dataclass(frozen=True, slots=True)
class Budgets:
    """How much may move, however many rules fire (safety.md, Budgets)."""

    starts_per_tick_and_node: int = 1
    in_flight_per_node: int = 2
    in_flight_per_user: int = 3
    in_flight: int = 5
    per_hour: int = 12
    process_interval_s: float = 600.0
    failures_to_quarantine: int = 2
    quarantine_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for every rule: whose processes may be touched at all, budgets, margins."""

    head: str
    own_uid: int
    min_uid: int = 1000
    multi_user: bool = False
    protected: tuple[str, ...] = ()  # program or script base names (globs) in addition to the built-in ones
    protected_users: tuple[str, ...] = ()  # accounts whose processes stay where they are
    licensed: tuple[str, ...] = ()  # programs that hold a node-bound licence
    budgets: Budgets = field(default_factory=Budgets)
    thresholds: Mapping[Resource, float] = field(
        default_factory=lambda: {Resource.CPU: 0.80, Resource.MEMORY: 0.70, Resource.GPU: 0.90}
    )  # pressure above which a target would itself be in trouble
    target_margin: float = 0.10
    stale_after_intervals: float = 3.0
    stale_cap_s: float = 180.0
    unknown_hold_s: float = 60.0  # how long unknown keeps a pending or firing state before it is reset
    initial_cooldown_s: float = 30.0


class MoveState(StrEnum):
    """The hand-off's journalled states, in their one order, and its three ends (safety.md, Hand-off)."""

    PLANNED = "planned"
    PREFLIGHTED = "preflighted"
    RESERVED = "reserved"
    QUEUED = "queued"
    HELD = "held"
    FROZEN = "frozen"
    SAVED = "saved"
    GO = "go"
    PROVEN = "proven"
    OWNING = "owning"
    OWNED = "owned"
    ENDED = "ended"
    DONE = "done"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in (MoveState.DONE, MoveState.ROLLED_BACK, MoveState.LOST)

    @property
    def committed(self) -> bool:
        """Whether the successor owns the work: from here there is no roll-back."""
        return self in (MoveState.OWNED, MoveState.ENDED, MoveState.DONE)


class JobState(StrEnum):
    """A job over its whole life."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    UNKNOWN = "unknown"


class AttemptState(StrEnum):
    """One place where a job ran or should have run. Unknown is an answer too: never success, never lost."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Completion:
    """How a process ended: its exit code, or the signal that ended it. Both None: not known."""

    exit_code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of a user's work over its whole life; `id` is a ULID."""

    id: str
    user: str
    uid: int
    name: str  # program or script base name, harmless to show
    created_t: float
    state: JobState = JobState.RUNNING
    completion: Completion = Completion()
    restart_safe: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """Epoch `epoch` of a job: where and as what it ran. Epoch 0 is the process that its user started."""

    job: str
    epoch: int
    node: str
    backend: str  # "local" for epoch 0
    submission_id: str | None
    pid: int | None
    state: AttemptState
    started_t: float
    ended_t: float | None = None
    completion: Completion = Completion()


@dataclass(frozen=True, slots=True)
class Move:
    """The hand-off from one attempt to the next. `id` is what people type: offload_<unix seconds>_<pid>."""

    id: str
    job: str
    from_epoch: int
    to_epoch: int
    identity: Identity
    source: str
    target: str
    strategy: StrategyName
    backend: str
    state: MoveState
    requested_by: int  # uid
    automatic: bool
    rule: str | None
    created_t: float
    updated_t: float
    submission_id: str | None = None
    reason: Reason | None = None
    detail: str = ""
    downtime_s: float | None = None


class DecisionKind(StrEnum):
    """What a decision says about one candidate, or about a rule as a whole."""

    MOVE = "move"  # to be done now
    WOULD_MOVE = "would_move"  # the mode forbids acting: observe records, advise tells, approve asks
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Decision:
    """One outcome of a tick with everything needed to explain it later."""

    kind: DecisionKind
    rule: str
    node: str
    mode: Mode
    value: float | None
    age_s: float | None
    threshold: float
    relief: float
    reason: Reason | None = None
    detail: str = ""
    candidate: Candidate | None = None
    target: str | None = None
    strategy: StrategyName | None = None
    expected_loss: float | None = None
    relieves: Mapping[Resource, float] = field(default_factory=dict)
    considered: tuple[tuple[int, Reason, str], ...] = ()  # pid, reason, what was seen: those not chosen


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one tick decides from. Nobody stores it."""

    now: float
    scrape_interval_s: float
    nodes: Mapping[str, NodeView]
    values: Mapping[tuple[str, str], Reading]  # (rule key, node) -> what `expr` gave
    whens: Mapping[tuple[str, str], Truth]  # (rule key, node) -> what `when` gave; absent: the rule has none
    candidates: tuple[Candidate, ...]
    toggles: Toggles
    moves: tuple[Move, ...] = ()  # not final ones, and those finished within the last hour
    reserved: Mapping[str, Capacity] = field(default_factory=dict)  # node -> sum of the ledger
    frozen_load: Mapping[Resource, float] = field(default_factory=dict)  # pressure that frozen originals would add
    kept: frozenset[int] = frozenset()  # pids whose owners said `keep`
    quarantined: frozenset[str] = frozenset()  # process names (user:name) that failed twice
