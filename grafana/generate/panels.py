"""Panels in one house style, through the builders of the Grafana Foundation SDK.

A panel is one call. Datasource, colours, legends and what an empty panel says come from here, so all panels are alike.
"""

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table as tables,
    timeseries,
)
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models import prometheus as queries

from queries import BY, LEGEND, PROBE, increase, quantile

WIDTH = 24
DATASOURCE = kinds.DataSourceRef(type_val="prometheus", uid="${datasource}")
TOKENS_PER_SECOND = "suffix:tok/s"

# Fast cadences are seen at the scrape interval, slow ones still have some runs in every point.
MIN_INTERVAL = "2m"

# A share of failed runs from these on is worth a look, or a worry. They only colour; what pages is the alerts' business.
WORTH_A_LOOK, WORTH_A_WORRY = 0.01, 0.05


def target(expr, legend=LEGEND, ref="A", instant=False, exemplar=False, rows=False, buckets=False):
    """A query over time, or of now. `rows`: as a table; `buckets`: as a heatmap."""
    query = prometheus.Dataquery().datasource(DATASOURCE).editor_mode(queries.QueryEditorMode.CODE)
    query = query.expr(expr).legend_format(legend).ref_id(ref)
    if rows or buckets:
        query = query.format(queries.PromQueryFormat.TABLE if rows else queries.PromQueryFormat.HEATMAP)
    if exemplar:
        query = query.exemplar(True)
    return query.instant() if instant or rows else query.range()


def lettered(targets):
    """Lists of (query, legend) as the queries A, B, C…"""
    return [target(expr, legend, chr(ord("A") + position)) for position, (expr, legend) in enumerate(targets)]


def common_to(panel, title, description, targets, width, height):
    assert description.endswith("."), title
    panel = panel.title(title).description(description).datasource(DATASOURCE).interval(MIN_INTERVAL)
    return panel.targets(targets).span(width).height(height)


def fixed(color):
    return dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color(color)


def steps(base, *rising):
    """Thresholds: the colour below all of them, then (from, colour) in rising order."""
    listed = [models.Threshold(value=None, color=base)]
    listed += [models.Threshold(value=value, color=color) for value, color in rising]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(listed)


def higher_is_worse(look, worry, base="text"):
    return steps(base, (look, "orange"), (worry, "red"))


def words(**named):
    """Numbers as words: `words(failed=(0, "red"))`."""
    options = {
        str(value): models.ValueMappingResult(text=word.replace("_", " "), color=color, index=index)
        for index, (word, (value, color)) in enumerate(named.items())
    }
    return models.ValueMap(options=options)


OUTCOME = words(failed=(0, "red"), ok=(1, "transparent"))
PROGRESS = words(
    unknown=(0, "transparent"), idle=(1, "transparent"), busy=(2, "transparent"), stalled=(3, "orange"), dead=(4, "red")
)
# The same where a state stands alone.
STATE = words(unknown=(0, "text"), idle=(1, "blue"), busy=(2, "green"), stalled=(3, "orange"), dead=(4, "red"))
# Colours of the states over time, what is bad at the bottom of the stack, where it is steady.
STATE_COLORS = {"dead": "red", "stalled": "orange", "unknown": "gray", "busy": "green", "idle": "blue"}


def overridden(panel, name, properties):
    """What is different for one column or series; `__` in a property's name stands for a dot."""
    listed = [models.DynamicConfigValue(key.replace("__", "."), plain(value)) for key, value in properties.items()]
    return panel.override_by_name(name, listed)


def plain(value):
    """The value of an override: the SDK takes builders everywhere but there."""
    return value.build() if hasattr(value, "build") else value


