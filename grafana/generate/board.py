"""A dashboard around its panels: variables, links, annotations, layout, and its JSON."""

import itertools
import json

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from panels import DATASOURCE, WIDTH
from queries import SERVED

# The value of a variable that selects everything, also what lacks the label. `target` has none: All stands for the names
# that `region` leaves over.
EVERYTHING = ".*"
# What the SDK adds to variables, links and annotations, and we do not want: it puts links out of sight into a menu,
# and the others are of kinds of variables that these are not.
UNWANTED = ("placement", "auto", "auto_min", "auto_count", "allowCustomValue", "builtIn")
# Empty panels, on every machine without a GPU or a schedule of self-tests, are not worth their room.
COLLAPSED = "collapsed"


def chosen(name, metric, *narrowed_by, label=None, all_value=EVERYTHING, multi=True):
    """A list of the values that a label has, among what the variables before it select."""
    selector = ", ".join(f'{other}=~"${other}"' for other in narrowed_by)
    query = f"label_values({metric}{{{selector}}}, {name})" if selector else f"label_values({metric}, {name})"
    variable = dashboard.QueryVariable(name).label(label or name.capitalize()).datasource(DATASOURCE)
    variable = variable.query({"query": query, "refId": f"variable-{name}"})
    variable = variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
    if not multi:
        return variable.multi(False).include_all(False)
    variable = variable.multi(True).include_all(True)
    variable = variable.current(models.VariableOption(text=["All"], value=["$__all"]))
    return variable.all_value(all_value) if all_value else variable


def region():
    return chosen("region", "llm_probe_target_info")


def targets(multi=True):
    return chosen("target", "llm_probe_target_info", "region", all_value=None, multi=multi)


def probes(multi=True):
    """The variables of everything that has a target and a scenario."""
    runs = "llm_probe_runs_total"
    return [
        region(),
        targets(multi),
        chosen("runtime", runs, "target"),
        chosen("model", runs, "target", "runtime"),
        chosen("scenario", runs, "target", "runtime", "model"),
    ]


def connection():
    return chosen("connection", "llm_probe_time_to_first_token_seconds_count", "target", "scenario")


def objective():
    return chosen("slo", "llm_probe_slo_objective_ratio", "target", label="SLO")


def annotation(name, color, expr, title, tags):
    noted = dashboard.AnnotationQuery().name(name).enable(True).hide(False).icon_color(color).datasource(DATASOURCE)
    return noted.expr(expr).title_format(title).tag_keys(tags).step("60s")


def annotations():
    """What explains a step in the curves. An earlier look finds what is new: an info series changes by becoming another."""

    def swapped(metric, labels, of):
        def earlier(by):
            return f"max by ({by}) ({metric} offset 3m)"

        # What has no earlier look at all is new, not swapped.
        return f"max by ({labels}) ({metric}) unless {earlier(labels)} and on ({of}) {earlier(of)}"

    restarts = f"sum by (target) (changes(llm_resource_process_start_time_seconds{{{SERVED}}}[3m])) > 0"
    loads = "changes(sonde_config_last_reload_success_timestamp_seconds[3m]) > 0"
    models_of = swapped(f"llm_probe_target_info{{{SERVED}}}", "target, runtime, model", "target")
    versions = swapped("sonde_build_info", "instance, version, revision", "instance")
    return [
        annotation(
            "Model or runtime swapped", "purple", models_of, "{{target}}: {{model}} by {{runtime}}", "target,runtime"
        ),
        annotation("Runtime restarted", "red", restarts, "{{target}} restarted", "target"),
        annotation("Sonde updated", "blue", versions, "Sonde {{version}}", "instance"),
        annotation("Configuration loaded", "super-light-blue", loads, "Configuration loaded", "instance"),
    ]


def to_others():
    """To the other dashboards, with the selection and the time range."""
    link = dashboard.DashboardLink("Sonde").type(models.DashboardLinkType.DASHBOARDS).tags(["sonde"])
    return link.as_dropdown(False).include_vars(True).keep_time(True).target_blank(False).icon("external link")


def laid_out(rows):
    """Panels from left to right, then down; ids in this order, so that a change elsewhere moves few of them."""
    ids, y = itertools.count(1), 0
    for title, panels, *collapsed in rows:
        row = dashboard.Row(title).id(next(ids)).collapsed(bool(collapsed))
        row = row.grid_pos(models.GridPos(h=1, w=WIDTH, x=0, y=y))
        x, line_y, line_height = 0, y + 1, 0
        placed = []
        for panel in panels:
            room = panel.build().grid_pos
            if x + room.w > WIDTH:
                x, line_y, line_height = 0, line_y + line_height, 0
            placed.append(panel.id(next(ids)).grid_pos(models.GridPos(h=room.h, w=room.w, x=x, y=line_y)))
            x, line_height = x + room.w, max(line_height, room.h)
        # The panels of a collapsed row are inside it, and take no room.
        if collapsed:
            for panel in placed:
                row = row.with_panel(panel)
            placed = []
        yield row.build()
        yield from (panel.build() for panel in placed)
        y = y + 1 if collapsed else line_y + line_height


def board(uid, title, description, variables, rows):
    made = dashboard.Dashboard(f"Sonde / {title}").uid(uid).description(description).tags(["sonde", "llm"]).readonly()
    made = made.version(1).tooltip(models.DashboardCursorSync.CROSSHAIR).refresh("30s").time("now-6h", "now")
    made = made.timezone("browser").link(to_others())
    made = made.with_variable(dashboard.DatasourceVariable("datasource").label("Datasource").type("prometheus"))
    for variable in variables:
        made = made.with_variable(variable)
    for noted in annotations():
        made = made.annotation(noted)
    built = made.build()
    # Not by the builder's own layout, which has no ids and loses the order of a wrapped line.
    built.panels = list(laid_out(rows))
    return built


def text(built):
    """The file of a dashboard."""
    content = json.loads(json.dumps(built, cls=JSONEncoder))
    decorated = [*content["templating"]["list"], *content["annotations"]["list"], *content["links"]]
    for item in decorated:
        for key in UNWANTED:
            item.pop(key, None)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
