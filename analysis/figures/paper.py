"""A figure of this study beside the published numbers."""

from collections.abc import Iterator

import pandas as pd

from analysis import networks
from analysis.figures.drawing import INK, Drawing, colour, grid, lines, mark, marker
from analysis.tables import Analysis
from lottery_ray.tasks import title

NETWORKS = ("full", "good", "random", "bad", "pretrained", "super")

SIDES = (("mean", "sd", True, 0.05), ("paper_mean", "paper_sd", False, -0.05))
"""This study's and the published: columns, whether marks are filled, where in its line."""


def draw(found: Analysis) -> Iterator[Drawing]:
    """One, where there is anything to compare."""
    table = found.versus_paper
    if len(table):
        shown = table[table["network"].map(networks.drawn_as).isin(NETWORKS)]
        if len(shown):
            yield _paper(shown)


def _paper(table: pd.DataFrame) -> Drawing:
    """A panel per method and measure, a line per task: this study's marks are filled."""
    panels = list(table.groupby(["method", "measure"], sort=False))
    tasks = list(dict.fromkeys(table["task"]))
    kinds = [name for name in NETWORKS if (table["network"].map(networks.drawn_as) == name).any()]
    figure, axes = grid(len(panels), 1.1 + 0.2 * len(tasks) * min(len(kinds), 4), 2)
    for number, (axis, ((method, measure), group)) in enumerate(zip(axes, panels, strict=True)):
        present = [name for name in kinds if (group["network"].map(networks.drawn_as) == name).any()]
        for place, name in enumerate(present):
            rows = group[group["network"].map(networks.drawn_as) == name].drop_duplicates("task")
            for column, sd, filled, nudge in SIDES:
                shift = 0.8 * (0.5 - (place + 0.5) / len(present)) + nudge
                axis.errorbar(
                    rows[column],
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
        lines(axis, [title(str(task)) for task in tasks], named=number % 2 == 0)
        axis.set_title(", ".join(filter(None, (str(method), str(measure)))))
        axis.set_xlabel("dev score")
    handles = [mark(name, marker(name), colour(name)) for name in kinds]
    handles += [mark("this study", "o", INK), mark("published", "o", INK, mfc="none")]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    caption = "This study (filled) beside the paper (hollow): means over seeds, with standard deviations."
    return Drawing("paper", "versus_paper", caption, figure)
