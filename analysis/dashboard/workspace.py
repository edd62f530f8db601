"""The saved workspace of a study on Weights & Biases, made of what has been logged.

A panel names only what is there: a workspace is saved again when more is. wandb_workspaces is imported only
where it is used.
"""

import contextlib
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lottery_ray.identity import digest
from lottery_ray.tracking.wandb_run import AXIS

ABOUT = """
**{group}**: one run per node, and one of the study itself, {run}, which jobs/sweep.py and jobs/dashboard.py
keep up to date. Gaps, overlaps and progress are its curves, along the number of nodes that are done. Low and
high are the ends of 95% intervals over seeds. This workspace is saved again when there is more to show: keep
changes of your own in a copy of it.
"""
COLUMNS = ["run:displayName", "run:state", "run:jobType", "config:task.value", "config:seed.value"]
COLUMNS += ["config:method.value", "config:kind.value", "summary:score", "summary:pruned"]
COLUMNS += ["summary:retrained", "summary:seconds", "summary:error"]
CURVES = ("loss", "dev_score", "learning_rate")
SPARSITIES = {"heads": "heads_sparsity", "mlp": "mlps_sparsity", "weight": "weights_sparsity"}
"""{component: the curve of a search that has it}"""
PLACED = "gaps|survival|overlap|tasks|searches"
"""The groups of figures that have a section of their own."""
CLOSED = ("How gaps settle", "Overlap", "Training", "Report")
RUNS = 100
"""Whose curves a panel shows at most."""


def save_workspace(run: Any, names: Iterable[str]) -> str:
    """Save the workspace of a study, in place of what was saved before; returns its address.

    run: the study's own, wandb's and online. names: of all that it has logged.
    """
    ws: Any = importlib.import_module("wandb_workspaces.workspaces")
    panels = Panels(list(names))
    made = ws.Workspace(
        entity=run.entity,
        project=run.project,
        name=re.sub(r"[^\w .,'()-]", "_", f"Study {run.group}"),  # signs such as + are refused
        sections=[
            ws.Section(name=title, panels=found, is_open=title not in CLOSED)
            for title, found in sections_of(panels, ABOUT.format(group=run.group, run=run.id)).items()
            if found
        ],
        runset_settings=ws.RunsetSettings(
            filters=f"Metric('Group') == '{literal(run.group)}'",
            pinned_columns=list(COLUMNS),
            # a panel that shows a few of many runs shows this one
            pinned_runs=[run.id],
        ),
    )
    name = digest([run.group, run.id])[:11]
    made._internal_name = f"nw-{name}-v"
    with contextlib.suppress(ValueError):  # there is none yet
        made._internal_id = ws.Workspace.from_url(f"{run.project_url}?nw={name}")._internal_id
    return str(made.save().url)


def literal(group: str) -> str:
    """What stands for a group in a filter: that is read as Python, after every = in it has been doubled."""
    return "".join(sign if sign.isalnum() else f"\\U{ord(sign):08x}" for sign in group)


def sections_of(panels: "Panels", about: str) -> dict[str, list[Any]]:
    """{title: panels}, of which there may be none."""
    gaps = panels.by_subject("gap/([^/]+/){3}[^/]+")
    overlaps = panels.by_subject("overlap/([^/]+/){3}[^/]+")
    searched = {name.rpartition("/")[2] for name in panels.like("search/.*")}
    return {
        "Progress and failures": [
            panels.make.MarkdownPanel(markdown=about),
            *panels.scalars("progress/(done|failed|hours_left)"),
            *panels.lines("nodes", panels.like("progress/(done|all|failed|dropped)"), "RelativeTime(Wall)"),
            *panels.bars("nodes, by kind", panels.like("progress/[^/]+/(done|all)")),
            *panels.table("failures"),
        ],
        "Gaps by task": [
            *panels.pictures("gaps", "figures/gaps/.*"),
            *(panel for subject, names in gaps.items() for panel in panels.bars(subject, names)),
            *panels.table("gaps"),
            *panels.table("scores"),
        ],
        "How gaps settle": [
            panel for subject, names in gaps.items() for panel in panels.lines(subject, names, AXIS)
        ],
        "Survival": panels.pictures("survival", "figures/survival/.*"),
        "Overlap": [
            *panels.pictures("overlap", "figures/(overlap|tasks)/.*"),
            *(
                panel
                for subject, names in overlaps.items()
                for panel in panels.bars(f"{subject}, and by chance", panels.beside_chance(names))
            ),
            *panels.table("overlap"),
        ],
        "Searches": [
            *(panels.by_task("score", x) for part, x in SPARSITIES.items() if part in searched),
            *panels.bars("share that is kept", panels.like("search/.*")),
            *panels.pictures("searches", "figures/searches/.*"),
            *panels.table("searches"),
        ],
        "Training": [panels.by_task(curve, AXIS) for curve in CURVES],
        "Cost": [
            *panels.bars("hours of trials", panels.like("cost/hours/.*")),
            *panels.lines("hours of trials", panels.like("cost/hours"), AXIS),
            panels.make.BarPlot(title="mean seconds of a node", metrics=["seconds"], groupby="JobType"),
            *panels.table("cost"),
        ],
        "Report": [
            *panels.pictures("report", "report"),
            *panels.pictures("other figures", f"figures/(?!({PLACED})/).*"),
        ],
    }


@dataclass(frozen=True)
class Panels:
    """Makes panels of what has been logged; lists of them, where there may be nothing to show."""

    names: list[str]

    @property
    def make(self) -> Any:
        """The kinds of panels."""
        return importlib.import_module("wandb_workspaces.reports.v2")

    def like(self, pattern: str) -> list[str]:
        """The names that match a pattern as a whole."""
        return [name for name in self.names if re.fullmatch(pattern, name)]

    def by_subject(self, pattern: str) -> dict[str, list[str]]:
        """{what is measured, in words: its metrics, one per task}, of names such as gap/<task>/<method>."""
        found: dict[str, list[str]] = {}
        for name in self.like(pattern):
            kind, _, *rest = name.split("/")
            found.setdefault(" ".join([kind, *rest]).replace("_", " "), []).append(name)
        return found

    def beside_chance(self, overlaps: list[str]) -> list[str]:
        """Each with what random masks would have."""
        return [each for name in overlaps for each in (name, f"{name}/chance") if each in self.names]

    def scalars(self, pattern: str) -> list[Any]:
        return [
            self.make.ScalarChart(title=name.partition("/")[2].replace("_", " "), metric=name)
            for name in self.like(pattern)
        ]

    def bars(self, title: str, metrics: list[str]) -> list[Any]:
        return [self.make.BarPlot(title=title, metrics=metrics)] if metrics else []

    def lines(self, title: str, metrics: list[str], x: str) -> list[Any]:
        axis = "nodes done" if x == AXIS else None
        return [self.make.LinePlot(title=title, x=x, title_x=axis, y=metrics)] if metrics else []

    def by_task(self, y: str, x: str) -> Any:
        """Curves of nodes: their mean over those of a task, and between what they lie."""
        return self.make.LinePlot(
            title=" by ".join((y, x)).replace("_", " "),
            x=x,
            y=[y],
            groupby=self.make.Config("task"),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            max_runs_to_show=RUNS,
        )

    def pictures(self, title: str, pattern: str) -> list[Any]:
        """Figures or pages."""
        found = self.like(pattern)
        return [self.make.MediaBrowser(title=title, media_keys=found, num_columns=1)] if found else []

    def table(self, name: str) -> list[Any]:
        found = self.like(f"tables/{name}")
        return [self.make.WeavePanelSummaryTable(table_name=each) for each in found]
