"""Figures of the searches: score against share kept along each."""

import textwrap
from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes

from analysis.formats import COMPONENT_NAMES, grouped
from analysis.report.figures.drawing import INK, SEED_COLOURS, Drawing, grid, mark
from analysis.tables import Tables
from lottery_ray.inputs.tasks import title


def drawings(found: Tables) -> Iterator[Drawing]:
    """One per task."""
    for task in dict.fromkeys(found.searches["task"]):
        yield _search(found, str(task))


def _search(found: Tables, task: str) -> Drawing:
    """Score against share kept along the searches of a task, a line per seed."""
    table = found.searches[found.searches["task"] == task]
    panels = list(grouped(table, ["method", "component"]))
    figure, axes = grid(len(panels), 2.6, 3)
    for axis, ((method, component), group) in zip(axes, panels, strict=True):
        for number, (seed, steps) in enumerate(group.groupby("seed")):
            _search_line(axis, steps, f"seed {seed}", SEED_COLOURS[number % len(SEED_COLOURS)])
        axis.set_xlim(1.03, -0.03)
        axis.set_title(textwrap.fill(str(method), 32))
        axis.set_xlabel(f"share of {COMPONENT_NAMES[str(component)]} kept")
        axis.set_ylabel("score")
    handles, labels = axes[0].get_legend_handles_labels()
    handles.append(mark("below the floor, taken back", "x", INK, ms=5))
    if table["past_floor"].any():
        handles.append(mark("past the floor", "o", INK, ms=3.5, mfc="none"))
    labels = [*labels, *(str(handle.get_label()) for handle in handles[len(labels) :])]
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    data = ROWS.get(str(table["data"].iloc[0])) if table["data"].nunique() == 1 else None
    caption = (
        f"{title(task)}: score{f' on {data}' if data else ''} along each search, from the full model on"
        " the left. Crosses are steps that fell below the floor (dotted) and were taken back; hollow marks,"
        " on a faint line, are steps past it, of which only smaller sizes are read."
    )
    return Drawing("searches", f"search_{task}", caption, figure)


ROWS = {"dev": "the dev set", "held_out": "held-out rows", "train_subset": "training rows"}


def _search_line(axis: Axes, steps: pd.DataFrame, label: str, colour: str) -> None:
    steps = steps.assign(share=steps["kept"] / steps["of"])
    accepted, past = steps[steps["accepted"]], steps[steps["past_floor"]]
    rejected = steps[~steps["accepted"] & ~steps["past_floor"]]
    axis.plot(accepted["share"], accepted["score"], "o-", ms=3, lw=1.2, color=colour, label=label)
    axis.plot(rejected["share"], rejected["score"], "x", ms=5, color=colour)
    if len(past):
        fell = rejected[rejected["phase"] == past["phase"].iloc[0]].iloc[:1]
        trail = pd.concat([fell, past])
        axis.plot(trail["share"], trail["score"], "-", lw=0.8, color=colour, alpha=0.4)
        axis.plot(past["share"], past["score"], "o", ms=3.5, mfc="none", color=colour, alpha=0.7)
    axis.axhline(float(steps["floor"].iloc[0]), ls=":", lw=1, color=colour, zorder=0)
