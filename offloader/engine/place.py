"""Where a candidate may go: workers that are up, fresh, under their thresholds, and stay so with it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from offloader.engine.evaluate import data_problem
from offloader.engine.remedies import obstacle
from offloader.engine.schema import Target
from offloader.model import Capacity, NodeView, Obstacle, Policy, Reason, Resource, Role

__all__ = ["Demand", "place", "place_on", "predict", "shares", "usable"]


class Demand(Protocol):
    """What is to be placed: a candidate, or a job that has to start again and has no processes."""

    @property
    def node(self) -> str:
        """Where it runs, or was started."""

    @property
    def usage(self) -> Capacity:
        """What it used there."""

    @property
    def needs(self) -> Capacity:
        """What is reserved for it."""


def shares(amount: Capacity, total: Capacity) -> dict[Resource, float]:
    """What an amount is of a node's total, per resource that the node has and the amount holds (ratios)."""
    parts = {
        Resource.CPU: (amount.cores, total.cores),
        Resource.MEMORY: (amount.memory_bytes, total.memory_bytes),
        Resource.GPU: (amount.gpu_memory_bytes, total.gpu_memory_bytes),
    }
    return {resource: used / whole for resource, (used, whole) in parts.items() if used > 0 and whole > 0}


def place(
    candidate: Demand,
    nodes: Mapping[str, NodeView],
    reserved: Mapping[str, Capacity],
    policy: Policy,
    *,
    allowed: tuple[str, ...] = (),
    stale_after_s: float | None = None,
) -> Target | Obstacle:
    """The worker that would be the least loaded with this candidate, or NO_TARGET with why each kind of node is out.

    Args:
        candidate: What is to go.
        nodes: All nodes as this tick sees them.
        reserved: The ledger: what is taken of each node's offer.
        policy: The head, thresholds and margin of targets.
        allowed: Names of the only nodes to consider; empty: every worker.
        stale_after_s: Age at which a pressure is too old; None: the policy's cap.
    """
    targets: list[Target] = []
    refusals: list[Obstacle] = []
    for name in sorted(nodes):
        obstacles = place_on(candidate, name, nodes, reserved, policy, allowed=allowed, stale_after_s=stale_after_s)
        if obstacles:
            refusals.append(obstacles[0])
        else:
            targets.append(Target(name, predict(candidate, nodes[name], reserved.get(name, Capacity()))))
    if targets:
        return min(targets, key=lambda target: (target.highest, target.node))
    return obstacle(Reason.NO_TARGET, _summary(refusals))


def place_on(
    candidate: Demand,
    node_name: str,
    nodes: Mapping[str, NodeView],
    reserved: Mapping[str, Capacity],
    policy: Policy,
    *,
    allowed: tuple[str, ...] = (),
    stale_after_s: float | None = None,
) -> tuple[Obstacle, ...]:
    """Everything that speaks against this node as a target; empty: the candidate may go there."""
    node = nodes.get(node_name)
    if node is None:
        return (obstacle(Reason.TARGET_UNKNOWN, f"no node {node_name}"),)
    found = _unusable(node, policy, allowed, stale_after_s)
    if node_name == candidate.node:
        found.append(obstacle(Reason.TARGET_NOT_ALLOWED, f"it runs on {node_name} already"))
    taken = reserved.get(node_name, Capacity())
    found += _room(candidate, node, taken)
    if not found:
        found += _overload(candidate, node, taken, policy)
    return tuple(found)


def usable(
    nodes: Iterable[NodeView], policy: Policy, *, allowed: tuple[str, ...] = (), stale_after_s: float | None = None
) -> dict[str, NodeView]:
    """The nodes that could be a target of anything at all: what a tick asks first, once."""
    return {node.name: node for node in nodes if not _unusable(node, policy, allowed, stale_after_s)}


def predict(candidate: Demand, node: NodeView, taken: Capacity) -> dict[Resource, float]:
    """The node's pressures with the candidate on it.

    What the ledger holds comes on top of the present pressure: a move in flight does not show in it yet. For the short
    time in which it is in both, the node takes less than it could.
    """
    promised = shares(taken, node.total)
    added = shares(candidate.usage, node.total)
    found: dict[Resource, float] = {}
    for resource in _concerned(candidate):
        reading = node.pressure.get(resource)
        present = reading.value if reading is not None and reading.value is not None else 0.0
        found[resource] = present + promised.get(resource, 0.0) + added.get(resource, 0.0)
    return found


