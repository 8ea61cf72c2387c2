"""Why something is not done: one word for CLI, metrics, logs and API."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Obstacle", "Reason"]


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
    NO_ROOM = "NO_ROOM"
    NO_STRATEGY = "NO_STRATEGY"
    NO_CHECKPOINT = "NO_CHECKPOINT"
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
    COOLDOWN = "COOLDOWN"
    BUDGET_NODE = "BUDGET_NODE"
    BUDGET_CLUSTER = "BUDGET_CLUSTER"
    BUDGET_HOUR = "BUDGET_HOUR"
    BUDGET_PROCESS = "BUDGET_PROCESS"
    BUDGET_USER = "BUDGET_USER"
    LOOK_BACK = "LOOK_BACK"
    NOTICE = "NOTICE"
    RULE_PENDING = "RULE_PENDING"
    RULE_FALSE = "RULE_FALSE"
    RULE_UNKNOWN = "RULE_UNKNOWN"
    NO_CANDIDATE = "NO_CANDIDATE"
    # Hand-off.
    SUBMIT_FAILED = "SUBMIT_FAILED"
    HOLD_TIMEOUT = "HOLD_TIMEOUT"
    FREEZE_FAILED = "FREEZE_FAILED"
    ORIGINAL_GONE = "ORIGINAL_GONE"
    NOT_SAVED = "NOT_SAVED"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    NOT_PROVEN = "NOT_PROVEN"
    LINK_LOST = "LINK_LOST"
    WATCHDOG_LOST = "WATCHDOG_LOST"
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
