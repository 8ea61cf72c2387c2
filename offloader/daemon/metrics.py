"""What the controller says about itself to Prometheus: what metric_table declares.

Two kinds: what is counted as it happens, and what is read off the last view when somebody asks.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from offloader.config.models import Cluster
from offloader.config.series import SHARING_THRESHOLD
from offloader.daemon import quarantine
from offloader.daemon.controller import Controller, View
from offloader.daemon.families import Sample, family, gauge
from offloader.daemon.metric_table import METRICS, PREFIX
from offloader.daemon.pages import pages
from offloader.daemon.problems import Trouble
from offloader.daemon.work_metrics import placed_jobs, work_metrics
from offloader.engine.evaluate import relief_for, threshold_for
from offloader.engine.schema import RulePhase
from offloader.jobs.store import Step
from offloader.model import Loss, Mode, Move, MoveState, Receipt, Truth

__all__ = ["Metrics"]

_ENDED = (MoveState.ENDED, MoveState.DONE)
_MOVE_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_WORK_BUCKETS = (1, 10, 60, 300, 600, 1800, 3600, 14_400, 86_400)
_BYTE_BUCKETS = (0, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11)
_TICK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """The controller's registry."""

    def __init__(self, controller: Controller, trouble: Callable[[], Trouble]) -> None:
        self._registry = CollectorRegistry()
        self._since: dict[str, float] = {}
        ProcessCollector(registry=self._registry)
        self._registry.register(_Views(controller, trouble))
        self._decisions = self._counter("decisions_total")
        self._moves = self._counter("moves_total")
        self._moves_started = self._counter("moves_started_total")
        for automatic in (False, True):  # from 0 on: increase() does not see a series' first value
            self._moves_started.labels(_yes(automatic))
        self._state_seconds = self._histogram("move_state_seconds", _MOVE_BUCKETS)
        self._move_seconds = self._histogram("move_seconds", _MOVE_BUCKETS)
        for outcome in (state for state in MoveState if state.final):
            self._move_seconds.labels(outcome.value)
        self._downtime = self._histogram("move_downtime_seconds", _MOVE_BUCKETS)
        self._work_lost = self._histogram("move_work_lost_seconds", _WORK_BUCKETS)
        self._later = self._histogram("later_work_lost_seconds", _WORK_BUCKETS)
        self._bytes = self._histogram("move_bytes", _BYTE_BUCKETS)
        self._owners_told = self._counter("owner_messages_total")
        self._webhook = self._counter("webhook_total")
        self._admin_told = self._counter("admin_messages_total")
        self._tick_seconds = self._histogram("tick_seconds", _TICK_BUCKETS)

    def _counter(self, name: str) -> Counter:
        declared = METRICS[PREFIX + name]
        return Counter(declared.family, declared.help, declared.labels, registry=self._registry)

    def _histogram(self, name: str, buckets: Sequence[float]) -> Histogram:
        declared = METRICS[PREFIX + name]
        return Histogram(declared.name, declared.help, declared.labels, buckets=buckets, registry=self._registry)

    def exposition(self) -> bytes:
        """Text format 0.0.4."""
        return generate_latest(self._registry)

    def ticked(self, view: View) -> None:
        """Count a tick's decisions."""
        for decision in view.decisions:
            reason = decision.reason.value if decision.reason else "none"
            self._decisions.labels(decision.rule, decision.kind.value, reason).inc()

    def took(self, seconds: float) -> None:
        """A tick ended."""
        self._tick_seconds.observe(seconds)

    def told(self, channel: str, kind: str, outcome: str) -> None:
        """A message to an owner went, or did not go, by a channel."""
        self._owners_told.labels(channel, kind, outcome).inc()

    def alert(self, outcome: str) -> None:
        """An alert was delivered, or a delivery refused."""
        self._webhook.labels(outcome).inc()

    def admin_told(self, _channel: str, kind: str, outcome: str) -> None:
        """A message to the administrators went, or did not go."""
        self._admin_told.labels(kind, outcome).inc()

    def transition(self, move: Move, before: MoveState) -> None:
        """A move went from one state to the next."""
        since = self._since.get(move.id, move.created_t)
        self._state_seconds.labels(before.value).observe(max(0.0, move.updated_t - since))
        if before is MoveState.PLANNED:
            self._moves_started.labels(_yes(move.automatic)).inc()
        if not move.state.final:
            self._since[move.id] = move.updated_t
            return
        self._since.pop(move.id, None)
        outcome, reason = move.state.value, move.reason.value if move.reason else "none"
        self._moves.labels(outcome, reason, move.strategy.value, _yes(move.automatic)).inc()
        self._move_seconds.labels(outcome).observe(max(0.0, move.updated_t - move.created_t))
        if move.state is MoveState.DONE and move.downtime_s is not None:
            self._downtime.labels(move.strategy.value).observe(move.downtime_s)

    def receipt(self, receipt: Receipt) -> None:
        """A receipt was written: what is exactly known of a move that was carried out."""
        if receipt.outcome is not MoveState.DONE:
            return
        for histogram, figure in ((self._work_lost, receipt.work_lost_s), (self._bytes, receipt.bytes_moved)):
            if figure.value is not None and not figure.at_most:
                histogram.labels(receipt.strategy.value).observe(figure.value)

    def lost(self, move: Move, loss: Loss) -> None:
        """A job lost work after that move."""
        if loss.work_lost_s.value is not None:
            self._later.labels(move.strategy.value).observe(loss.work_lost_s.value)


