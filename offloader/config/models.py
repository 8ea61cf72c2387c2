"""The cluster file as types, one class per section. Every key that people may write is a field here.

Field descriptions are the text of docs/configuration.md. Empty text as a default means "derived from something else";
`complete.py` fills it in, so that readers of a loaded `Cluster` never meet it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, field_validator

from exporter.classify import ProcessClass
from offloader import places
from offloader.config.checkpointing import CheckpointPatternSection
from offloader.config.fields import (
    Address,
    Alias,
    Argv,
    Count,
    Duration,
    Glob,
    LabelName,
    ListenAddress,
    LocalPath,
    Name,
    NodePath,
    NonEmpty,
    Pattern,
    Port,
    Ratio,
    Size,
    Strict,
    Url,
)
from offloader.config.managing import Manage
from offloader.model import DEFAULT_EXCLUDES, Role
from offloader.model.rules import LICENCE_VARIABLES, LICENSED

__all__ = [
    "AutoOffload",
    "BudgetsSection",
    "ClassPattern",
    "Cluster",
    "Controller",
    "CpuSharing",
    "GpuSharing",
    "Grafana",
    "MemorySharing",
    "Node",
    "Notify",
    "Owners",
    "Prometheus",
    "Protect",
    "Ray",
    "Share",
    "Sharing",
    "SharingThresholds",
    "Ssh",
    "Thresholds",
]


SOCKET_NAME = "control.sock"


class Ssh(Strict):
    """How to reach a node. What is not said here comes from the SSH client configuration."""

    host: str = Field("", description="host or alias in the SSH client configuration; default: the node's address")
    user: NonEmpty | None = Field(None, description="account to log in as")
    port: Port | None = Field(None, description="port of the SSH server")
    identity_file: LocalPath | None = Field(None, description="private key")
    known_hosts: LocalPath | None = Field(None, description="file with the host keys to accept; no other is accepted")
    config_file: LocalPath | None = Field(
        None, alias="config", description="SSH client configuration to use instead of ~/.ssh/config"
    )
    sudo: bool = Field(
        False, description="true: that account becomes root there by sudo, which must not ask for a password (NOPASSWD)"
    )


class Share(Strict):
    """What a worker lends at most. `share: false` lends nothing, `share: true` whatever it offers."""

    enabled: bool = Field(True, description="whether it lends at all")
    cores: Annotated[float, Field(ge=0)] | None = Field(None, description="at most so many cores")
    memory: Size | None = Field(None, description="at most so much memory")
    gpus: Count | None = Field(None, description="at most so many GPUs")


class Node(Strict):
    """One machine."""

    name: Name = Field(description="its name in commands, metrics and logs; Prometheus' label `node`")
    role: Annotated[Role, Field(strict=False)] = Field(description="`head` (exactly one) or `worker`")
    address: Address = Field(description="host name or IP address at which the other nodes reach it")
    aliases: tuple[Alias, ...] = Field(
        (), description="what else `prometheus.node_label` may call it, without a port, as in localhost"
    )
    ssh: Ssh = Field(Ssh(), description="how to reach it; the head itself is not reached by SSH")
    state_dir: NodePath = Field(
        "", description="directory on the node for launchers, capsules and logs; must be on a local disk; default: "
        "/var/lib/grid-offloader for root, else .local/state/grid-offloader in the SSH account's home"
    )  # fmt: skip
    python: NodePath = Field("/usr/bin/python3", description="Python (3.11 or newer) that runs the launcher there")
    criu: NodePath | None = Field(None, description="CRIU there, for live moves; default: what its PATH has")
    exporter_port: Port | None = Field(None, description="port of its exporter; default: `prometheus.exporter_port`")
    exporter_options: Argv = Field((), description="further options of its exporter, as in `--scope=cgroup`")
    ray_node_ip: str = Field("", description="its address as Ray knows it; default: `address`")
    ray_options: Argv = Field((), description="further options of `ray start` there, as in `--num-gpus=2`")
    labels: Mapping[LabelName, str] = Field({}, description="further labels of its Prometheus target")
    share: Share = Field(Share(), description="`true`, `false`, or the most it lends")
    draining: bool = Field(False, description="true: finishes what it has and gets nothing new")

    @field_validator("share", mode="before")
    @classmethod
    def _share_or_not(cls, value: object) -> object:
        return {"enabled": value} if isinstance(value, bool) else value


class Prometheus(Strict):
    """Where the numbers come from."""

    url: Url = Field("http://127.0.0.1:9090", description="base URL")
    bearer_token_file: LocalPath | None = Field(None, description="file with the token to send; mode 0600")
    timeout_s: Duration = Field(5.0, alias="timeout", gt=0, description="how long all of one answer may take")
    scrape_interval_s: Duration = Field(
        5.0, alias="scrape_interval", gt=0, description="how often Prometheus scrapes the exporters (its own "
        "configuration must say the same); older than three of these is stale"
    )  # fmt: skip
    exporter_port: Port = Field(9777, description="port of the exporters in the target file")
    node_label: LabelName = Field(
        "node", description="label of Prometheus' targets that says which node they are, by its name, address or an "
        "alias of it, with a port or without; `instance` fits most sites that run other exporters (sources.md)"
    )  # fmt: skip
    rule_files: tuple[NonEmpty, ...] = Field(
        (), description="recording rules that offload rules may use (paths with wildcards): their ranges count in the "
        "look-back check; default: the shipped ones"
    )  # fmt: skip


class Ray(Strict):
    """The Ray cluster that moved work runs on."""

    address: str = Field("", description="URL of Ray's dashboard; default: port 8265 on the head")
    token_file: LocalPath | None = Field(
        None, description="file with Ray's authentication token; mode 0600; default: `ray.token` in the controller's "
        "state directory, once `cluster start` has made one"
    )  # fmt: skip
    port: Port = Field(6379, description="port of Ray's control store on the head")
    node_port: Port = Field(6380, description="port of every node's own Ray")
    environment: Mapping[NonEmpty, str] = Field({}, description="further variables for Ray's processes")
    timeout_s: Duration = Field(10.0, alias="timeout", gt=0, description="how long one answer may take")


class Controller(Strict):
    """The controller on the head."""

    state_dir: LocalPath = Field(
        default_factory=places.state_dir, description="journal and capsules; must be on a local disk; default: "
        "/var/lib/grid-offloader for root, else ~/.local/state/grid-offloader"
    )  # fmt: skip
    runtime_dir: LocalPath = Field(
        default_factory=places.runtime_dir,
        description="directory of the socket; default: /run/grid-offloader for root, else below $XDG_RUNTIME_DIR",
    )
    socket: LocalPath = Field(
        default_factory=lambda data: data.get("runtime_dir", places.runtime_dir()) / SOCKET_NAME,
        description=f"the control socket; default: {SOCKET_NAME} in `runtime_dir`",
    )
    listen: ListenAddress = Field("127.0.0.1:9778", description="HOST:PORT for /metrics, health, status page, webhook")
    host_names: tuple[NonEmpty, ...] = Field(
        (), description="further names under which browsers reach `listen` (of a proxy, say), besides the head's own"
    )
    history_s: Duration = Field(
        90 * 86400.0, alias="history", gt=0, description="how long jobs that are over stay in the journal, with their "
        "moves; those whose end is still to come stay in any case"
    )  # fmt: skip
    admin_group: NonEmpty | None = Field(None, description="members may toggle and act for others, besides root")
    webhook_token_file: LocalPath | None = Field(
        None, description="file with the bearer token for the webhook and the actions on `listen`; mode 0600; without "
        "it both are closed"
    )  # fmt: skip


class Thresholds(Strict):
    """Pressure above which a node is in trouble: of rules that state none, and of targets."""

    cpu: Ratio = Field(0.80, description="share of the cores in use")
    memory: Ratio = Field(0.70, description="share of the memory in use")
    gpu: Ratio = Field(0.90, description="mean utilisation of the GPUs")


class AutoOffload(Strict):
    """When the controller acts by itself, once `auto --enable` has allowed it to."""

    thresholds: Thresholds = Field(Thresholds(), description="defaults per resource")
    check_interval_s: Duration = Field(5.0, alias="check_interval", gt=0, description="how often rules are evaluated")
    cooldown_s: Duration = Field(30.0, alias="cooldown", description="rest of a rule after a move")
    initial_cooldown_s: Duration = Field(
        30.0, alias="initial_cooldown", description="rest of all rules after a start or reload"
    )
    unknown_hold_s: Duration = Field(
        60.0, alias="unknown_hold", description="how long missing data holds a pending or firing rule before a reset"
    )
    approval_s: Duration = Field(
        900.0, alias="approval", gt=0, description="how long a move that rules ask about waits for an answer"
    )
    stale_after: Annotated[float, Field(ge=1)] = Field(3.0, description="scrape intervals after which data is stale")
    stale_cap_s: Duration = Field(180.0, alias="stale_cap", gt=0, description="age at which data is stale in any case")
    target_margin: Ratio = Field(0.10, description="how far below its own threshold a target must stay")
    rule_files: tuple[NonEmpty, ...] = Field(
        (), description="offload rules (paths with wildcards, from this file's directory); default: the shipped ones"
    )


class GpuSharing(Strict):
    """A GPU is lent when it is used less than this and has this much free."""

    max_used: Ratio = Field(0.20, description="below this utilisation")
    min_free: Size = Field(1_000_000_000, description="at least so much free memory")


class MemorySharing(Strict):
    """Memory is lent by a worker that uses less than this and has this much free."""

    max_used: Ratio = Field(0.50, description="below this share in use")
    min_free: Size = Field(2_000_000_000, description="at least so much free")


class CpuSharing(Strict):
    """Cores are lent by a worker that uses less than this and has this many free."""

    max_used: Ratio = Field(0.30, description="below this share in use")
    min_free: Annotated[float, Field(gt=0)] = Field(1.0, description="at least so many cores free (fractions allowed)")


class SharingThresholds(Strict):
    """Per resource."""

    gpu: GpuSharing = GpuSharing()
    memory: MemorySharing = MemorySharing()
    cpu: CpuSharing = CpuSharing()


class Sharing(Strict):
    """When a worker lends what it does not use."""

    thresholds: SharingThresholds = SharingThresholds()


class Protect(Strict):
    """What is never touched, besides what is built in (system daemons, shells, schedulers and the like)."""

    min_uid: Count = Field(1000, description="accounts below this uid are the system's")
    programs: tuple[Glob, ...] = Field((), description="program or script base names (wildcards)")
    licensed: tuple[Glob, ...] = Field(
        LICENSED, description="programs that hold a licence bound to the node (wildcards)"
    )
    licence_variables: tuple[Glob, ...] = Field(
        LICENCE_VARIABLES,
        description="variables whose presence in a job's environment says that it holds one (wildcards); `[]` where "
        "everybody's shell sets them, or any node may take out a licence",
    )
    credentials: bool = Field(
        True, description="whether Kerberos tickets, AFS tokens and the like keep a job on the head; false where jobs "
        "do not need them, or every node has them"
    )  # fmt: skip
    users: tuple[NonEmpty, ...] = Field((), description="accounts whose processes stay")


class BudgetsSection(Strict):
    """How much may move, however many rules fire."""

    starts_per_tick_and_node: Count = Field(1, description="moves started from one node per evaluation")
    in_flight_per_node: Count = Field(2, description="moves in flight from or to one node")
    in_flight_per_user: Count = Field(3, description="moves in flight of one user")
    in_flight: Count = Field(5, description="moves in flight altogether")
    per_hour: Count = Field(12, description="moves started in any hour")
    process_interval_s: Duration = Field(600.0, alias="process_interval", description="between moves of one process")
    failures_to_quarantine: Annotated[int, Field(ge=1)] = Field(2, description="failures until it is left alone")
    quarantine_s: Duration = Field(3600.0, alias="quarantine", description="for so long")


class ClassPattern(Strict):
    """Programs of one class of work. Asked before the built-in patterns; the first that matches decides."""

    process_class: Annotated[ProcessClass, Field(strict=False)] = Field(
        alias="class", description=f"one of {', '.join(ProcessClass)}"
    )
    names: tuple[NonEmpty, ...] = Field((), description="whole base names of programs, scripts or modules")
    words: tuple[NonEmpty, ...] = Field((), description="words in such names: `fit` is in fit_model.py, not in fitness")


class Owners(Strict):
    """What the owner of a job is asked before it is moved automatically, and how long he may keep it."""

    notice_s: Duration = Field(
        60.0,
        alias="notice",
        description="between telling the owner and moving his job; 0: moved at once, told afterwards",
    )
    notice_stall: Ratio = Field(
        0.20, description="share of time in which something waits for memory (PSI) above which nobody is waited for"
    )
    keep_s: Duration = Field(86400.0, alias="keep", gt=0, description="how long `keep` holds unless it says so itself")
    keep_max_s: Duration = Field(30 * 86400.0, alias="keep_max", gt=0, description="how long it may hold at most")


class Grafana(Strict):
    """Where people look at dashboards."""

    url: Url | None = Field(
        None, description="what `grid-offloader watch` opens; default: the controller's own status page"
    )


class Notify(Strict):
    """How owners are told what happened to their jobs, and administrators that the controller is blind."""

    terminal: bool = Field(True, description="on the terminal that the job was started from, unless it says `mesg n`")
    file: bool = Field(
        True,
        description="in a file: beside the job's log, else ~/.local/state/grid-offloader/messages.log of its owner",
    )
    owner: Argv = Field((), description="command and arguments (no shell); gets one JSON document on stdin")
    admin: Argv = Field(
        (), description="the same for administrators: called when Prometheus, hence every alert, is out of reach"
    )
    admin_after_s: Duration = Field(10 * 60.0, alias="admin_after", description="for so long")
    timeout_s: Duration = Field(10.0, alias="timeout", gt=0, description="how long these commands may take")


class StagingSection(Strict):
    """When a job's working directory is copied to a worker that does not share it; its results come back at its end."""

    enabled: bool = Field(True, description="whether, unless a move says `--stage` or `--no-stage`")
    max_size: Size = Field(2 << 30, description="at most so much in all")
    max_files: Count = Field(50_000, description="at most so many files, links and directories")
    max_file: Size = Field(1 << 30, description="no file larger than this")
    reserve: Size = Field(1 << 30, description="so much stays free where the copy lies, and where results come back")
    exclude: tuple[Pattern, ...] = Field(
        DEFAULT_EXCLUDES,
        description="what stays behind on both ways (patterns as in a .gitignore); replaces the default",
    )
    timeout_s: Duration = Field(600.0, alias="timeout", gt=0, description="how long one copy may take")
    catch_up_s: Duration = Field(
        30.0,
        alias="catch_up",
        gt=0,
        description="how long the original may be frozen while what it changed meanwhile is copied",
    )
    carry_deletions: bool = Field(False, description="true: what the job removed there is removed here, too")


