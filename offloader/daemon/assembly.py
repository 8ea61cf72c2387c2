"""Putting the controller together: the only place that knows adapters. What is heavy (paramiko) is imported on use."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from offloader.adapters.capsules import CapsuleFiles
from offloader.adapters.channels.command import CommandChannel
from offloader.adapters.channels.file import FileChannel
from offloader.adapters.channels.terminal import TerminalChannel
from offloader.adapters.clock import SystemClock
from offloader.adapters.gather import gather
from offloader.adapters.journal.journal import Journal
from offloader.adapters.journal.statedir import check_state_dir
from offloader.adapters.newcomers import NewcomerSource
from offloader.adapters.origin import origin_of
from offloader.adapters.processes import ProcessSource
from offloader.adapters.prometheus import PrometheusSource
from offloader.backends import Backend, RayBackend
from offloader.config.load import find_config, load_cluster
from offloader.config.models import Cluster
from offloader.config.policy import policy
from offloader.config.policy import staging as staging_limits
from offloader.config.ruleset import load_cluster_rules, pressure_look_backs
from offloader.daemon.actuators import Actuator, RecordingActuator
from offloader.daemon.alerts import AlertLog, Alerts
from offloader.daemon.api.caller import Permissions
from offloader.daemon.blindness import BlindWatch
from offloader.daemon.controller import Controller, Parts
from offloader.daemon.decisions import DecisionLog
from offloader.daemon.desk import Desk
from offloader.daemon.experience import Experience
from offloader.daemon.hosts import agent_of
from offloader.daemon.incidents import IncidentLog
from offloader.daemon.keeps import Keeps
from offloader.daemon.metrics import Metrics
from offloader.daemon.owners import Owners
from offloader.daemon.placing import Placing
from offloader.daemon.problems import Trouble
from offloader.daemon.quarantine import Quarantine
from offloader.daemon.receipts import Receipts
from offloader.daemon.reload import Reloader
from offloader.daemon.setup import Setup
from offloader.daemon.snapshot import Observer
from offloader.daemon.ticker import Ticker
from offloader.daemon.toggles import Switches
from offloader.errors import ConfigError
from offloader.jobs.ids import UlidFactory
from offloader.model import Job, Move, MoveState, Reason, StrategyName
from offloader.moves.agent import Agent
from offloader.moves.incidents import Incident
from offloader.moves.likeness import Likeness
from offloader.moves.mover import Mover
from offloader.moves.plan import Timings
from offloader.moves.preflight import Preflight
from offloader.moves.staging import Staging
from offloader.moves.tools import Forbidden, Tools
from offloader.notify.alarm import Alarm
from offloader.notify.message import Message
from offloader.notify.post import Channel, Post
from offloader.notify.words import document as owner_document
from offloader.ports import MetricsSource
from offloader.strategies import STRATEGIES

__all__ = ["Assembled", "assemble", "load_setup", "make_observer", "metrics_source"]


_STRATEGIES = {strategy.name: strategy for strategy in STRATEGIES}


@dataclass(frozen=True, slots=True)
class Assembled:
    """A controller, ready to be started; `stack` closes everything in the right order."""

    setup: Setup
    controller: Controller
    ticker: Ticker
    desk: Desk
    metrics: Metrics
    reloader: Reloader
    receipts: Receipts
    alerts: Alerts
    stack: AsyncExitStack


def load_setup(file: Path | None) -> Setup:
    """Cluster file, rule files and policy. Raises ConfigError with every problem."""
    found = find_config(file)
    cluster = load_cluster(found)
    base = found.resolve().parent
    return Setup(found, cluster, load_cluster_rules(cluster, base), policy(cluster), pressure_look_backs(cluster, base))


def metrics_source(cluster: Cluster) -> PrometheusSource:
    """Prometheus as configured."""
    section = cluster.prometheus
    return PrometheusSource(section.url, token_file=section.bearer_token_file, deadline_s=section.timeout_s)


def make_observer(
    source: MetricsSource, journal: Any, keeps: Keeps, experience: Experience, alerts: AlertLog, *, acts: bool = True
) -> Observer:
    """The observer of this machine.

    Args:
        source: where numbers come from.
        journal: the store, or whatever answers for it in a look without a controller.
        keeps: what owners keep here.
        experience: what earlier moves say of estimates.
        alerts: which rules an alert hurries.
        acts: whether somebody acts on what is observed.
    """
    processes = ProcessSource(acts=acts)
    return Observer(
        partial(gather, source),
        lambda detail: processes.read(detail=detail),
        journal,
        keeps.until,
        experience,
        alerted=alerts.hurried,
    )


async def assemble(setup: Setup, *, record_only: bool) -> Assembled:
    """Open the journal and wire everything; nothing runs yet, except that moves left by a predecessor are known.

    Raises:
        JournalError: the state directory is unusable or taken.
        ConfigError: a secret's file or a group is missing.
    """
    cluster = setup.cluster
    state_dir = cluster.controller.state_dir
    check_state_dir(state_dir)
    permissions = Permissions(os.geteuid(), _group_id(cluster.controller.admin_group))
    stack = AsyncExitStack()
    try:
        journal = Journal(state_dir)
        stack.callback(journal.close)
        clock = SystemClock()
        switches = Switches(journal, state_dir)
        keeps = Keeps(journal, clock.time)
        experience = Experience(journal)
        alert_log = AlertLog(journal)
        source = metrics_source(cluster)
        stack.push_async_callback(source.close)
        agents = _agents(cluster, stack)
        backends = _backends(cluster)
        for backend in backends.values():
            stack.push_async_callback(backend.close)
        staging = Staging(agents, staging_limits(cluster))
        likeness = Likeness(agents, clock)
        stack.push_async_callback(likeness.close)
        likeness.watch(cluster.head.name)
        preflight = Preflight(agents, _STRATEGIES, backends, staging, likeness)
        recording = RecordingActuator(clock.time, preflight.best)
        hooks = _Hooks()
        decisions = DecisionLog(journal)
        incidents = IncidentLog(journal, decisions, Quarantine(journal), clock.time, hooks.quarantine_s)
        post = Post(_channels(cluster), hooks.told)  # closed after the mover: its last messages go out, too
        stack.push_async_callback(post.close)
        admins = Post(_admin_channels(cluster), hooks.admin_told)
        stack.push_async_callback(admins.close)
        records_only = "it was started with --record-only" if record_only else _missing_backend(cluster)
        acting: Actuator = recording
        if records_only is None:
            tools = Tools(
                store=journal,
                clock=clock,
                agents=agents,
                backends=backends,
                strategies=_STRATEGIES,
                capsules=CapsuleFiles(state_dir / "capsules"),
                forbidden=partial(_forbidden, (switches.forbidden, keeps.forbidden)),
                preflight=preflight,
                staging=staging,
                head=cluster.head.name,
                timings=Timings(history_s=cluster.controller.history_s),
                on_transition=hooks.transition,
                newcomers=NewcomerSource(),
                placer=Placing(lambda: hooks.controller),
                on_incident=partial(hooks.incident, incidents),
            )
            acting = _mover(tools, hooks, stack)
        parts = Parts(
            store=journal,
            clock=clock,
            observer=make_observer(source, journal, keeps, experience, alert_log, acts=not record_only),
            switches=switches,
            keeps=keeps,
            decisions=decisions,
            incidents=incidents,
            acting=acting,
            recording=recording,
            strategies=partial(_available, likeness, cluster.head.name),
            rehearse=recording.rehearse,
            records_only=records_only,
        )
        return _wired(
            setup=setup,
            parts=parts,
            permissions=permissions,
            post=post,
            admins=admins,
            experience=experience,
            alert_log=alert_log,
            hooks=hooks,
            stack=stack,
        )
    except BaseException:
        await stack.aclose()
        raise


_QUARANTINE_S = 3600.0


class _Hooks:
    """What the mover tells, to receivers that are made after it."""

    def __init__(self) -> None:
        self.metrics: Metrics | None = None
        self.controller: Controller | None = None
        self.owners: Owners | None = None
        self.receipts: Receipts | None = None

    def transition(self, move: Move, before: MoveState) -> None:
        """For metrics."""
        if self.metrics is not None:
            self.metrics.transition(move, before)

    def finished(self, move: Move) -> None:
        """For the engine: cooldowns, failures; for its owner; for its receipt."""
        if self.controller is not None:
            self.controller.finished(move)
        if self.owners is not None:
            self.owners.finished(move)
        if self.receipts is not None:
            self.receipts.finished()

    def incident(self, log: IncidentLog, incident: Incident) -> None:
        """For people; for the receipt of its move."""
        log(incident)
        if self.receipts is not None:
            self.receipts.incident(incident)

    def told(self, channel: str, kind: str, outcome: str) -> None:
        """For metrics."""
        if self.metrics is not None:
            self.metrics.told(channel, kind, outcome)

    def admin_told(self, channel: str, kind: str, outcome: str) -> None:
        """For metrics."""
        if self.metrics is not None:
            self.metrics.admin_told(channel, kind, outcome)

    def job_ended(self, job: Job) -> None:
        """For its owner."""
        if self.owners is not None:
            self.owners.job_ended(job)

    def quarantine_s(self) -> float:
        """By the configuration in force."""
        return self.controller.setup.policy.budgets.quarantine_s if self.controller is not None else _QUARANTINE_S


def _wired(
    *,
    setup: Setup,
    parts: Parts,
    permissions: Permissions,
    post: Post[Message],
    admins: Post[Alarm],
    experience: Experience,
    alert_log: AlertLog,
    hooks: _Hooks,
    stack: AsyncExitStack,
) -> Assembled:
    controller = Controller(setup, parts)

    async def tick() -> None:
        began = parts.clock.boottime()
        try:
            await controller.tick()
        finally:
            metrics.took(parts.clock.boottime() - began)

    def trouble() -> Trouble:
        return Trouble(ticker.beat, reloader.error)

    ticker = Ticker(tick, parts.clock, lambda: controller.setup.tick_interval_s)
    reloader = Reloader(controller, ticker, partial(load_setup, setup.file))
    metrics = Metrics(controller, trouble)
    controller.on_tick(metrics.ticked)
    controller.on_tick(BlindWatch(parts.store, admins).ticked)
    alerts = Alerts(controller, ticker, alert_log, metrics.alert)
    controller.on_begun(alerts.begun)
    stack.push_async_callback(alerts.close)
    if parts.records_only is None:  # nobody is told of what will not happen
        hooks.owners = Owners(controller, post, origin_of)
        controller.on_tick(hooks.owners.ticked)
        controller.on_begun(hooks.owners.begun)
    receipts = Receipts(controller, experience, metrics.receipt, metrics.lost)
    controller.on_begun(receipts.begun)
    hooks.metrics, hooks.controller, hooks.receipts = metrics, controller, receipts
    desk = Desk(controller, ticker, permissions, trouble, reloader.reload)
    return Assembled(setup, controller, ticker, desk, metrics, reloader, receipts, alerts, stack)


def _mover(tools: Tools, hooks: _Hooks, stack: AsyncExitStack) -> Mover:
    mover = Mover(tools, new_id=UlidFactory(tools.clock.time, os.urandom))
    mover.on_finished(hooks.finished)
    mover.on_job_ended(hooks.job_ended)
    stack.push_async_callback(mover.close)
    return mover


def _available(likeness: Likeness, head: str) -> tuple[StrategyName, ...]:
    """What is copied needs criu: where the head has none, nothing is planned with it."""
    return tuple(name for name, one in _STRATEGIES.items() if not one.copies or likeness.usable(head))


def _forbidden(asked: Iterable[Forbidden], move: Move | None) -> tuple[Reason, str] | None:
    """The first that forbids it."""
    return next((answer for one in asked if (answer := one(move)) is not None), None)


def _admin_channels(cluster: Cluster) -> tuple[Channel[Alarm], ...]:
    """How administrators are told what no alert can tell."""
    section = cluster.notify
    return (CommandChannel("notify.admin", section.admin, section.timeout_s, Alarm.to_json),) if section.admin else ()


def _channels(cluster: Cluster) -> tuple[Channel[Message], ...]:
    """How owners are told, besides by events: the one list of channels."""
    section = cluster.notify
    wanted: tuple[Channel[Message] | None, ...] = (
        TerminalChannel() if section.terminal else None,
        FileChannel(cluster.head.python) if section.file else None,
        CommandChannel("notify.owner", section.owner, section.timeout_s, owner_document) if section.owner else None,
    )
    return tuple(one for one in wanted if one is not None)


def _agents(cluster: Cluster, stack: AsyncExitStack) -> Mapping[str, Agent]:
    """A launcher per node; nothing is connected to before it is asked something."""
    return {node.name: agent_of(cluster, node, stack, verb_s=Timings().verb_s) for node in cluster.nodes}


def _missing_backend(cluster: Cluster) -> str | None:
    """Why nothing could be moved anywhere; None: there is a way."""
    if cluster.ray.token_file is None:
        return "`ray.token_file` is not set, and Ray is only used with token authentication"
    return None


def _backends(cluster: Cluster) -> Mapping[str, Backend]:
    section = cluster.ray
    if section.token_file is None:
        return {}
    return {"ray": RayBackend(section.address, section.token_file, timeout_s=section.timeout_s)}


def _group_id(name: str | None) -> int | None:
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError((f"controller.admin_group: there is no group {name} on this machine",)) from None
