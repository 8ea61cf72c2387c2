"""What the controller says about itself to Prometheus: everything with the prefix `grid_offloader_`.

Two kinds: what is counted as it happens, and what is read off the last view when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from offloader.config.models import Cluster
from offloader.config.series import SHARING_THRESHOLD
from offloader.daemon.controller import Controller, View
from offloader.daemon.problems import Trouble
from offloader.engine.evaluate import relief_for, threshold_for
from offloader.engine.schema import RulePhase
from offloader.model import Mode, Move, MoveState, Truth

__all__ = ["Metrics"]

_PREFIX = "grid_offloader"
_MOVE_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_TICK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """The controller's registry."""

    def __init__(self, controller: Controller, trouble: Callable[[], Trouble]) -> None:
        self._registry = CollectorRegistry()
        self._since: dict[str, float] = {}
        ProcessCollector(registry=self._registry)
        self._registry.register(_Views(controller, trouble))
        self._decisions = Counter(
            f"{_PREFIX}_decisions",
            "Decisions of rules, one per rule and tick; reason is none for those that act.",
            ["rule", "kind", "reason"],
            registry=self._registry,
        )
        self._moves = Counter(
            f"{_PREFIX}_moves",
            "Moves that ended.",
            ["outcome", "reason", "strategy", "automatic"],
            registry=self._registry,
        )
        self._moves_started = Counter(
            f"{_PREFIX}_moves_started", "Moves that were begun.", ["automatic"], registry=self._registry
        )
        self._state_seconds = Histogram(
            f"{_PREFIX}_move_state_seconds",
            "How long moves stayed in each state of the hand-off.",
            ["state"],
            buckets=_MOVE_BUCKETS,
            registry=self._registry,
        )
        self._move_seconds = Histogram(
            f"{_PREFIX}_move_seconds",
            "How long moves took from planned to their end.",
            ["outcome"],
            buckets=_MOVE_BUCKETS,
            registry=self._registry,
        )
        self._downtime = Histogram(
            f"{_PREFIX}_move_downtime_seconds",
            "How long the work of a completed move stood still.",
            buckets=_MOVE_BUCKETS,
            registry=self._registry,
        )
        self._tick_seconds = Histogram(
            f"{_PREFIX}_tick_seconds", "How long ticks took.", buckets=_TICK_BUCKETS, registry=self._registry
        )

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
            self._downtime.observe(move.downtime_s)


class _Views(Collector):
    """Gauges computed when they are asked for."""

    def __init__(self, controller: Controller, trouble: Callable[[], Trouble]) -> None:
        self._controller = controller
        self._trouble = trouble

    def collect(self) -> Iterable[Metric]:
        """Everything but counters of events."""
        yield _gauge("build_info", "Version of the controller.", ["version"], [([version("grid-offloader")], 1)])
        yield from self._toggles()
        yield from self._loop()
        yield from _sharing(self._controller.setup.cluster)
        yield from self._limits()
        yield from self._ledger()
        view = self._controller.view
        if view is not None:
            yield from _rules(view)
            yield from _nodes(view)

    def _toggles(self) -> Iterator[Metric]:
        toggles = self._controller.parts.switches.read()
        modes = [([mode.value], float(mode is toggles.ceiling)) for mode in Mode]
        yield _gauge("ceiling", "1 for the highest mode that rules may use.", ["mode"], modes)
        yield _gauge(
            "kill_switch", "1 while the file `disabled` stops every move.", [], [([], float(toggles.kill_switch))]
        )

    def _loop(self) -> Iterator[Metric]:
        trouble, beat = self._trouble(), self._trouble().beat
        for name, text, value in (
            ("ticks", "Ticks that were carried out.", beat.ticks),
            ("ticks_missed", "Ticks whose time passed while another one still ran.", beat.missed),
            ("ticks_failed", "Ticks that ended with an error of our own.", beat.failed),
        ):
            yield CounterMetricFamily(f"{_PREFIX}_{name}", text, value=value)
        yield _gauge("last_tick_timestamp_seconds", "When the last tick ended.", [], [([], beat.finished_t)])
        reloaded = float(trouble.reload_error is None)
        yield _gauge("config_last_reload_successful", "0 after a refused reload.", [], [([], reloaded)])
        degraded = self._controller.parts.store.degraded or self._controller.journal_error is not None
        yield _gauge("journal_degraded", "1 while the journal cannot be written.", [], [([], float(degraded))])

    def _limits(self) -> Iterator[Metric]:
        toggles = self._controller.parts.switches.read()
        rules = self._controller.setup.rules
        limits = [([rule.key, rule.resource.value], threshold_for(rule, toggles)) for rule in rules]
        yield _gauge("threshold_ratio", "Pressure that triggers the rule.", ["rule", "resource"], limits)
        reliefs = [([rule.key, rule.resource.value], relief_for(rule, threshold_for(rule, toggles))) for rule in rules]
        yield _gauge("relief_ratio", "Pressure at which the rule stops moving.", ["rule", "resource"], reliefs)

    def _ledger(self) -> Iterator[Metric]:
        store = self._controller.parts.store
        states = [state for state in MoveState if not state.final]
        active = store.moves(active=True)
        counts = [([state.value], float(sum(move.state is state for move in active))) for state in states]
        yield _gauge("moves_in_flight", "Moves by the state of their hand-off.", ["state"], counts)
        held = store.reserved()
        cores = [([node], amount.cores) for node, amount in held.items()]
        yield _gauge("reserved_cores", "Cores of a worker that the ledger holds.", ["node"], cores)
        memory = [([node], float(amount.memory_bytes)) for node, amount in held.items()]
        yield _gauge("reserved_memory_bytes", "Memory of a worker that the ledger holds.", ["node"], memory)


