"""Figures of survival: how often each head and MLP is kept, per task and over tasks."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.records.method_names import MAGNITUDE, place
from analysis.records.network_names import GOOD
from analysis.report.figures.drawing import Drawing, Slice, slices
from analysis.report.figures.heatmap import heatmap
from analysis.tables import Tables
from lottery_ray.inputs.tasks import title


def drawings(found: Tables) -> Iterator[Drawing]:
    """Over tasks first; then task by task, folded where there are several."""
    for part in slices(_good(found.task_survival), by_method=True):
        yield _over_tasks(part)
    table = _good(found.survival)
    several = table["task"].nunique() > 2
    for task in dict.fromkeys(table["task"]):
        for part in slices(table[table["task"] == task], by_method=True):
            yield _of_task(part, str(task), several)


def _good(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["network"] == GOOD]


def _of_task(part: Slice, task: str, several: bool) -> Drawing:
    words = place(part.method, part.size)
    seeds = part.rows["seeds"].max()
    if part.method.base == MAGNITUDE.base:
        what = f"share of the weights of each head and MLP that good keeps, mean over {seeds} seeds"
        label, most = "share of weights", None
    else:
        what = f"share of the {seeds} seeds whose good subnetwork keeps each head and MLP"
        label, most = "share of seeds", 1.0
    framed = " Framed: kept by every seed." if most else ""
    caption = (
        f"{title(task)}, {words}: {what}; in small print the standard deviation over seeds.{framed} Layer 1"
        " is next to the embeddings."
    )
    figure = _heatmap(part.rows, "kept", f"{title(task)}, {words}", label, most)
    return Drawing("survival", part.name("survival", task), caption, figure, part.folded or several)


def _over_tasks(part: Slice) -> Drawing:
    words = place(part.method, part.size)
    of, seeds = part.rows["of"].max(), part.rows["seeds"].max()
    if part.method.base == MAGNITUDE.base:
        what, label, most = (
            "share of the weights of each head and MLP that good keeps",
            "share of weights",
            None,
        )
    else:
        what, label, most = f"in how many of {of} tasks good keeps each head and MLP", "tasks", float(of)
    framed = " Framed: kept in every task by every seed." if most else ""
    caption = (
        f"Over {of} tasks, {words}: {what}, mean over {seeds} seeds; in small print the standard deviation"
        f" over seeds.{framed} Layer 1 is next to the embeddings."
    )
    figure = _heatmap(part.rows, "tasks", f"over tasks, {words}", label, most)
    return Drawing("survival", part.name("survival_over_tasks"), caption, figure, part.folded)


def _heatmap(table: pd.DataFrame, value: str, name: str, label: str, most: float | None) -> Figure:
    """Heads (layers down, heads across) and MLPs: means with spreads. most: the value of a component that
    always survives, which is framed; None where no value is one."""
    parts = dict(iter(table.groupby("component", sort=False)))
    widths = {component: int(group["index"].max()) + 1 for component, group in parts.items()}
    layers = int(table["layer"].max()) + 1
    figure = Figure(figsize=(0.52 * sum(widths.values()) + 2.4, 0.46 * layers + 1.1), layout="constrained")
    ratios = [max(width, 1.4) for width in widths.values()]
    axes = figure.subplots(1, len(parts), width_ratios=ratios, sharey=True, squeeze=False)[0]
    ends = (0.0, most) if most else (float(table[value].min()), float(table[value].max()))
    for axis, (component, group) in zip(axes, parts.items(), strict=True):
        means, sds = (
            group.pivot(index="layer", columns="index", values=column).to_numpy(float)
            for column in (value, "sd")
        )
        image = heatmap(axis, means, _short, ends, sds, means == most)
        places = np.arange(widths[component]) + 0.5
        axis.set_xticks(places, range(1, widths[component] + 1) if component == "heads" else ["MLP"])
        axis.set_xlabel("head" if component == "heads" else "")
    axes[0].set_yticks(np.arange(layers) + 0.5, range(1, layers + 1))
    axes[0].set_ylabel("layer")
    axes[0].set_title(name)
    figure.colorbar(image, ax=axes[-1], label=label, fraction=0.5, aspect=12)
    return figure


def _short(value: float) -> str:
    """ ".40", "1", "5.2"."""
    if value > 1:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".removeprefix("0").replace("1.00", "1").replace(".00", "0")
