"""Figures of scores: how high, where they spread, and where good stands among null draws."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.formats import grouped, rows
from analysis.records.method_names import NO_METHOD, place
from analysis.records.network_names import GOOD, RANDOM, NetworkName
from analysis.report.figures.drawing import (
    COLOURS,
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
from analysis.scores.statistics import NETWORK_COLUMNS
from analysis.tables import Tables
from lottery_ray.inputs.tasks import CORRELATIONS, known_tasks, metric_name, title

SEEDS = "Small dots are seeds, large marks"
SPREADS = (
    (GOOD, "seed_sd", "good, SD over seeds", "o", COLOURS["good"]),
    (RANDOM, "seed_sd", "random, SD over seeds", "s", COLOURS["random"]),
    (RANDOM, "draw_sd", "random, SD over draws of one seed", "x", COLOURS["random"]),
    (GOOD, "dev_se", "good, dev-set standard error", "|", INK),
)


def drawings(found: Tables) -> Iterator[Drawing]:
    """Per method and size the scores, per size where they spread, per method and size the null draws."""
    for part in slices(found.summary[found.summary["method"] != NO_METHOD], by_method=True):
        yield _scores(found, part)
    for part in slices(found.spread[found.spread["method"] != NO_METHOD]):
        yield _spread(part)
    for part in slices(found.null_draws, by_method=True):
        yield _nulls(found, part)


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
    axis: Axes, found: Tables, table: pd.DataFrame, names: list[NetworkName], *, named: bool
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
    same = (found.scores[NETWORK_COLUMNS] == [row[name] for name in NETWORK_COLUMNS]).all(axis=1)
    return found.scores[same].groupby("seed")["score"].mean().to_numpy(float)


def _lowest(task: str) -> float:
    """Of its metric."""
    return -1.0 if task not in known_tasks() or known_tasks()[task].metric in CORRELATIONS else 0.0


def _spread(part: Slice) -> Drawing:
    """A panel per method and measure, a line per task."""
    panels = list(grouped(part.rows, ["method", "measure"]))
    tasks = list(dict.fromkeys(part.rows["task"]))
    figure, axes = grid(len(panels), 1.6 + 0.26 * len(tasks), 2)
    for number, (axis, (names, group)) in enumerate(zip(axes, panels, strict=True)):
        kinds = group["network"].map(lambda network: network.drawn_as)
        for network, column, _, style, paint in SPREADS:
            rows = group[(kinds == network) & group[column].notna()]
            axis.plot(
                rows[column], [-tasks.index(t) for t in rows["task"]], style, ms=7, color=paint, mew=1.6
            )
        axis.axvline(0, lw=1, color=FAINT, zorder=0)
        axis.grid(axis="y", lw=0.4, color=FAINT, alpha=0.35)
        lines(axis, [title(str(task)) for task in tasks], named=number % 2 == 0)
        axis.set_title(", ".join(map(str, names)))
        axis.set_xlabel("dev score")
    drawn = part.rows["network"].map(lambda network: network.drawn_as)
    handles = [
        mark(label, style, paint, mew=1.6)
        for network, column, label, style, paint in SPREADS
        if part.rows.loc[drawn == network, column].notna().any()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    caption = (
        f"Where scores spread{part.size.at}. Marks left of the tick: the dev set"
        " is too small to tell seeds apart. Marks right of it: seeds differ by more than its examples do."
    )
    return Drawing("spread", part.name("spread"), caption, figure, part.folded)


def _nulls(found: Tables, part: Slice) -> Drawing:
    """A panel per task, a line per kind and seed: every null draw, and good."""
    table = part.rows
    tasks = list(dict.fromkeys(table["task"]))
    places = list(dict.fromkeys(zip(table["kind"], table["seed"], strict=True)))
    columns = 3 if len(tasks) > 4 else 2
    figure, axes = grid(len(tasks), 1.5 + 0.24 * len(places), columns)
    for number, (axis, task) in enumerate(zip(axes, tasks, strict=True)):
        for (kind, seed), draws in grouped(table[table["task"] == task], ["kind", "seed"]):
            line = -places.index((kind, seed))
            spread = line + 0.24 * np.sin(2.4 * np.arange(len(draws)))
            axis.plot(draws["score"], spread, ".", ms=4, color=colour(kind), alpha=0.5)
            axis.plot(draws["good"].iloc[:1], [line], "o", ms=7, color=COLOURS["good"])
        lines(axis, [f"{kind}, seed {seed}" for kind, seed in places], named=number % columns == 0)
        axis.set_xlabel(metric_name(str(task)))
        axis.set_title(task_title(found, str(task)))
    kinds = list(dict.fromkeys(table["kind"]))
    handles = [mark("good", "o", COLOURS["good"], ms=7)]
    handles += [mark(f"one {kind} mask", ".", colour(kind), ms=6) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    caption = (
        f"{opening(place(part.method, part.size))}: pruned dev scores of good and of random masks of"
        " its size, none of them trained."
    )
    return Drawing("nulls", part.name("nulls"), caption, figure, part.folded)
