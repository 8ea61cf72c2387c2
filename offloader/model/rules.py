"""What people want: rules, budgets, policy, toggles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.classify import ProcessClass
from offloader.model.resources import Mode, Resource, StrategyName

__all__ = [
    "LICENCE_VARIABLES",
    "LICENSED",
    "Budgets",
    "CheckpointPattern",
    "Policy",
    "Rule",
    "RuleMove",
    "RuleSelect",
    "Toggles",
]


LICENSED = (
    *(
        "matlab",
        "MATLAB",
        "ansys*",
        "fluent",
        "cfx5*",
        "abaqus*",
        "comsol*",
        "nastran*",
        "lsdyna*",
        "starccm*",
        "vsim*",
    ),
    *("lmgrd", "lmutil", "rlm", "rlmutil", "sas", "stata*", "gurobi_cl", "cplex"),
)
"""Programs that hold a node-bound licence: base names, with wildcards."""

LICENCE_VARIABLES = ("*LM_LICENSE_FILE", "*LMD_LICENSE_FILE", "RLM_LICENSE", "*_rlm_LICENSE")
"""Names of variables, with wildcards, by which FlexLM and RLM lead a program to its licence."""


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
class CheckpointPattern:
    """How work of a kind is asked to save its state and end. `file`: its checkpoint, from the job's directory."""

    signal: int
    file: str | None = None
    grace_s: float = 60.0
    process_class: ProcessClass | None = None  # None: of every class
    programs: tuple[str, ...] = ()  # program or script base names (globs); empty: all


@dataclass(frozen=True, slots=True)
class RuleMove:
    """How and where a rule may move what it chose."""

    strategies: tuple[StrategyName, ...] = (StrategyName.LIVE, StrategyName.CHECKPOINT, StrategyName.RESTART)
    backend: str = "ray"
    nodes: tuple[str, ...] = ()  # empty: every worker
    max_lost_work_s: float = 600.0
    checkpoint: CheckpointPattern | None = None  # for jobs that do not say it themselves
    close_connections: bool = False  # of jobs that move live: established TCP with other hosts


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
    on_alert: tuple[str, ...] = ()  # names of alerts each of which stands in for `for` while it fires
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
    licensed: tuple[str, ...] = LICENSED
    licence_variables: tuple[str, ...] = LICENCE_VARIABLES
    credentials_bind: bool = True  # whether tickets and tokens of Kerberos, AFS and the kernel keep a job here
    checkpoints: tuple[CheckpointPattern, ...] = ()  # the first that fits a job that does not say it itself
    budgets: Budgets = field(default_factory=Budgets)
    thresholds: Mapping[Resource, float] = field(
        default_factory=lambda: {Resource.CPU: 0.80, Resource.MEMORY: 0.70, Resource.GPU: 0.90}
    )  # pressure above which a target would itself be in trouble
    target_margin: float = 0.10
    stale_after_intervals: float = 3.0
    stale_cap_s: float = 180.0
    unknown_hold_s: float = 60.0  # how long unknown keeps a pending or firing state before it is reset
    initial_cooldown_s: float = 30.0
    approval_s: float = 900.0  # how long a move that rules ask about waits for an answer
    notice_s: float = 60.0  # between telling a job's owner and moving it automatically
    notice_stall: float = 0.20  # share of time in which the head waits for memory, above which nobody is waited for
