"""A figure of this study beside the published numbers."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes

from analysis.formats import grouped
from analysis.records.method_names import MAGNITUDE, NO_METHOD, STRUCTURED, MethodName
from analysis.records.network_names import (
    BAD,
    FULL_MODEL,
    GOOD,
    PRETRAINED,
    RANDOM,
    SUPER_SURVIVORS,
    NetworkName,
)
from analysis.report.figures.drawing import INK, Drawing, colour, file_name, grid, lines, mark, marker
from analysis.report.words.conclusions import opening
from analysis.tables import Tables
from lottery_ray.inputs.tasks import title

NETWORKS = (FULL_MODEL, GOOD, RANDOM, BAD, PRETRAINED, SUPER_SURVIVORS)

MAIN = (STRUCTURED, MAGNITUDE)
SIDES = (("mean", "sd", True, 0.05), ("paper_mean", "paper_sd", False, -0.05))
"""This study's and the published: columns, whether marks are filled, where in its line."""


def drawings(found: Tables) -> Iterator[Drawing]:
    """One per method that there is anything to compare of."""
    # the paper's own root has no differences
    table = found.versus_paper.dropna(subset=["difference"])
    table = table.assign(network=table["network"].map(lambda network: network.drawn_as))
    table = table[table["network"].isin(NETWORKS)]
    for method in dict.fromkeys(table["method"]):
        if method != NO_METHOD:
            yield _paper(table[table["method"].isin([NO_METHOD, method])], method)


def _paper(table: pd.DataFrame, method: MethodName) -> Drawing:
    """A panel per measure, a line per task; this study's marks are filled."""
    panels = list(grouped(table, "measure"))
    tasks = list(dict.fromkeys(table["task"]))
    kinds = [network for network in NETWORKS if (table["network"] == network).any()]
    figure, axes = grid(len(panels), 1.5 + 0.13 * len(tasks) * len(kinds), 3)
    for number, (axis, (measure, group)) in enumerate(zip(axes, panels, strict=True)):
        _panel(axis, group, kinds, tasks)
        lines(axis, [title(str(task)) for task in tasks], named=number % 3 == 0)
        axis.set_title(str(measure))
        axis.set_xlabel("dev score")
    handles = [mark(str(network), marker(network), colour(network)) for network in kinds]
    handles += [mark("this study", "o", INK), mark("published", "o", INK, mfc="none")]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    caption = (
        f"{opening(method)}: this study (filled) beside the paper (hollow); means over seeds, with standard"
        " deviations."
    )
    return Drawing("paper", file_name("versus_paper", str(method)), caption, figure, method not in MAIN)


def _panel(axis: Axes, table: pd.DataFrame, kinds: list[NetworkName], tasks: list[str]) -> None:
    present = [network for network in kinds if (table["network"] == network).any()]
    for place, network in enumerate(present):
        rows = table[table["network"] == network].drop_duplicates("task")
        for mean, sd, filled, nudge in SIDES:
            shift = 0.8 * (0.5 - (place + 0.5) / len(present)) + nudge
            axis.errorbar(
                rows[mean],
                [shift - tasks.index(task) for task in rows["task"]],
                xerr=rows[sd].fillna(0),
                fmt=marker(network),
                color=colour(network),
                mfc=colour(network) if filled else "none",
                ms=5,
                elinewidth=1.4 if filled else 0.8,
                capsize=2,
            )
    axis.grid(axis="y", lw=0.4, alpha=0.35)
