"""Panels of the kinds that the dashboards use, each with what a reader needs: a title, a sentence and a unit."""

from collections.abc import Mapping
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, gauge, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

from _dashboards.queries import SOURCE, last, over_time

__all__ = ["Asked", "bars", "dial", "framed", "level", "limit", "lines", "number", "phases", "steps", "words"]

Asked = tuple[str, str]
"""PromQL, and its legend."""

Panel = TypeVar("Panel", bargauge.Panel, gauge.Panel, stat.Panel, statetimeline.Panel, table.Panel, timeseries.Panel)


def framed(panel: Panel, title: str, text: str, unit: str, *, width: int, height: int = 8) -> Panel:
    """What every panel has. Width is in 24ths of the dashboard's, height in its rows."""
    panel.title(title).description(text).datasource(SOURCE).span(width).height(height)
    return panel.unit(unit)


def number(title: str, text: str, unit: str, asked: Asked, *, width: int = 3) -> stat.Panel:
    """One present value, large."""
    panel = framed(stat.Panel(), title, text, unit, width=width, height=4)
    panel.targets([*last(asked)]).reduce_options(_newest()).graph_mode(shapes.BigValueGraphMode.NONE)
    return panel.thresholds(steps("text")).color_mode(shapes.BigValueColorMode.VALUE)


def level(title: str, text: str, unit: str, *asked: Asked, width: int) -> bargauge.Panel:
    """Bars side by side."""
    panel = framed(bargauge.Panel(), title, text, unit, width=width)
    panel.targets([*last(*asked)]).reduce_options(_newest()).min(0).thresholds(steps("blue"))
    return panel.display_mode(shapes.BarGaugeDisplayMode.BASIC).orientation(shapes.VizOrientation.HORIZONTAL)


def dial(title: str, text: str, asked: str, threshold: str, *, width: int) -> gauge.Panel:
    """A share of something, red from its threshold on: a number that Prometheus has, too.

    The second query's value becomes the panel's threshold by the transformation "Config from query results"
    (https://grafana.com/docs/grafana/latest/panels-visualizations/query-transform-data/transform-data/).
    """
    panel = framed(gauge.Panel(), title, text, "percentunit", width=width, height=6)
    panel.targets([*last((asked, title), (threshold, "threshold"))]).min(0).max(1).decimals(0)
    panel.with_transformation(
        DataTransformerConfig(
            id_val="configFromData",
            options={
                "configRefId": "B",
                "mappings": [{"fieldName": "threshold", "handlerKey": "threshold1", "reducerId": "lastNotNull"}],
            },
        )
    )
    return panel.reduce_options(_newest()).show_threshold_markers(True).thresholds(steps("green"))


def lines(title: str, text: str, unit: str, *asked: Asked, width: int = 12, stacked: bool = False) -> timeseries.Panel:
    """Values over time, from 0 on."""
    panel = framed(timeseries.Panel(), title, text, unit, width=width)
    panel.targets([*over_time(*asked)]).axis_soft_min(0).fill_opacity(30 if stacked else 5)
    panel.legend(_legend()).tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI))
    if stacked:
        panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    return panel.show_points(shapes.VisibilityMode.NEVER)


def bars(title: str, text: str, unit: str, *asked: Asked, width: int = 12) -> timeseries.Panel:
    """What happened in each interval, a minute at least."""
    panel = lines(title, text, unit, *asked, width=width, stacked=True).interval("1m").fill_opacity(80)
    return panel.draw_style(shapes.GraphDrawStyle.BARS)


def limit(panel: timeseries.Panel, legend: str, color: str) -> timeseries.Panel:
    """The same graph, with that line drawn as a limit: dashed, thin, not filled."""
    dashes = {"dash": [10, 10], "fill": "dash"}
    return panel.override_by_name(
        legend,
        [
            DynamicConfigValue("custom.lineStyle", dashes),
            DynamicConfigValue("custom.fillOpacity", 0),
            DynamicConfigValue("custom.stacking", {"group": False, "mode": "none"}),
            DynamicConfigValue("color", {"mode": FieldColorModeId.FIXED, "fixedColor": color}),
        ],
    )


def phases(
    title: str, text: str, named: Mapping[int, tuple[str, str]], *asked: Asked, width: int = 12
) -> statetimeline.Panel:
    """States over time. `named`: value → (word, color)."""
    panel = framed(statetimeline.Panel(), title, text, "none", width=width)
    panel.targets([*over_time(*asked)]).mappings(words(named)).merge_values(True).row_height(0.8)
    return panel.show_value(shapes.VisibilityMode.AUTO).legend(_legend()).thresholds(steps("text"))


def words(named: Mapping[int, tuple[str, str]]) -> list[ValueMapping]:
    """Values as words: value → (word, color)."""
    results = {
        str(value): ValueMappingResult(text=word, color=color, index=index)
        for index, (value, (word, color)) in enumerate(named.items())
    }
    return [ValueMap(options=results)]


def steps(first: str, *more: tuple[float, str]) -> builders.ThresholdsConfig:
    """Colors: of everything, and from each value on."""
    made = [Threshold(None, first), *(Threshold(value, color) for value, color in more)]
    return builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def _newest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.LIST).show_legend(True)
    return legend.placement(shapes.LegendPlacement.BOTTOM).calcs([])
