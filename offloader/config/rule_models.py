"""Offload rule files as types: what people write, one class per mapping. `rules.py` makes `model.Rule`s of it.

Field descriptions are the reference in docs/rules.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from exporter.classify import ProcessClass
from offloader.config.checkpointing import CheckpointSection
from offloader.config.fields import Duration, Glob, LabelName, Name, NonEmpty, Ratio, Strict
from offloader.model import Mode, Resource, RuleMove, RuleSelect, StrategyName

__all__ = ["GroupHeader", "MoveSection", "RuleEntry", "SelectSection"]

_Class = Annotated[ProcessClass, Field(strict=False)]
_Strategy = Annotated[StrategyName, Field(strict=False)]
_SELECT = RuleSelect()
_MOVE = RuleMove()


class SelectSection(Strict):
    """Which processes the rule may choose."""

    classes: tuple[_Class, ...] = Field(
        _SELECT.classes, min_length=1, description=f"classes of work: {', '.join(ProcessClass)}"
    )
    users: tuple[NonEmpty, ...] = Field((), description="only these users' processes; empty: of all that may be moved")
    min_age_s: Duration = Field(_SELECT.min_age_s, alias="min_age", description="only processes that ran for so long")
    include: tuple[Glob, ...] = Field((), description="only these program or script base names (wildcards); empty: all")
    exclude: tuple[Glob, ...] = Field((), description="never these")
    restart_safe: tuple[Glob, ...] = Field(
        (), description="these may be started again from the beginning without harm, however long they ran"
    )
    listeners: bool = Field(False, description="also processes that listen on a socket")


class MoveSection(Strict):
    """How and where the rule may move what it chose."""

    strategies: tuple[_Strategy, ...] = Field(
        _MOVE.strategies, min_length=1, description=f"ways to move, best first: {', '.join(StrategyName)}"
    )
    backend: Name = Field(_MOVE.backend, description="what runs moved work")
    nodes: tuple[Name, ...] = Field((), description="only to these workers; empty: to any")
    max_lost_work_s: Duration = Field(
        _MOVE.max_lost_work_s, alias="max_lost_work", description="most work that a move may throw away"
    )
    checkpoint: CheckpointSection | None = Field(None, description="how jobs save that do not say it themselves")
    close_connections: bool = Field(
        False,
        description="live moves may close TCP connections with other hosts; the program sees their end",
    )


class RuleEntry(Strict):
    """One rule."""

    offload: Name = Field(description="the rule's name, once in all files")
    expr: NonEmpty = Field(description="PromQL that yields the value itself, one per node: no comparison")
    when: NonEmpty | None = Field(None, description="further condition (PromQL); met where it yields a sample")
    resource: Annotated[Resource, Field(strict=False)] = Field(description=f"one of {', '.join(Resource)}")
    threshold: Ratio | None = Field(
        None, description="acts at this and above; default: that of the resource, which `auto --threshold` sets"
    )
    relief: Ratio | None = Field(
        None, description="goes on until below this; default: 15 (cpu), 10 (memory, gpu) points under the threshold"
    )
    for_s: Duration | None = Field(
        None, alias="for", description="how long above before it acts; default: 2m (cpu), 30s (memory), 10m (gpu)"
    )
    keep_firing_for_s: Duration = Field(
        0.0, alias="keep_firing_for", description="goes on firing for so long after relief"
    )
    on_alert: tuple[NonEmpty, ...] = Field(
        (), description="names of alerts; while Alertmanager says that one of them fires, `for` counts as served "
        "(alerting.md)"
    )  # fmt: skip
    cooldown_s: Duration | None = Field(
        None, alias="cooldown", description="rest after a move; default: `auto_offload.cooldown` (30s)"
    )
    mode: Annotated[Mode, Field(strict=False)] | None = Field(
        None, description=f"at most this: {', '.join(Mode)}; default: what `auto` allows"
    )
    select: SelectSection = SelectSection()
    move: MoveSection = MoveSection()
    labels: Mapping[LabelName, str] = Field({}, description="labels of its events and metrics")
    annotations: Mapping[LabelName, str] = Field({}, description="text for people")


class GroupHeader(Strict):
    """A group: rules that are evaluated together."""

    name: NonEmpty = Field(description="unique in its file")
    interval_s: Duration | None = Field(
        None, alias="interval", description="how often; default: `auto_offload.check_interval` (5s)"
    )
    rules: Any = Field((), description="the rules")
