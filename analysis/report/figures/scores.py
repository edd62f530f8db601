"""Figures of the scores of every network."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.formats import rows
from analysis.records.method_names import NO_METHOD, place
from analysis.records.network_names import Network
from analysis.report.figures.drawing import (
    FAINT,
    INK,
    Drawing,
    Slice,
    colour,
    grid,
    lines,
    mark,
    marker,
    slices,
    task_title,
)
from analysis.report.words.conclusions import opening
from analysis.scores.statistics import NETWORK
from analysis.tables import Tables
from lottery_ray.inputs.tasks import CORRELATIONS, known, metric_name

SEEDS = "Small dots are seeds, large marks"


def draw(found: Tables) -> Iterator[Drawing]:
    """One per method and size."""
    for part in slices(found.summary[found.summary["method"] != NO_METHOD], by_method=True):
        yield _scores(found, part)


def _scores(found: Tables, part: Slice) -> Drawing:
    """A panel per task, a line per network: a dot per seed, and the mean with its interval."""
    table = pd.concat([found.summary[found.summary["method"] == NO_METHOD], part.rows])
    names = sorted(set(table["network"]))
    tasks = list(dict.fromkeys(table["task"]))
    columns = 3 if len(tasks) > 4 else 2
    figure, axes = grid(len(tasks), 1.0 + 0.27 * len(names), columns)
    for number, (axis, task) in enumerate(zip(axes, tasks, strict=True)):
        _score_panel(axis, found, table[table["task"] == task], names, named=number % columns == 0)
    handles = [
        mark("pruned", "o", INK, mfc="none"),
        mark("retrained (full: as fine-tuned)", "o", INK),
        mark("majority baseline", "|", FAINT, ms=10),
    ]
    seeds = (found.scores["method"] == part.method).any()
    if seeds:
        handles.insert(2, mark("one seed", ".", FAINT, ms=5))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    caption = (
        f"{opening(place(part.method, part.size))}: dev scores of the full model and of its"
        f" subnetworks, pruned and retrained. {SEEDS if seeds else 'Marks are'} means, bars 95% t intervals;"
        " one that leaves its panel goes beyond the range of the metric."
    )
    return Drawing("scores", part.name("scores"), caption, figure, part.folded)


def _score_panel(
    axis: Axes, found: Tables, table: pd.DataFrame, names: list[Network], *, named: bool
) -> None:
    """table: the rows of the summary that it shows."""
    task = str(table["task"].iloc[0])
    limits = []
    for row in rows(table):
        network, measure = row["network"], row["measure"]
        line = {"pruned": 0.17, "retrained": -0.17}.get(measure, 0.0) - names.index(network)
        dots = _seeds(found, row)
        paint = colour(network)
        axis.plot(dots, np.full(len(dots), line - 0.1), ".", ms=4, color=paint, alpha=0.6)
        axis.errorbar(
            row["mean"],
            line,
            xerr=None if np.isnan(row["half"]) else row["half"],
            fmt=marker(network),
            color=paint,
            mfc="none" if measure == "pruned" else paint,
            ms=6,
            capsize=2.5,
            elinewidth=1.2,
        )
        limits += [row["mean"], max(row["low"], _lowest(task)), min(row["high"], 1.0), *dots]
    majority = found.tasks.set_index("task")["majority"].get(task)
    if majority is not None:
        axis.axvline(majority, ls="--", lw=1, color=FAINT, zorder=0)
        limits.append(majority)
    low, high = np.nanmin(limits), np.nanmax(limits)
    margin = 0.04 * max(high - low, 0.05)
    axis.set_xlim(low - margin, high + margin)
    lines(axis, list(map(str, names)), named=named)
    axis.grid(axis="y", lw=0.4, color=FAINT, alpha=0.35)
    axis.set_axisbelow(True)
    axis.set_xlabel(metric_name(task))
    axis.set_title(task_title(found, task))


def _seeds(found: Tables, row: dict[str, Any]) -> np.ndarray:
    """The scores behind a mean, one per seed; none where only the mean was published."""
    same = (found.scores[NETWORK] == [row[name] for name in NETWORK]).all(axis=1)
    return found.scores[same].groupby("seed")["score"].mean().to_numpy(float)


def _lowest(task: str) -> float:
    """Of its metric."""
    return -1.0 if task not in known() or known()[task].metric in CORRELATIONS else 0.0
