"""Figures of null draws: where good stands among random masks of its size."""

from collections.abc import Iterator

import numpy as np

from analysis.formats import grouped
from analysis.records.method_names import place
from analysis.report.figures.drawing import (
    COLOURS,
    Drawing,
    Slice,
    colour,
    grid,
    lines,
    mark,
    slices,
    task_title,
)
from analysis.report.words.conclusions import opening
from analysis.tables import Tables
from lottery_ray.inputs.tasks import metric_name


def draw(found: Tables) -> Iterator[Drawing]:
    """One per method and size."""
    for part in slices(found.null_draws, by_method=True):
        yield _nulls(found, part)


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