def _rules(view: View) -> Iterator[Metric]:
    states = [
        ([rule, node, phase.value], float(state.phase is phase))
        for (rule, node), state in view.state.rules.items()
        for phase in RulePhase
    ]
    yield _gauge("rule_state", "1 for the state that the rule is in.", ["rule", "node", "state"], states)
    unknown = [
        ([rule, node], float(state.last_truth is Truth.UNKNOWN)) for (rule, node), state in view.state.rules.items()
    ]
    yield _gauge("rule_unknown", "1 while the rule has no value to act on.", ["rule", "node"], unknown)
    values = [
        ([decision.rule, decision.node], decision.value) for decision in view.decisions if decision.value is not None
    ]
    yield _gauge("rule_value_ratio", "The rule's value as last seen.", ["rule", "node"], values)


def _nodes(view: View) -> Iterator[Metric]:
    ages = [([node], age) for node, age in view.measured.ages_s.items() if age is not None]
    yield _gauge("sample_age_seconds", "Age of the node's newest raw sample.", ["node"], ages)
    ups = [([node.name, node.role.value], float(node.up)) for node in view.snapshot.nodes.values()]
    yield _gauge("node_up", "1 when the node's data is fresh.", ["node", "role"], ups)


def _sharing(cluster: Cluster) -> Iterator[Metric]:
    """The recording rules for offers compare against these (config/series.py, SHARING_THRESHOLD)."""
    limits = cluster.sharing.thresholds
    samples: list[tuple[list[str], float | None]] = [
        (["cpu", "max_used"], limits.cpu.max_used),
        (["cpu", "min_free"], limits.cpu.min_free),
        (["memory", "max_used"], limits.memory.max_used),
        (["memory", "min_free"], float(limits.memory.min_free)),
        (["gpu", "max_used"], limits.gpu.max_used),
        (["gpu", "min_free"], float(limits.gpu.min_free)),
    ]
    text = "What a worker must have free to lend it: max_used as ratio, min_free in cores or bytes."
    yield _family(SHARING_THRESHOLD, text, ["resource", "kind"], samples)


def _gauge(
    name: str, text: str, labels: list[str], samples: Iterable[tuple[list[str], float | None]]
) -> GaugeMetricFamily:
    return _family(f"{_PREFIX}_{name}", text, labels, samples)


def _family(
    name: str, text: str, labels: list[str], samples: Iterable[tuple[list[str], float | None]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value)
    return family


def _yes(value: bool) -> str:
    return "yes" if value else "no"
