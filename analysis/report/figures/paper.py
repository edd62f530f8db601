"""A figure of this study beside the published numbers."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes

from analysis.records import network_names as networks
from analysis.report.figures.drawing import INK, Drawing, colour, file_name, grid, lines, mark, marker
from analysis.report.words.conclusions import opening
from analysis.tables import Analysis
from lottery_ray.inputs.tasks import title

NETWORKS = ("full", "good", "random", "bad", "pretrained", "super")

MAIN = ("structured", "magnitude")
SIDES = (("mean", "sd", True, 0.05), ("paper_mean", "paper_sd", False, -0.05))
"""This study's and the published: columns, whether marks are filled, where in its line."""


def draw(found: Analysis) -> Iterator[Drawing]:
    """One per method that there is anything to compare of."""
    # the paper's own root has no differences
    table = found.versus_paper.dropna(subset=["difference"])
    table = table[table["network"].map(networks.drawn_as).isin(NETWORKS)]
    for method in dict.fromkeys(table["method"]):
        if method:
            yield _paper(table[table["method"].isin(["", method])], str(method))


def _paper(table: pd.DataFrame, method: str) -> Drawing:
    """A panel per measure, a line per task; this study's marks are filled."""
    panels = list(table.groupby("measure", sort=False))
    tasks = list(dict.fromkeys(table["task"]))
    drawn = table["network"].map(networks.drawn_as)
    kinds = [name for name in NETWORKS if (drawn == name).any()]
    figure, axes = grid(len(panels), 1.5 + 0.13 * len(tasks) * len(kinds), 3)
    for number, (axis, (measure, group)) in enumerate(zip(axes, panels, strict=True)):
        _panel(axis, group, kinds, tasks)
        lines(axis, [title(str(task)) for task in tasks], named=number % 3 == 0)
        axis.set_title(str(measure))
        axis.set_xlabel("dev score")
    handles = [mark(name, marker(name), colour(name)) for name in kinds]
    handles += [mark("this study", "o", INK), mark("published", "o", INK, mfc="none")]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    caption = (
        f"{opening(method)}: this study (filled) beside the paper (hollow); means over seeds, with standard"
        " deviations."
    )
    return Drawing("paper", file_name("versus_paper", method), caption, figure, method not in MAIN)


def _panel(axis: Axes, table: pd.DataFrame, kinds: list[str], tasks: list[str]) -> None:
    drawn = table["network"].map(networks.drawn_as)
    present = [name for name in kinds if (drawn == name).any()]
    for place, name in enumerate(present):
        rows = table[drawn == name].drop_duplicates("task")
        for mean, sd, filled, nudge in SIDES:
            shift = 0.8 * (0.5 - (place + 0.5) / len(present)) + nudge
            axis.errorbar(
                rows[mean],
                [shift - tasks.index(task) for task in rows["task"]],
                xerr=rows[sd].fillna(0),
                fmt=marker(name),
                color=colour(name),
                mfc=colour(name) if filled else "none",
                ms=5,
                elinewidth=1.4 if filled else 0.8,
                capsize=2,
            )
    axis.grid(axis="y", lw=0.4, alpha=0.35)