class Cluster(Strict):
    """The cluster file."""

    name: Name = Field(alias="cluster", description="the cluster's name")
    multi_user: bool = Field(False, description="true: the controller runs as root and moves every user's work")
    nodes: tuple[Node, ...] = Field(min_length=1, description="the machines, exactly one of them the head")
    prometheus: Prometheus = Prometheus()
    ray: Ray = Ray()
    controller: Controller = Controller()
    auto_offload: AutoOffload = AutoOffload()
    sharing: Sharing = Sharing()
    protect: Protect = Protect()
    budgets: BudgetsSection = BudgetsSection()
    classes: tuple[ClassPattern, ...] = Field((), description="extra patterns for telling classes of work")
    checkpoints: tuple[CheckpointPatternSection, ...] = Field(
        (), description="how work is asked to save its state; the first that fits a job that does not say it itself"
    )
    staging: StagingSection = StagingSection()
    owners: Owners = Owners()
    notify: Notify = Notify()
    grafana: Grafana = Grafana()
    manage: Manage = Manage()

    @property
    def head(self) -> Node:
        """The one head; its pressure triggers, it is never a target."""
        return next(node for node in self.nodes if node.role is Role.HEAD)

    @property
    def workers(self) -> tuple[Node, ...]:
        """Destinations, in the order of the file."""
        return tuple(node for node in self.nodes if node.role is Role.WORKER)

    def node(self, name: str) -> Node | None:
        """The node of that name, if there is one."""
        return next((node for node in self.nodes if node.name == name), None)
