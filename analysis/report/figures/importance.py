"""Figures of importance: how the scores of components are distributed, kept and pruned ones (Figure 3)."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from analysis.formats import COMPONENT_NAMES, grouped
from analysis.records.method_names import STRUCTURED, MethodName
from analysis.report.figures.drawing import COLOURS, Drawing, file_name, grid
from analysis.report.words.conclusions import opening
from analysis.tables import Tables
from lottery_ray.inputs.tasks import title

BINS = 24


def drawings(found: Tables) -> Iterator[Drawing]:
    """One per method and kind of component."""
    for (method, component), table in grouped(found.importance, ["method", "component"]):
        yield _histograms(table, method, component)


def _histograms(table: pd.DataFrame, method: MethodName, component: str) -> Drawing:
    """A panel per task, over all seeds."""
    tasks = list(dict.fromkeys(table["task"]))
    figure, axes = grid(len(tasks), 2.1, 3)
    for axis, task in zip(axes, tasks, strict=True):
        cells = table[table["task"] == task]
        kept = cells["kept"].astype(bool)
        # only a criterion of the user's own goes below zero
        ends = min(0, cells["score"].min()), max(cells["score"].max(), 1e-9)
        axis.hist(
            [cells.loc[kept, "score"], cells.loc[~kept, "score"]],
            bins=np.linspace(*ends, BINS + 1).tolist(),
            stacked=True,
            histtype="stepfilled",
            color=[COLOURS["good"], COLOURS["random"]],
            label=["kept", "pruned"],
        )
        axis.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axis.set_title(title(str(task)))
        axis.set_xlabel("importance")
        axis.set_ylabel(COMPONENT_NAMES[component])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    caption = (
        f"{opening(method)}: importance of {COMPONENT_NAMES[component]}, over all seeds, of those that good"
        " keeps and those that it does not. No cut is drawn: a search scores anew after every step, so there"
        " is no one score that parts them."
    )
    folded = method != STRUCTURED or component != "heads"
    return Drawing("importance", file_name("importance", str(method), component), caption, figure, folded)
