"""The one status document (docs/api.md): `status`, `auto --status`, `watch` and the status page all render it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from offloader.daemon.controller import Controller, View
from offloader.daemon.documents import (
    move_document,
    node_document,
    proposal_document,
    reading_document,
    without_private,
)
from offloader.daemon.problems import Trouble, problems_of
from offloader.daemon.runs import started_jobs
from offloader.daemon.serving import serving_story
from offloader.daemon.ticker import Beat
from offloader.daemon.toggles import thresholds_in_force
from offloader.engine.evaluate import relief_for, threshold_for
from offloader.engine.guard import effective_mode
from offloader.engine.schema import Proposal, RuleState
from offloader.jobs.store import Store
from offloader.model import Capacity, Decision, Mode, Move, Reading, Reason, Role, Rule, Toggles

__all__ = ["notice_documents", "proposal_documents", "rule_documents", "status_document"]

Document = dict[str, Any]

_RECENT = 10
_RECENT_S = 86400.0


def status_document(
    controller: Controller, trouble: Trouble, now: float, started_t: float, *, private: bool
) -> Document:
    """Everything an operator needs.

    Args:
        controller: whose last view is shown.
        trouble: the loop's beat and what else is wrong.
        now: Unix seconds.
        started_t: when the controller was started.
        private: whether the caller may see reasons about everybody's processes.
    """
    view, setup = controller.view, controller.setup
    toggles = controller.parts.switches.read()
    store = controller.parts.store
    in_flight = store.moves(active=True)
    recent = store.moves(active=False, since=now - _RECENT_S, limit=_RECENT)
    last = controller.parts.decisions.last
    return {
        "running": True,
        "version": version("grid-offloader"),
        "t": now,
        "controller": {
            "cluster": setup.cluster.name,
            "pid": os.getpid(),
            "started_t": started_t,
            "config": str(setup.file),
            "records_only": controller.parts.records_only,
        },
        "ceiling": toggles.ceiling.value,
        "enabled": toggles.ceiling is not Mode.OBSERVE and not toggles.kill_switch,
        "kill_switch": toggles.kill_switch,
        "thresholds": thresholds_in_force(setup.rules, toggles),
        "data": _data(view, trouble.beat, setup.tick_interval_s, setup.policy.head),
        "head": _head(view, setup.policy.head, setup.rules, toggles),
        "rules": rule_documents(view, setup.rules, toggles, setup.policy.head, private=private),
        "next": serving_story(controller, trouble, now, private=private).to_json(),
        "notices": notice_documents(view),
        "proposals": proposal_documents(controller.proposals(), private=private),
        "workers": _workers(view, store),
        "jobs": started_jobs(store, since=now - _RECENT_S, private=private),
        "moves_in_flight": [_move(store, move, private=private) for move in in_flight],
        "moves_recent": [_move(store, move, private=private) for move in recent],
        "last_decision": last if private or last is None else without_private(last),
        "problems": problems_of(controller, toggles, trouble, recent),
    }


def notice_documents(view: View | None) -> list[Document]:
    """Jobs whose owners were told that they are going to be moved, and may still object."""
    if view is None:
        return []
    return [
        {
            "pid": one.pid,
            "name": one.name,
            "user": one.user,
            "uid": one.uid,
            "rule": one.rule,
            "target": one.target,
            "strategy": one.strategy.value,
            "given_t": one.given_t,
            "left_s": round(one.left_s, 1),
        }
        for one in view.state.notices
        if one.open
    ]


def proposal_documents(waiting: Sequence[Proposal], *, private: bool, uid: int | None = None) -> list[Document]:
    """What waits for somebody's word. `private`: with what was seen of the jobs; `uid`: of that owner."""
    return [proposal_document(one, private=private) for one in waiting if uid in (None, one.uid)]


def rule_documents(
    view: View | None, rules: Sequence[Rule], toggles: Toggles, head: str, *, private: bool
) -> list[Document]:
    """Every rule with its state on the head."""
    decisions = {decision.rule: decision for decision in view.decisions} if view else {}
    states = view.state.rules if view else {}
    return [
        _rule(rule, states.get((rule.key, head)), decisions.get(rule.key), toggles, head, private=private)
        for rule in rules
    ]


def _rule(
    rule: Rule, state: RuleState | None, decision: Decision | None, toggles: Toggles, node: str, *, private: bool
) -> Document:
    threshold = threshold_for(rule, toggles)
    return {
        "key": rule.key,
        "group": rule.group,
        "name": rule.name,
        "node": node,
        "resource": rule.resource.value,
        "expr": rule.expr,
        "when": rule.when,
        "state": state.phase.value if state else "unknown",
        "since_t": state.phase_t if state else None,
        "truth": state.last_truth.value if state else "unknown",
        "value": decision.value if decision else None,
        "age_s": decision.age_s if decision else None,
        "threshold": threshold,
        "relief": relief_for(rule, threshold),
        "for_s": rule.for_s,
        "held_s": state.held_s if state else 0.0,
        "cooldown_s": rule.cooldown_s,
        "on_alert": list(rule.on_alert),
        "hurried": state.hurried if state else False,
        "mode": effective_mode(rule, toggles).value,
        "rule_mode": rule.mode.value if rule.mode else None,
        "decision": decision.kind.value if decision else None,
        "reason": decision.reason.value if decision and decision.reason else None,
        "detail": decision.detail if decision and (private or decision.candidate is None) else "",
        "annotations": dict(rule.annotations),
    }


def _data(view: View | None, beat: Beat, interval_s: float, head: str) -> Document:
    return {
        "age_s": view.measured.ages_s.get(head) if view else None,
        "tick_t": beat.finished_t,
        "tick_s": round(beat.took_s, 4),
        "interval_s": interval_s,
        "ticks": beat.ticks,
        "missed_ticks": beat.missed,
        "failed_ticks": beat.failed,
    }


def _head(view: View | None, name: str, rules: Sequence[Rule], toggles: Toggles) -> Document:
    node = view.snapshot.nodes.get(name) if view else None
    unknown = Reading(name, problem=Reason.NO_DATA, detail="nothing was read yet")
    readings = dict(node.pressure) if node else {rule.resource: unknown for rule in rules}
    by_resource = {rule.resource: rule for rule in reversed(rules)}
    pressure = {}
    for resource, reading in readings.items():
        rule = by_resource.get(resource)
        threshold = threshold_for(rule, toggles) if rule else None
        relief = relief_for(rule, threshold) if rule and threshold is not None else None
        pressure[resource.value] = {**reading_document(reading), "threshold": threshold, "relief": relief}
    return {"name": name, "up": node.up if node else False, "pressure": pressure}


def _workers(view: View | None, store: Store) -> list[Document]:
    if view is None:
        return []
    reserved = store.reserved()
    workers = (node for node in view.snapshot.nodes.values() if node.role is Role.WORKER)
    return [node_document(node, reserved.get(node.name, Capacity())) for node in workers]


def _move(store: Store, move: Move, *, private: bool) -> Document:
    return move_document(move, store.job(move.job), steps=store.timeline(move.id), private=private)
