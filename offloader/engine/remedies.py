"""What would mend a refusal, in words that a user can act on: one sentence or command per reason."""

from collections.abc import Mapping

from offloader.model import Obstacle, Reason

__all__ = ["REMEDIES", "obstacle"]

_OWN_MOVE = "its owner may move it: `grid-offloader move PID`, or start it with GRID_OFFLOAD=allow"
_PROMETHEUS = "check that Prometheus runs and answers: `grid-offloader status`"
_EXPORTER = (
    "check that the exporter of that node (grid-exporter, or the site's own) runs and that Prometheus scrapes it"
)
_BUDGET = "wait, or raise `budgets` in the configuration"

REMEDIES: Mapping[Reason, str] = {
    Reason.QUERY_FAILED: _PROMETHEUS,
    Reason.NO_DATA: _EXPORTER,
    Reason.NOT_A_NUMBER: "check the rule's `expr`: `grid-offloader rules check`",
    Reason.AMBIGUOUS: "let `expr` give one sample a node, by max or sum: `grid-offloader rules check`",
    Reason.STALE: _EXPORTER,
    Reason.DOWN: _EXPORTER,
    Reason.WARNINGS: _PROMETHEUS,
    Reason.NO_SUCH_PROCESS: "look it up again: `grid-offloader scan`",
    Reason.PID_REUSED: "look it up again: `grid-offloader scan`",
    Reason.KERNEL_THREAD: "nothing: it is a part of the kernel",
    Reason.PROTECTED: "nothing: the node, or this program, depends on it",
    Reason.SYSTEM_USER: "lower `min_uid` in the configuration if this account runs work",
    Reason.OTHER_USER: "the cluster is configured for one account: run the work as that one, or configure it for many",
    Reason.NOT_YOURS: "ask its owner or an admin",
    Reason.EXCLUDED: "change `select` of the rule, or move it by hand: `grid-offloader move PID`",
    Reason.INTERACTIVE: "nothing: somebody works in it",
    Reason.DAEMON: "nothing: others depend on it where it is",
    Reason.SCHEDULER_CLIENT: "nothing: it holds an allocation, a container or a connection",
    Reason.WORKFLOW_DRIVER: "let it submit its steps elsewhere, by its own profile for the scheduler",
    Reason.FILE_TRANSFER: "wait until it has ended",
    Reason.LISTENER: "allow it in the rule (`select: {listeners: true}`), or move it: `grid-offloader move PID`",
    Reason.CONTAINER: "move the whole container by its own tools",
    Reason.SET_ID: "nothing: it changes its privileges",
    Reason.STOPPED: "continue it first: `kill -CONT PID`",
    Reason.TRACED: "detach the debugger first",
    Reason.OPTED_OUT: "start it without GRID_OFFLOAD=never",
    Reason.KEPT: "its owner takes that back: `grid-offloader keep --release PID`",
    Reason.TOO_YOUNG: "wait, or move it by hand: `grid-offloader move PID`",
    Reason.NOT_SIGNIFICANT: "nothing: moving it would relieve nothing",
    Reason.OPEN_EDGE: "end the connection, or put both ends into one pipeline or process group",
    Reason.LOCKED: "let it release the lock first; its owner may move it where the target does not see that file",
    Reason.CREDENTIALS: "start it without them, or set `protect: {credentials: false}` where jobs do not need them",
    Reason.LICENCE: "take it out of `protect: {licensed, licence_variables}` if any node may take out that licence",
    Reason.REMOTE_CONNECTION: "end its connections to other hosts, or let a live move close them (`close_connections`)",
    Reason.ARGV_REWRITTEN: "nothing: it overwrote its command line, so it cannot be started again",
    Reason.UNREADABLE: "run the controller as its owner, or as root",
    Reason.ALREADY_MOVING: "follow it: `grid-offloader status`",
    Reason.QUARANTINED: "see why its moves failed: `grid-offloader status`; it may be moved by hand",
    Reason.SUPERVISED: _OWN_MOVE,
    Reason.CRON: _OWN_MOVE,
    Reason.SHELL_WAITING: _OWN_MOVE,
    Reason.NOT_RESTART_SAFE: _OWN_MOVE,
    Reason.LOSES_TOO_MUCH: "raise `max_lost_work` of the rule, or move it by hand: `grid-offloader move PID`",
    Reason.DOES_NOT_PAY: "nothing: the move would cost more than it gives",
    Reason.NO_STRATEGY: "allow another strategy in the rule (`move: {strategies: …}`)",
    Reason.NO_CHECKPOINT: "start it with GRID_OFFLOAD_CHECKPOINT_SIGNAL=USR1, and let it then save and exit with 85",
    Reason.NO_CRIU: "install CRIU 4.2 or newer on both nodes, and run the launcher there as root",
    Reason.NODES_DIFFER: "choose a node of the same kind, with the same versions",
    Reason.NOT_ONE_TREE: "start the job's parts below one process: `sh -c 'one | two'`",
    Reason.NO_TARGET: "free a worker, add one, or lower what it needs: `grid-offloader status`",
    Reason.TARGET_IS_HEAD: "choose a worker",
    Reason.TARGET_UNKNOWN: _EXPORTER,
    Reason.TARGET_DOWN: "start it, and its exporter",
    Reason.TARGET_DRAINING: "choose another worker, or end draining",
    Reason.TARGET_BUSY: "choose another worker, or wait",
    Reason.TARGET_FULL: "choose another worker, or wait",
    Reason.TARGET_NOT_ALLOWED: "choose another worker, or change `move: {nodes: …}` of the rule",
    Reason.CEILING: "let rules act: `grid-offloader auto --enable --mode auto`",
    Reason.KILL_SWITCH: "`grid-offloader auto --enable`; a file `disabled` that somebody else wrote is removed by hand",
    Reason.COOLDOWN: "wait",
    Reason.LOOK_BACK: "wait: averages still hold the time before the last move",
    Reason.NOTICE: "wait: its owner was told and may still object (`owners.notice` in the configuration)",
    Reason.APPROVAL: "say yes, `grid-offloader approve PID`, or no, `grid-offloader approve --decline PID`",
    Reason.DECLINED: "wait, or move it by hand: `grid-offloader move PID`",
    Reason.BUDGET_NODE: _BUDGET,
    Reason.BUDGET_CLUSTER: _BUDGET,
    Reason.BUDGET_HOUR: _BUDGET,
    Reason.BUDGET_PROCESS: "wait, or move it by hand: `grid-offloader move PID`",
    Reason.BUDGET_USER: _BUDGET,
    Reason.RULE_PENDING: "wait: `for` has not passed",
    Reason.RULE_FALSE: "nothing: there is no pressure",
    Reason.RULE_UNKNOWN: _PROMETHEUS,
    Reason.NO_CANDIDATE: "see why each is not moved: `grid-offloader scan --all`",
}


def obstacle(reason: Reason, seen: str) -> Obstacle:
    """An obstacle with its usual remedy."""
    return Obstacle(reason, seen, REMEDIES.get(reason, ""))