class _Views(Collector):
    """Gauges computed when they are asked for."""

    def __init__(self, controller: Controller, trouble: Callable[[], Trouble]) -> None:
        self._controller = controller
        self._trouble = trouble

    def collect(self) -> Iterable[Metric]:
        """Everything but counters of events."""
        yield gauge("build_info", [([version("grid-offloader")], 1)])
        yield gauge("page_info", [([page, url], 1) for page, url in pages(self._controller.setup.cluster).items()])
        yield from self._toggles()
        yield from self._loop()
        yield from _sharing(self._controller.setup.cluster)
        yield from self._limits()
        yield from self._ledger()
        yield from self._aftermath()
        view = self._controller.view
        if view is not None:
            yield from _rules(view)
            yield from _nodes(view)
            yield gauge("notices", [([], float(sum(one.open for one in view.state.notices)))])
            yield _corrections(view)

    def _toggles(self) -> Iterator[Metric]:
        toggles = self._controller.parts.switches.read()
        modes = [([mode.value], float(mode is toggles.ceiling)) for mode in Mode]
        yield gauge("ceiling", modes)
        yield gauge("kill_switch", [([], float(toggles.kill_switch))])
        waiting = sum(not one.approved for one in self._controller.proposals())
        yield gauge("proposals", [([], float(waiting))])

    def _loop(self) -> Iterator[Metric]:
        trouble, beat = self._trouble(), self._trouble().beat
        counts = {"ticks_total": beat.ticks, "ticks_missed_total": beat.missed, "ticks_failed_total": beat.failed}
        for name, value in counts.items():
            declared = METRICS[PREFIX + name]
            yield CounterMetricFamily(declared.family, declared.help, value=value)
        yield gauge("last_tick_timestamp_seconds", [([], beat.finished_t)])
        reloaded = float(trouble.reload_error is None)
        yield gauge("config_last_reload_successful", [([], reloaded)])
        degraded = self._controller.parts.store.degraded or self._controller.journal_error is not None
        yield gauge("journal_degraded", [([], float(degraded))])

    def _limits(self) -> Iterator[Metric]:
        toggles = self._controller.parts.switches.read()
        rules = self._controller.setup.rules
        limits = [([rule.key, rule.resource.value], threshold_for(rule, toggles)) for rule in rules]
        yield gauge("threshold_ratio", limits)
        reliefs = [([rule.key, rule.resource.value], relief_for(rule, threshold_for(rule, toggles))) for rule in rules]
        yield gauge("relief_ratio", reliefs)

    def _ledger(self) -> Iterator[Metric]:
        store = self._controller.parts.store
        states = [state for state in MoveState if not state.final]
        active = store.moves(active=True)
        counts = [([state.value], float(sum(move.state is state for move in active))) for state in states]
        yield gauge("moves_in_flight", counts)
        now = self._controller.parts.clock.time()
        frozen = [now - since for move in active if (since := _frozen_since(move, store.timeline(move.id))) is not None]
        yield gauge("frozen_seconds", [([], max([0.0, *frozen]))])
        held = store.reserved()
        cores = [([node], amount.cores) for node, amount in held.items()]
        yield gauge("reserved_cores", cores)
        memory = [([node], float(amount.memory_bytes)) for node, amount in held.items()]
        yield gauge("reserved_memory_bytes", memory)

    def _aftermath(self) -> Iterator[Metric]:
        parts = self._controller.parts
        states = Counted(one.state for one in placed_jobs(parts.store))
        yield gauge("jobs", [([state], float(states[state])) for state in ("running", "waiting", "out_of_reach")])
        counts = parts.incidents.counts()
        yield gauge("incidents", [([kind], float(count)) for kind, count in counts.items()])
        stored = parts.store.setting(quarantine.SETTING)
        names = quarantine.names_in_force(stored, parts.clock.time())
        yield gauge("quarantined", [([], float(len(names)))])
        yield from work_metrics(parts.store, parts.clock.time())


