"""What people choose at the top of a dashboard, and what links are made of."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import VariableHide, VariableOption, VariableRefresh, VariableSort

from _dashboards.promql import of_cluster
from _dashboards.queries import SOURCE

__all__ = ["Variable", "chosen"]

Variable = dashboard.QueryVariable | dashboard.DatasourceVariable


def chosen(role: str = "") -> list[Variable]:
    """Data source, cluster, and nodes: those of one role, or all."""
    nodes = of_cluster("grid:up", *([f'role="{role}"'] if role else []))
    return [
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        # `.*` also takes series without the label.
        _several("cluster", "Cluster", "label_values(grid:up, cluster)").all_value(".*"),
        _several("node", "Node", f"label_values({nodes}, node)"),
        _page("status_page", "status"),
        _page("ray", "ray"),
    ]


def _several(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """All that the query finds, unless people choose."""
    everything = VariableOption(text=["All"], value=["$__all"], selected=True)
    variable = _asked(name, query).label(label).multi(True).include_all(True).current(everything)
    return variable.sort(VariableSort.NATURAL_ASC)


def _page(name: str, page: str) -> dashboard.QueryVariable:
    series = of_cluster("grid_offloader_page_info", f'page="{page}"')
    return _asked(name, f"label_values({series}, url)").hide(VariableHide.HIDE_VARIABLE)


def _asked(name: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).query(query).datasource(SOURCE)
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
