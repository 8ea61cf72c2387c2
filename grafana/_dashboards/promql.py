"""Selectors for the dashboards' variables: every series is asked for by cluster, those of nodes by node as well."""

__all__ = ["IN_CLUSTER", "ON_NODE", "of_cluster", "of_node", "or_none", "or_zero", "ours", "touching"]

IN_CLUSTER = 'cluster=~"$cluster"'
ON_NODE = f'{IN_CLUSTER},node=~"$node"'


def of_node(name: str, *matchers: str) -> str:
    """Series of the chosen nodes."""
    return f"{name}{{{','.join((ON_NODE, *matchers))}}}"


def of_cluster(name: str, *matchers: str) -> str:
    """Series of the chosen clusters."""
    return f"{name}{{{','.join((IN_CLUSTER, *matchers))}}}"


def ours(name: str, *matchers: str) -> str:
    """The controller's series, named without their common prefix."""
    return of_cluster(f"grid_offloader_{name}", *matchers)


def touching(name: str, window: str = "", *matchers: str) -> str:
    """The controller's series of moves from or to the chosen nodes; with a window those that there were in it."""
    sides = (ours(name, f'{side}=~"$node"', *matchers) for side in ("source", "target"))
    return "({})".format(" or ".join(f"last_over_time({side}[{window}])" if window else side for side in sides))


def or_zero(expr: str) -> str:
    """An expression without labels, or 0 while a controller answers: without one all would look well."""
    return f"{expr} or {_answered(0)}"


def or_none(expr: str, value: int = 0, **labels: str) -> str:
    """An expression with labels; while it has no series and a controller answers, one of that value, so labelled."""
    none = _answered(value)
    for label, word in labels.items():
        none = f'label_replace({none}, "{label}", "{word}", "", "")'
    return f"{expr} or {none} unless on () {expr}"


def _answered(value: int) -> str:
    return f"{value} * max({ours('build_info')})"
