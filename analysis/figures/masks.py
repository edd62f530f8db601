"""Figures of masks: how alike they are, which parts survive, and the searches that found them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import networks
from analysis.figures.drawing import (
    COLOURS,
    COMPONENTS,
    INK,
    SEED_COLOURS,
    Drawing,
    Slice,
    grid,
    lines,
    mark,
    slices,
)
from analysis.tables import Analysis
from lottery_ray.tasks import TASKS


def draw(found: Analysis) -> Iterator[Drawing]:
    """Those that there are data for."""
    for part in slices(found.overlap[found.overlap["jaccard"].notna()]):
        yield _overlap(found, part)
    for task in dict.fromkeys(found.survival["task"]):
        for part in slices(found.survival[found.survival["task"] == task], by_method=True):
            yield _survival(part, str(task))
    for task in dict.fromkeys(found.searches["task"]):
        yield _search(found, str(task))


def _overlap(found: Analysis, part: Slice) -> Drawing:
    """Observed Jaccard of good masks of two seeds beside chance: a panel per method and component."""
    table, size = part.rows, part.size
    panels = list(table.groupby(["method", "component"], sort=False))
    tasks = list(dict.fromkeys(table["task"]))
    figure, axes = grid(len(panels), 1.6 + 0.3 * len(tasks), 3)
    pairs = found.overlap_pairs[found.overlap_pairs["size"] == size].set_index(["method", "component"])
    for number, (axis, (names, means)) in enumerate(zip(axes, panels, strict=True)):
        of_panel = pairs[pairs.index == names]
        places = [-tasks.index(task) for task in means["task"]]
        every = [-tasks.index(task) if task in tasks else np.nan for task in of_panel["task"]]
        axis.plot(of_panel["jaccard"], every, ".", ms=4, color=COLOURS["good"], alpha=0.4)
        axis.plot(means["jaccard"], places, "o", ms=8, color=COLOURS["good"])
        axis.plot(means["chance"], places, "|", ms=15, mew=2, color=INK)
        axis.set_xlim(0, 1.02)
        lines(axis, [TASKS[str(task)].title for task in tasks], named=number % 3 == 0)
        method, component = names
        axis.set_title(f"{method}: {COMPONENTS[str(component)]}")
        axis.set_xlabel("Jaccard")
    handles = [
        mark("mean over pairs of seeds", "o", COLOURS["good"], ms=8),
        mark("one pair", ".", COLOURS["good"], ms=5, alpha=0.4),
        mark("expected by chance", "|", INK, ms=12, mew=2),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    caption = (
        f"Overlap of the good masks of two seeds of one task{networks.at(size)}, beside two random masks of"
        " the same sizes."
    )
    return Drawing("overlap", part.name("overlap"), caption, figure, part.folded)


def _survival(part: Slice, task: str) -> Drawing:
    """Heads (layers down, heads across) and MLPs: the share of seeds that keep each."""
    table = part.rows
    heads = table[table["component"] == "heads"].pivot(index="layer", columns="index", values="kept")
    mlps = table[table["component"] == "mlp"].pivot(index="layer", columns="index", values="kept")
    layers, width = heads.shape
    figure = Figure(figsize=(0.48 * (width + 1) + 2.2, 0.42 * layers + 1.1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[width, 1.4], sharey=True)
    for axis, cells in ((left, heads), (right, mlps)):
        image = axis.pcolormesh(cells.to_numpy(), cmap="cividis", vmin=0, vmax=1, edgecolors="none")
        for (layer, column), kept in np.ndenumerate(cells.to_numpy()):
            colour = "#000000" if kept > 0.5 else "#ffffff"
            label = f"{kept:.2f}".replace("0.", ".").replace("1.00", "1").replace(".00", "0")
            axis.text(column + 0.5, layer + 0.5, label, ha="center", va="center", color=colour, fontsize=8)
        axis.set_xticks(np.arange(cells.shape[1]) + 0.5, range(1, cells.shape[1] + 1))
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    left.set_yticks(np.arange(layers) + 0.5, range(1, layers + 1))
    left.invert_yaxis()
    left.set_ylabel("layer")
    left.set_xlabel("head")
    right.set_xticks([0.5], ["MLP"])
    figure.colorbar(image, ax=right, label="share of seeds", fraction=0.5, aspect=12)
    left.set_title(f"{TASKS[task].title}, {part.method}{networks.at(part.size)}")
    caption = (
        f"{TASKS[task].title}: share of the {table['seeds'].max()} seeds whose good subnetwork"
        f" ({part.method}{networks.at(part.size)}) keeps each head and MLP. Layer 1 is next to the"
        " embeddings."
    )
    return Drawing("survival", part.name("survival", task), caption, figure, part.folded)


def _search(found: Analysis, task: str) -> Drawing:
    """Score against share kept along the searches of a task, a line per seed."""
    table = found.searches[found.searches["task"] == task]
    panels = list(table.groupby(["method", "component"], sort=False))
    figure, axes = grid(len(panels), 2.6, 3)
    for axis, ((method, component), group) in zip(axes, panels, strict=True):
        for number, (seed, steps) in enumerate(group.groupby("seed")):
            _search_line(axis, steps, f"seed {seed}", SEED_COLOURS[number % len(SEED_COLOURS)])
        axis.set_xlim(1.03, -0.03)
        axis.set_title(str(method))
        axis.set_xlabel(f"share of {COMPONENTS[str(component)]} kept")
        axis.set_ylabel("score")
    handles, labels = axes[0].get_legend_handles_labels()
    handles.append(mark("below the floor, taken back", "x", INK, ms=5))
    if table["past_floor"].any():
        handles.append(mark("past the floor", "o", INK, ms=3.5, mfc="none"))
    labels = [*labels, *(str(handle.get_label()) for handle in handles[len(labels) :])]
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    data = ROWS.get(str(table["data"].iloc[0])) if table["data"].nunique() == 1 else None
    caption = (
        f"{TASKS[task].title}: score{f' on {data}' if data else ''} along each search, from the full model on"
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
