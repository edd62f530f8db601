"""The saved workspace of a study on Weights & Biases, made of what has been logged.

A panel names only what is there: a workspace is saved again when more is. wandb_workspaces is imported only
where it is used.
"""

import contextlib
import re
from collections.abc import Iterable
from typing import Any

from lottery_ray.store import digest
from lottery_ray.wandb_run import AXIS

ABOUT = """
**{group}**: one run per node, and one of the study itself, {run}, which jobs/sweep.py and jobs/dashboard.py
keep up to date. Gaps, overlaps and progress are its curves, along the number of nodes that are done. Low and
high are the ends of 95% intervals over seeds. This workspace is saved again when there is more to show: keep
changes of your own in a copy of it.
"""
CURVES = ("loss", "dev_score", "learning_rate")
SPARSITIES = ("heads_sparsity", "mlps_sparsity", "weights_sparsity")
COLUMNS = ["run:displayName", "run:state", "run:jobType", "config:task", "config:seed", "config:method"]
COLUMNS += ["config:kind", "summary:score", "summary:pruned", "summary:retrained", "summary:seconds"]
COLUMNS += ["summary:error"]
RUNS = 100
"""Whose curves a panel shows at most."""


def name(group: str, id_: str) -> str:
    """The name of a study's workspace in an address: always the same. id_: of the study's run."""
    return digest([group, id_])[:11]


def save(run: Any, names: Iterable[str]) -> str:
    """Save the workspace of a study, in place of what was saved before; returns its address.

    run: the study's own, wandb's and online. names: of all that it has logged.
    """
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    made = ws.Workspace(
        entity=run.entity,
        project=run.project,
        name=f"Study {run.group}",
        sections=sections(run.group, run.id, list(names)),
        runset_settings=ws.RunsetSettings(
            filters=[expr.Metric("Group") == run.group],
            pinned_columns=list(COLUMNS),
            pinned_runs=[run.id],
        ),
    )
    made._internal_name = f"nw-{name(run.group, run.id)}-v"
    try:
        made._internal_id = ws.Workspace.from_url(
            f"{run.project_url}?nw={name(run.group, run.id)}"
        )._internal_id
    except ValueError:
        pass  # there is none yet
    return str(made.save().url)


def sections(group: str, run: str, names: list[str]) -> list[Any]:
    """The sections of a workspace. run: the id of the study's own."""
    import wandb_workspaces.reports.v2.interface as wr
    import wandb_workspaces.workspaces as ws

    def like(pattern: str) -> list[str]:
        return [name for name in names if re.fullmatch(pattern, name)]

    def tables(*wanted: str) -> list[Any]:
        return [wr.WeavePanelSummaryTable(table_name=name) for name in wanted if name in names]

    def pictures(title: str, pattern: str) -> list[Any]:
        found = like(pattern)
        return [wr.MediaBrowser(title=title, media_keys=found, num_columns=1)] if found else []

    def bars(title: str, metrics: list[str]) -> list[Any]:
        return [wr.BarPlot(title=title, metrics=metrics)] if metrics else []

    def lines(title: str, metrics: list[str]) -> list[Any]:
        return [wr.LinePlot(title=title, x=AXIS, title_x="nodes done", y=metrics)] if metrics else []

    def by_task(title: str, x: str, y: str) -> Any:
        grouped = {"groupby": wr.Config("task"), "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
        return wr.LinePlot(title=title, x=x, y=[y], max_runs_to_show=RUNS, **grouped)

    gaps = across(like("gap/([^/]+/){3}[^/]+"))
    overlaps = across(like("overlap/([^/]+/){3}[^/]+"))
    counts = [name for name in ("progress/done", "progress/failed", "progress/hours_left") if name in names]
    made = {
        "Progress and failures": [
            wr.MarkdownPanel(markdown=ABOUT.format(group=group, run=run)),
            *(wr.ScalarChart(title=name.partition("/")[2].replace("_", " "), metric=name) for name in counts),
            wr.LinePlot(
                title="nodes done", x="RelativeTime(Wall)", y=like("progress/(done|all|failed|dropped)")
            ),
            *bars("done, by kind of node", like("progress/[^/]+/(done|all)")),
            *tables("tables/failures"),
        ],
        "Gaps by task": [
            *pictures("gaps", "figures/gaps/.*"),
            *(panel for title, metrics in gaps.items() for panel in bars(title, metrics)),
            *tables("tables/gaps", "tables/scores"),
        ],
        "How gaps settle": [panel for title, metrics in gaps.items() for panel in lines(title, metrics)],
        "Survival": pictures("survival", "figures/survival/.*"),
        "Overlap": [
            *pictures("overlap", "figures/(overlap|tasks)/.*"),
            *(panel for title, metrics in overlaps.items() for panel in bars(title, metrics)),
            *tables("tables/overlap"),
        ],
        "Searches": [
            *(by_task(f"score by {name.replace('_', ' ')}", name, "score") for name in SPARSITIES),
            *pictures("searches", "figures/searches/.*"),
            *tables("tables/searches"),
        ],
        "Training": [by_task(name.replace("_", " "), AXIS, name) for name in CURVES],
        "Cost": [
            *bars("hours of trials", like("cost/hours/.*")),
            *lines("hours of trials", like("cost/hours")),
            wr.BarPlot(title="mean seconds of a node", metrics=["seconds"], groupby="JobType"),
            *tables("tables/cost"),
        ],
        "Report": [
            *pictures("report", "report"),
            *pictures("other figures", "figures/(?!gaps|survival|overlap|tasks|searches).*"),
        ],
    }
    closed = ("How gaps settle", "Overlap", "Training", "Report")
    return [
        ws.Section(name=title, panels=panels, is_open=title not in closed)
        for title, panels in made.items()
        if panels
    ]


def across(names: list[str]) -> dict[str, list[str]]:
    """{what is compared in words: its metrics, one per task}. names: such as gap/<task>/<method>/..."""
    found: dict[str, list[str]] = {}
    for metric in names:
        kind, _, *rest = metric.split("/")
        found.setdefault(" ".join([kind, *rest]).replace("_", " "), []).append(metric)
    return found