def lines(
    title,
    description,
    unit,
    targets,
    width=8,
    height=9,
    stacked=False,
    bars=False,
    colors=None,
    no_value=None,
    soft_max=None,
    limits=None,
    signed=False,
    exemplars=False,
    magnitudes=False,
):
    """Numbers over time. The axis reaches up to `soft_max` at least, so that a tiny number does not look like a mountain,
    and down to zero at least; below it only where the numbers are `signed`. `limits` are drawn as lines.

    The colour follows the position of a series, and every panel lists the probes in the same order, those without a
    number included: so a probe has one colour everywhere. Colours that follow the name gave three of eight probes the
    same orange. `magnitudes`: a logarithmic axis from 1 on, for what is small as a rule and huge at times.
    """
    if isinstance(targets, str):
        targets = [target(targets, exemplar=exemplars)]
    panel = common_to(timeseries.Panel(), title, description, targets, width, height)
    panel = panel.unit(unit).color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
    panel = panel.draw_style(kinds.GraphDrawStyle.BARS if bars else kinds.GraphDrawStyle.LINE)
    panel = panel.line_width(1).fill_opacity(60 if stacked else 0)
    # A probe is not there between its runs; joining the points of one that stopped would invent data.
    panel = panel.show_points(kinds.VisibilityMode.AUTO).span_nulls(False)
    mode = kinds.StackingMode.NORMAL if stacked else kinds.StackingMode.NONE
    panel = panel.stacking(common.StackingConfig().mode(mode).group("A"))
    panel = panel.axis_soft_min(0) if signed else panel.min(0)
    if soft_max:
        panel = panel.axis_soft_max(soft_max)
    if magnitudes:
        scale = common.ScaleDistributionConfig().type(kinds.ScaleDistribution.SYMLOG).log(10).linear_threshold(1)
        panel = panel.scale_distribution(scale)
    if limits:
        panel = panel.thresholds(limits)
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED))
    # A list: a table has room for three names, and its numbers are in the table of targets and in the tooltip.
    legend = common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.LIST)
    panel = panel.legend(legend.placement(kinds.LegendPlacement.BOTTOM).show_legend(True))
    tooltip = common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI)
    panel = panel.tooltip(tooltip.sort(kinds.SortOrder.DESCENDING)).no_value(no_value or "no data")
    for name, color in (colors or {}).items():
        panel = overridden(panel, name, {"color": fixed(color)})
    return panel


def table(title, description, labels, columns, sort_by, width=WIDTH, height=10, no_value="no data", only_labels=False):
    """One row per set of labels: these, then one column per (name, query, properties); sorted by (name, descending). The
    columns are not shown where they are of no interest, as the 1 of facts is.
    """
    references = [chr(ord("A") + position) for position in range(len(columns))]
    targets = [
        target(expr, legend=name, ref=reference, rows=True)
        for reference, (name, expr, _) in zip(references, columns, strict=True)
    ]
    names = {label: headline(label) for label in labels}
    values = ["Value"] if len(columns) == 1 else [f"Value #{reference}" for reference in references]
    names |= {value: name for value, (name, _, _) in zip(values, columns, strict=True)}
    # Without an order Grafana sorts labels by the alphabet: the model first, the target last.
    order = {name: position for position, name in enumerate(names)}
    hidden = {name: True for name in ["Time", *(values if only_labels else [])]}
    panel = common_to(tables.Panel(), title, description, targets, width, height)
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    organized = {"excludeByName": hidden, "indexByName": order, "renameByName": names}
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=organized))
    sorting = [common.TableSortByFieldState().display_name(name).desc(descending) for name, descending in sort_by]
    panel = panel.sort_by(sorting).show_header(True).cell_height(kinds.TableCellHeight.SM)
    absent = models.SpecialValueMap(
        models.DashboardSpecialValueMapOptions(
            models.SpecialValueMatch.NULL_AND_NAN, models.ValueMappingResult(text="–", index=0)
        )
    )
    panel = panel.unit("short").mappings([absent]).no_value(no_value).filterable(True)
    # Narrower than Grafana's 150, so that all columns are seen on a laptop.
    panel = panel.min_width(80).align(kinds.FieldTextAlignment.AUTO)
    if "target" in labels:
        panel = overridden(panel, "Target", {"links": [to_target()]})
    for name, _, properties in columns:
        panel = overridden(panel, name, properties)
    return panel


def headline(label):
    return "SLO" if label == "slo" else label.capitalize().replace("_", " ")


def to_target():
    """From a cell of the column Target to the drill-down, the time range kept."""
    return {
        "title": "Drill down into ${__value.text}",
        "url": "/d/sonde-target?var-target=${__value.text:percentencode}&var-datasource=${datasource}&${__url_time_range}",
        "targetBlank": False,
    }


def counted(name, expr, **properties):
    return name, expr, {"decimals": 0, **properties}


def since(name, expr, **properties):
    """How long ago an instant in Unix seconds was."""
    return name, f"time() - {expr}", {"unit": "s", "decimals": 0, "custom.width": 120, **properties}


def compared(name, unit, expr, color="blue", **properties):
    """A column with a bar in each cell. Its length compares the rows; its colour does not judge them."""
    cell = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    return (
        name,
        expr,
        {"unit": unit, "min": 0, "fieldMinMax": True, "color": fixed(color), "custom__cellOptions": cell} | properties,
    )


def shaded(name, unit, expr, **properties):
    """A column whose cells are the darker the higher their number: it compares the rows where there is no room for bars."""
    cell = {"type": "color-background", "mode": "basic"}
    shades = dashboard.FieldColor().mode("continuous-blues")
    return name, expr, {"unit": unit, "fieldMinMax": True, "color": shades, "custom__cellOptions": cell, **properties}


def judged(name, expr, **properties):
    """A column whose cells have a background, transparent where all is well, so that the others stand out."""
    cell = {"type": "color-background", "mode": "basic"}
    return name, expr, {"custom__cellOptions": cell, "thresholds": steps("transparent"), **properties}


