"""Figures of how alike the masks of two seeds are, beside what chance would give."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.formats import COMPONENT_NAMES, grouped, rows
from analysis.records.method_names import STRUCTURED, place
from analysis.records.network_names import GOOD
from analysis.report.figures.drawing import (
    COLOURS,
    FAINT,
    INK,
    Drawing,
    Slice,
    bar,
    grid,
    lines,
    mark,
    slices,
)
from analysis.tables import Tables
from lottery_ray.inputs.tasks import title

NULLS = {
    "same size": ("chance", "chance_low", "chance_high", FAINT, 0.16),
    "same size in every layer": ("layer_chance", "layer_low", "layer_high", COLOURS["layer_matched"], -0.16),
}
"""{null: its columns, and how it is drawn}"""


def drawings(found: Tables) -> Iterator[Drawing]:
    """Those that there are data for."""
    for part in slices(_good(found.overlap)):
        yield _overlap(found, part)
    for part in slices(_good(found.overlap_layers), by_method=True):
        for component in dict.fromkeys(part.rows["component"]):
            yield _layers(part, str(component))


def _good(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["network"] == GOOD) & table["jaccard"].notna()]


def _overlap(found: Tables, part: Slice) -> Drawing:
    """Observed Jaccard beside the bands of both nulls: a panel per method and component."""
    panels = list(grouped(part.rows, ["method", "component"]))
    tasks = list(dict.fromkeys(part.rows["task"]))
    figure, axes = grid(len(panels), 1.6 + 0.36 * len(tasks), 3)
    pairs = _good(found.overlap_pairs).set_index(["method", "component"])
    pairs = pairs[pairs["size"] == part.size]
    for number, (axis, (names, means)) in enumerate(zip(axes, panels, strict=True)):
        _panel(axis, means, pairs[pairs.index == names], tasks)
        lines(axis, [title(str(task)) for task in tasks], named=number % 3 == 0)
        axis.set_title(f"{names[0]}: {COMPONENT_NAMES[names[1]]}")
        axis.set_xlabel("Jaccard")
    handles = [mark("mean over pairs of seeds", "o", COLOURS["good"], ms=8)]
    handles.append(mark("one pair", ".", COLOURS["good"], ms=5, alpha=0.4))
    handles += [bar(f"by chance, {name}: 95% of means", null[3], 5) for name, null in NULLS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    at = part.size.at and f",{part.size.at}"
    caption = (
        f"Overlap of the good masks of two seeds{at}. A mean to the right of a band says that seeds agree on"
        " more than that null explains: how many components to keep, or how many in every layer."
    )
    return Drawing("overlap", part.name("overlap"), caption, figure, part.folded)


def _panel(axis: Axes, means: pd.DataFrame, pairs: pd.DataFrame, tasks: list[str]) -> None:
    for row in rows(means):
        line = -tasks.index(row["task"])
        for expected, low, high, paint, shift in NULLS.values():
            axis.plot([row[low], row[high]], [line + shift] * 2, lw=5, color=paint, alpha=0.55)
            axis.plot(row[expected], line + shift, "|", ms=9, mew=2, color=INK)
    shown = pairs[pairs["task"].isin(tasks)]
    places = [-tasks.index(task) for task in shown["task"]]
    axis.plot(shown["jaccard"], places, ".", ms=4, color=COLOURS["good"], alpha=0.4)
    axis.plot(means["jaccard"], [-tasks.index(t) for t in means["task"]], "o", ms=8, color=COLOURS["good"])
    axis.set_xlim(0, 1.02)


def _layers(part: Slice, component: str) -> Drawing:
    """A panel per task: Jaccard by layer, beside 95% of its null."""
    table = part.rows[part.rows["component"] == component]
    tasks = list(dict.fromkeys(table["task"]))
    figure, axes = grid(len(tasks), 2.2, 3)
    for axis, task in zip(axes, tasks, strict=True):
        cells = table[table["task"] == task].sort_values("layer")
        layers = cells["layer"] + 1
        axis.fill_between(layers, cells["chance_low"], cells["chance_high"], color=FAINT, alpha=0.35, lw=0)
        axis.plot(layers, cells["chance"], color=FAINT, lw=1)
        axis.plot(layers, cells["jaccard"], "o-", ms=5, lw=1, color=COLOURS["good"])
        axis.set_xticks(np.unique(layers))
        axis.set_ylim(-0.02, 1.02)
        axis.set_title(title(str(task)))
        axis.set_xlabel("layer")
        axis.set_ylabel("Jaccard")
    handles = [mark("mean over pairs of seeds", "o", COLOURS["good"]), bar("by chance: 95%", FAINT, 6)]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    words = f"{place(part.method, part.size)}: {COMPONENT_NAMES[component]}"
    caption = (
        f"Overlap of seeds layer by layer, {words}, beside random masks that keep as many in that layer."
        " Layer 1 is next to the embeddings."
    )
    folded = part.folded or part.method != STRUCTURED
    return Drawing("overlap", part.name("overlap_layers", component), caption, figure, folded)