def _frozen_since(move: Move, steps: Sequence[Step]) -> float | None:
    """When the original was frozen, unless it has been ended since. A roll-back counts until it is over."""
    if move.state in _ENDED:
        return None
    return next((step.t for step in steps if step.state is MoveState.FROZEN), None)


def _rules(view: View) -> Iterator[Metric]:
    states = [
        ([rule, node, phase.value], float(state.phase is phase))
        for (rule, node), state in view.state.rules.items()
        for phase in RulePhase
    ]
    yield gauge("rule_state", states)
    unknown = [
        ([rule, node], float(state.last_truth is Truth.UNKNOWN)) for (rule, node), state in view.state.rules.items()
    ]
    yield gauge("rule_unknown", unknown)
    values = [
        ([decision.rule, decision.node], decision.value) for decision in view.decisions if decision.value is not None
    ]
    yield gauge("rule_value_ratio", values)


def _nodes(view: View) -> Iterator[Metric]:
    ages = [([node], age) for node, age in view.measured.ages_s.items() if age is not None]
    yield gauge("sample_age_seconds", ages)
    ups = [([node.name, node.role.value], float(node.up)) for node in view.snapshot.nodes.values()]
    yield gauge("node_up", ups)


def _corrections(view: View) -> Metric:
    """Of strategies as a whole, where there is something to correct by."""
    known = [(key[0].value, one) for key, one in view.snapshot.corrections.items() if key[1] is None]
    lost = [([name, "work_lost"], one.work_lost) for name, one in known if one.work_lost_samples]
    stop = [([name, "downtime"], one.downtime) for name, one in known if one.downtime_samples]
    return gauge("estimate_correction_ratio", [*lost, *stop])


def _sharing(cluster: Cluster) -> Iterator[Metric]:
    """The recording rules for offers compare against these (config/series.py, SHARING_THRESHOLD)."""
    limits = cluster.sharing.thresholds
    samples: list[Sample] = [
        (["cpu", "max_used"], limits.cpu.max_used),
        (["cpu", "min_free"], limits.cpu.min_free),
        (["memory", "max_used"], limits.memory.max_used),
        (["memory", "min_free"], float(limits.memory.min_free)),
        (["gpu", "max_used"], limits.gpu.max_used),
        (["gpu", "min_free"], float(limits.gpu.min_free)),
    ]
    yield family(METRICS[SHARING_THRESHOLD], samples)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