def _concerned(candidate: Demand) -> tuple[Resource, ...]:
    """A busy GPU does not keep work away that needs none; CPU and memory concern everything."""
    uses_gpu = candidate.usage.gpu_memory_bytes > 0 or candidate.needs.gpus > 0
    return (Resource.CPU, Resource.MEMORY, *((Resource.GPU,) if uses_gpu else ()))


def _unusable(node: NodeView, policy: Policy, allowed: tuple[str, ...], stale_after_s: float | None) -> list[Obstacle]:
    """What keeps everything from this node."""
    found: list[Obstacle] = []
    if node.role is Role.HEAD or node.name == policy.head:
        found.append(obstacle(Reason.TARGET_IS_HEAD, f"{node.name} is the head: work moves away from it"))
    if allowed and node.name not in allowed:
        found.append(obstacle(Reason.TARGET_NOT_ALLOWED, f"{node.name} is not among {', '.join(allowed)}"))
    if not node.up:
        found.append(obstacle(Reason.TARGET_DOWN, f"{node.name} does not answer"))
    if node.draining:
        found.append(obstacle(Reason.TARGET_DRAINING, f"{node.name} is draining"))
    if node.up:
        found += _stale(node, policy, stale_after_s)
    if node.offer is None:
        found.append(
            obstacle(Reason.TARGET_FULL, f"{node.name} offers nothing: {node.offer_reason or 'no reason given'}")
        )
    return found


def _stale(node: NodeView, policy: Policy, stale_after_s: float | None) -> list[Obstacle]:
    """CPU and memory must be known of any target; what it does not have (a GPU) is asked only of those who need it."""
    limit = policy.stale_cap_s if stale_after_s is None else stale_after_s
    found: list[Obstacle] = []
    for resource in (Resource.CPU, Resource.MEMORY):
        reading = node.pressure.get(resource)
        problem = Reason.NO_DATA if reading is None else data_problem(reading, limit)
        if problem is not None:
            found.append(obstacle(Reason.TARGET_UNKNOWN, f"{resource} pressure of {node.name}: {problem}"))
        elif reading is not None and reading.value is not None and reading.value >= policy.thresholds[resource]:
            seen = f"{resource} of {node.name} is at {reading.value:.0%}"
            found.append(obstacle(Reason.TARGET_BUSY, seen))
    return found


def _room(candidate: Demand, node: NodeView, taken: Capacity) -> list[Obstacle]:
    """Capacity = offer minus ledger."""
    if node.offer is None:
        return []
    free = node.offer - taken
    if candidate.needs.fits(free):
        return []
    return [obstacle(Reason.TARGET_FULL, f"{node.name} has {_words(free)} free, needed: {_words(candidate.needs)}")]


def _overload(candidate: Demand, node: NodeView, taken: Capacity, policy: Policy) -> list[Obstacle]:
    """What would be too much after the move; a total or pressure that is not known cannot be predicted."""
    predicted = predict(candidate, node, taken)
    known = {Resource.CPU: node.total.cores, Resource.MEMORY: node.total.memory_bytes}
    known[Resource.GPU] = node.total.gpu_memory_bytes
    found: list[Obstacle] = []
    for resource, value in predicted.items():
        limit = round(policy.thresholds[resource] * (1 - policy.target_margin), 9)
        reading = node.pressure.get(resource)
        if known[resource] <= 0 or reading is None or data_problem(reading, policy.stale_cap_s) is not None:
            found.append(obstacle(Reason.TARGET_UNKNOWN, f"{resource} of {node.name} is not known"))
        elif value >= limit:
            seen = f"{resource} of {node.name} would rise to {value:.0%}, {limit:.0%} is the limit"
            found.append(obstacle(Reason.TARGET_BUSY, seen))
    return found


def _words(amount: Capacity) -> str:
    parts = [f"{amount.cores:.2f} cores", f"{amount.memory_bytes / (1 << 30):.1f} GiB"]
    if amount.gpus:
        parts.append(f"{amount.gpus} GPU with {amount.gpu_memory_bytes / (1 << 30):.1f} GiB")
    return ", ".join(parts)


def _summary(refusals: list[Obstacle]) -> str:
    """How many nodes are out for which reason, with the first one of each."""
    away = [refusal for refusal in refusals if refusal.reason is not Reason.TARGET_IS_HEAD]
    if not away:
        return "there is no worker"
    counts = Counter(refusal.reason for refusal in away)
    first = {refusal.reason: refusal.seen for refusal in reversed(away)}
    return "; ".join(f"{count} x {reason} ({first[reason]})" for reason, count in sorted(counts.items()))
