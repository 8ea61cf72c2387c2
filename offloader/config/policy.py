"""From the cluster file to what the domain works with."""

from __future__ import annotations

import os

from exporter.classify import DEFAULT_PATTERNS, Pattern
from offloader.config.models import Cluster
from offloader.model import Budgets, CheckpointPattern, Policy, Resource, StagingLimits

__all__ = ["patterns", "policy", "staging", "thresholds"]


def thresholds(cluster: Cluster) -> dict[Resource, float]:
    """The thresholds of rules that state none, and of targets."""
    limits = cluster.auto_offload.thresholds
    return {Resource.CPU: limits.cpu, Resource.MEMORY: limits.memory, Resource.GPU: limits.gpu}


def policy(cluster: Cluster, *, own_uid: int | None = None) -> Policy:
    """What holds for every rule. `own_uid`: the controller's account, this process' by default."""
    auto, limits = cluster.auto_offload, cluster.budgets
    return Policy(
        head=cluster.head.name,
        own_uid=os.geteuid() if own_uid is None else own_uid,
        min_uid=cluster.protect.min_uid,
        multi_user=cluster.multi_user,
        protected=cluster.protect.programs,
        protected_users=cluster.protect.users,
        licensed=cluster.protect.licensed,
        licence_variables=cluster.protect.licence_variables,
        credentials_bind=cluster.protect.credentials,
        checkpoints=tuple(
            CheckpointPattern(one.signal, one.file, one.grace_s, one.process_class, one.programs)
            for one in cluster.checkpoints
        ),
        budgets=Budgets(
            starts_per_tick_and_node=limits.starts_per_tick_and_node,
            in_flight_per_node=limits.in_flight_per_node,
            in_flight_per_user=limits.in_flight_per_user,
            in_flight=limits.in_flight,
            per_hour=limits.per_hour,
            process_interval_s=limits.process_interval_s,
            failures_to_quarantine=limits.failures_to_quarantine,
            quarantine_s=limits.quarantine_s,
        ),
        thresholds=thresholds(cluster),
        target_margin=auto.target_margin,
        stale_after_intervals=auto.stale_after,
        stale_cap_s=auto.stale_cap_s,
        unknown_hold_s=auto.unknown_hold_s,
        initial_cooldown_s=auto.initial_cooldown_s,
        approval_s=auto.approval_s,
        notice_s=cluster.owners.notice_s,
        notice_stall=cluster.owners.notice_stall,
    )


def staging(cluster: Cluster) -> StagingLimits:
    """What may be copied of a working directory."""
    section = cluster.staging
    return StagingLimits(
        enabled=section.enabled,
        max_bytes=section.max_size,
        max_files=section.max_files,
        max_file_bytes=section.max_file,
        reserve_bytes=section.reserve,
        excludes=section.exclude,
        copy_s=section.timeout_s,
        catch_up_s=section.catch_up_s,
        carry_deletions=section.carry_deletions,
    )


def patterns(cluster: Cluster) -> tuple[Pattern, ...]:
    """What tells classes of work: the cluster's own patterns, then the built-in ones."""
    own = tuple(Pattern(entry.process_class, _lowered(entry.names), _lowered(entry.words)) for entry in cluster.classes)
    return own + DEFAULT_PATTERNS


def _lowered(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.lower() for word in words)