def worded(name, expr, mapping, **properties):
    return judged(name, expr, mappings=[mapping], custom__align="center", custom__width=90, **properties)


def success_column(expr):
    thresholds = steps("red", (1 - WORTH_A_WORRY, "orange"), (1 - WORTH_A_LOOK, "transparent"))
    return judged("Success", expr, unit="percentunit", decimals=2, thresholds=thresholds, custom__width=90)


def budget_column(name, expr, **properties):
    """1 untouched, 0 spent."""
    thresholds = steps("red", (0, "orange"), (0.25, "transparent"))
    return judged(name, expr, unit="percentunit", decimals=0, thresholds=thresholds, **properties)


def tile(
    title,
    description,
    unit,
    expr,
    thresholds,
    filled=False,
    no_value="no data",
    width=4,
    legend=None,
    decimals=None,
    mapping=None,
    plain=False,
):
    """One number in large type: alone, on a ground or `plain`, or with the name of what it is of."""
    legend = legend or (title if filled or plain else LEGEND)
    panel = common_to(stat.Panel(), title, description, [target(expr, legend, instant=True)], width, 4)
    panel = panel.unit(unit).no_value(no_value).thresholds(thresholds)
    panel = panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    if decimals is not None:
        panel = panel.decimals(decimals)
    if mapping:
        panel = panel.mappings([mapping])
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    panel = panel.color_mode(kinds.BigValueColorMode.BACKGROUND if filled else kinds.BigValueColorMode.VALUE)
    panel = panel.text_mode(kinds.BigValueTextMode.VALUE if filled or plain else kinds.BigValueTextMode.VALUE_AND_NAME)
    # The name above its number, which leaves room for both.
    return panel.wide_layout(False).graph_mode(kinds.BigValueGraphMode.NONE).justify_mode(kinds.BigValueJustifyMode.CENTER)


def bars(title, description, unit, expr, legend=LEGEND, width=8, height=9, no_value="no data", color="blue", **more):
    """One horizontal bar per series, of the selected time range."""
    panel = common_to(
        bargauge.Panel(), title, description, [target(f"sort_desc({expr})", legend, instant=True)], width, height
    )
    panel = panel.unit(unit).no_value(no_value).min(0).color_scheme(fixed(color))
    if "decimals" in more:
        panel = panel.decimals(more["decimals"])
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    panel = panel.orientation(kinds.VizOrientation.HORIZONTAL).display_mode(kinds.BarGaugeDisplayMode.BASIC)
    panel = (
        panel.text(common.VizTextDisplayOptions().title_size(12).value_size(14))
        .value_mode(kinds.BarGaugeValueMode.TEXT)
        .name_placement(kinds.BarGaugeNamePlacement.LEFT)
    )
    return panel.show_unfilled(True).min_viz_height(14).max_viz_height(28)


def spread(title, description, unit, histogram, labels="", width=12):
    """Where the samples of a histogram lie over time: two modes show here and in no quantile."""
    expr = increase(f"{histogram}_bucket", labels, by="le")
    panel = common_to(heatmap.Panel(), title, description, [target(expr, "{{le}}", buckets=True)], width, 8)
    panel = panel.unit("short").no_value("no data").calculate(False)
    panel = panel.y_axis(heatmap.YAxisConfig().unit(unit))
    color = heatmap.HeatmapColorOptions().mode(heatmaps.HeatmapColorMode.SCHEME).scheme("Blues").steps(32).reverse(False)
    panel = panel.color(color).cell_gap(1).hide_legend()
    # A cell without a sample is not drawn.
    return panel.filter_values(heatmap.FilterValueRange().le(1e-9))


def by_reason(name, description, counter, no_value, selector=None, width=12, height=9):
    """The runs that a counter with reasons counts, over the whole time range."""
    runs = f"sum by ({BY}, reason) (increase({counter}{{{selector or PROBE}}}[$__range])) > 0"
    column = compared(name, "short", runs, color="semi-dark-red", decimals=0)
    labels = ("reason", "target", "scenario")
    title = f"{name} by reason"
    return table(title, description, labels, [column], [(name, True)], width, height, no_value)


def describe_quantile(q):
    return f"{q * 100:g} % of the samples are at most this; interpolated within a bucket."


def quantiles(name, histogram, description, labels="", quantiles=(0.5, 0.95, 0.99), width=8, unit="s", no_value=None):
    """One panel per quantile, so that targets stand side by side and not quantiles."""
    return [
        lines(
            f"{name} p{q * 100:g}",
            f"{description} {describe_quantile(q)}",
            unit,
            quantile(q, histogram, labels),
            width=width,
            exemplars=q == quantiles[-1],
            no_value=no_value,
        )
        for q in quantiles
    ]
