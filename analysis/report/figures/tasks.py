"""Figures of pairs of tasks: what their masks share (Figure 5), and how tickets of one do on another."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.formats import COMPONENT_NAMES, grouped
from analysis.records.method_names import place
from analysis.records.network_names import GOOD
from analysis.report.figures.drawing import WIDTH, Drawing, Slice, grid, slices
from analysis.report.figures.heatmap import heatmap
from analysis.report.words.conclusions import opening
from analysis.tables import Tables
from lottery_ray.inputs.tasks import task_order, title

Shown = Callable[[float], str]


def drawings(found: Tables) -> Iterator[Drawing]:
    """Those that there are data for."""
    table = found.task_overlap[found.task_overlap["network"] == GOOD]
    for part in slices(table, by_method=True):
        for component, cells in grouped(part.rows, "component"):
            if (cells["task"] != cells["other_task"]).any():
                yield _overlap(part, component, cells)
    yield from _transfers(found)


def _overlap(part: Slice, component: str, cells: pd.DataFrame) -> Drawing:
    """What each two tasks share, and beside it over what chance would have them share."""
    tasks = sorted({*cells["task"], *cells["other_task"]}, key=task_order)
    width = min(WIDTH, 3.0 + 0.95 * len(tasks))
    figure = Figure(figsize=(width, 1.3 + 0.42 * len(tasks)), layout="constrained")
    left, right = figure.subplots(1, 2)
    both, sd, ratio = (_matrix(cells, tasks, name) for name in ("both", "both_sd", "ratio"))
    np.fill_diagonal(ratio, np.nan)
    outside = (both < _matrix(cells, tasks, "chance_both_low")) | (
        both > _matrix(cells, tasks, "chance_both_high")
    )
    least, most = np.nanmin([0.8, *ratio.ravel()]), np.nanmax([1.2, *ratio.ravel()])
    _cells(left, both, tasks, _counted, ends=_ends(both), sds=sd)
    _cells(right, ratio, tasks, "{:.2f}".format, ends=(least, most), framed=outside)
    left.set_title(f"{COMPONENT_NAMES[component]} that both keep")
    right.set_title("over what chance gives")
    words = place(part.method, part.size)
    caption = (
        f"{opening(words)}: {COMPONENT_NAMES[component]} that the good masks of two tasks share in the same"
        " seed, mean over seeds, with the standard deviation in small print; the diagonal is how many each"
        " keeps. Right: over the expectation for independent masks of the same sizes; 1.00 is chance, and"
        " framed ones lie outside its 95%."
    )
    return Drawing("tasks", part.name("task_overlap", component), caption, figure, part.folded)


def _matrix(cells: pd.DataFrame, tasks: list[str], name: str) -> np.ndarray:
    """Lower triangle, whichever of a pair comes first."""
    matrix = np.full((len(tasks), len(tasks)), np.nan)
    for one, other, value in zip(cells["task"], cells["other_task"], cells[name], strict=True):
        places = sorted((tasks.index(one), tasks.index(other)), reverse=True)
        matrix[places[0], places[1]] = value
    return matrix


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(np.nanmin(values)), float(np.nanmax(values))


def _counted(count: float) -> str:
    return f"{count:.1f}" if count < 1000 else f"{count:.2g}".replace("e+0", "e")


def _cells(axis: Axes, means: np.ndarray, names: list[str], shown: Shown, **more: Any) -> None:
    """A matrix between tasks. more: see `heatmap`."""
    heatmap(axis, means, shown, **more)
    titles = [title(name) for name in names]
    axis.set_xticks(np.arange(len(names)) + 0.5, titles, rotation=45, ha="right")
    axis.set_yticks(np.arange(len(names)) + 0.5, titles)


def _transfers(found: Tables) -> Iterator[Drawing]:
    """Scores of transferred tickets; on the diagonal a task's own good ticket."""
    source = found.summary["network"].map(lambda network: network.source)
    own = found.summary["network"] == GOOD
    table = found.summary.assign(source=source.fillna(found.summary["task"]))[source.notna() | own]
    for part in slices(table, by_method=True):
        if (part.rows["network"] != GOOD).any():
            yield _transfer(part)


def _transfer(part: Slice) -> Drawing:
    tasks = sorted({*part.rows["task"], *part.rows["source"]}, key=task_order)
    measures = list(dict.fromkeys(part.rows["measure"]))
    figure, axes = grid(len(measures), 1.6 + 0.42 * len(tasks), 2)
    for axis, measure in zip(axes, measures, strict=True):
        cells = part.rows[part.rows["measure"] == measure]
        wide = cells.pivot(index="task", columns="source", values="mean").reindex(index=tasks, columns=tasks)
        _cells(axis, wide.to_numpy(float), tasks, "{:.2f}".format, ends=_ends(wide.to_numpy(float)))
        axis.set_title(measure)
        axis.set_xlabel("ticket of")
        axis.set_ylabel("on")
    caption = (
        f"{opening(place(part.method, part.size))}: dev scores of good subnetworks on other tasks, mean"
        " over seeds. A line is a task, a column where the ticket was found; the diagonal is the task's own."
        " Compare within a line: tasks differ in their metrics."
    )
    return Drawing("transfer", part.name("transfer"), caption, figure, part.folded)
