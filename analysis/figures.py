"""The figures of the report, as SVG for the page and PNG for elsewhere.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; every network also has
a marker of its own.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from analysis.cells import rows
from analysis.tables import Analysis
from lottery_ray.tasks import METRIC_NAMES, TASKS

INK = "#1a1b1e"
FAINT = "#8a8d93"
COLOURS = {"full": INK, "good": "#0072b2", "random": "#e69f00", "bad": "#d55e00"}
MARKERS = {"full": "D", "good": "o", "random": "s", "bad": "v"}
COMPONENTS = {"heads": "heads", "mlp": "MLPs", "weight": "weights"}
SEED_COLOURS = ("#009e73", "#cc79a7", "#56b4e9", "#a6761d", FAINT)
WIDTH = 10.8
"""Of a figure, in inches."""
LOWEST = {"accuracy": 0.0, "matthews": -1.0, "pearson": -1.0}
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlecolor": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lottery_ray",
}


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name and what it shows; `group` names the part of the page it is in."""

    group: str
    name: str
    caption: str
    figure: Figure


def draw(found: Analysis) -> list[Drawing]:
    """All figures that the tables have data for."""
    with mpl.rc_context(STYLE):
        methods = [method for method in dict.fromkeys(found.summary["method"]) if method]
        drawn = [_scores(found, method) for method in methods]
        if len(found.gaps):
            drawn.append(_gaps(found))
        if found.overlap["jaccard"].notna().any():
            drawn.append(_overlap(found))
        drawn += [_survival(found, str(task)) for task in dict.fromkeys(found.survival["task"])]
        drawn += [_search(found, str(task)) for task in dict.fromkeys(found.searches["task"])]
    return drawn


def save(drawn: list[Drawing], folder: Path) -> None:
    """PNG files on white, 150 dots per inch."""
    folder.mkdir(parents=True, exist_ok=True)
    for drawing in drawn:
        drawing.figure.savefig(
            folder / f"{drawing.name}.png", dpi=150, facecolor="white", bbox_inches="tight"
        )


def svg(drawing: Drawing) -> str:
    """An <svg> element to stand in a page: transparent, its ink and colours set by the page's style."""
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        drawing.figure.savefig(
            buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{drawing.name}-", text)
    text = text.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return text.replace("<svg", f'<svg role="img" aria-label="{drawing.caption}"', 1)


def _grid(count: int, height: float, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of the page's width with `count` axes, row by row; height in inches of one."""
    lines = -(-count // columns)
    figure = Figure(figsize=(WIDTH, lines * height), layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.08))
    axes = [figure.add_subplot(lines, columns, place + 1) for place in range(count)]
    return figure, axes


def _scores(found: Analysis, method: str) -> Drawing:
    """Per task: full, good, random and bad; a dot per seed, and the mean with its interval."""
    tasks = list(dict.fromkeys(found.scores.loc[found.scores["method"].isin(["", method]), "task"]))
    figure, axes = _grid(len(tasks), 3.0, 3 if len(tasks) > 4 else 2)
    for axis, task in zip(axes, tasks, strict=True):
        _score_panel(axis, found, str(task), method)
    handles = [
        Line2D([], [], ls="", marker="o", mfc="none", mec=INK, label="pruned"),
        Line2D([], [], ls="", marker="o", mfc=INK, mec=INK, label="retrained (full: as fine-tuned)"),
        Line2D([], [], ls="", marker="o", ms=3, mfc=FAINT, mec="none", label="one seed"),
        Line2D([], [], ls="--", color=FAINT, label="majority baseline"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    caption = (
        f"{method.capitalize()} pruning: dev scores of the full model and of its good, random and bad"
        " subnetworks, pruned and retrained. Small dots are seeds, large marks means, bars 95% t intervals;"
        " one that leaves its panel goes beyond the range of the metric."
    )
    return Drawing("scores", f"scores_{method}", caption, figure)


def _score_panel(axis: Axes, found: Analysis, task: str, method: str) -> None:
    metric = TASKS[task].metric
    means = found.summary[(found.summary["task"] == task) & found.summary["method"].isin(["", method])]
    limits = []
    for place, kind in enumerate(COLOURS):
        for row in rows(means[means["kind"] == kind]):
            shift = {"pruned": -0.17, "retrained": 0.17}.get(row["measure"], 0.0)
            filled = row["measure"] != "pruned"
            points = found.scores[
                (found.scores["task"] == task)
                & (found.scores["method"] == row["method"])
                & (found.scores["kind"] == kind)
                & (found.scores["measure"] == row["measure"])
            ]
            dots = points.groupby("seed")["score"].mean().to_numpy()
            axis.plot(
                np.full(len(dots), place + shift + 0.12), dots, ".", ms=5, color=COLOURS[kind], alpha=0.6
            )
            axis.errorbar(
                place + shift,
                row["mean"],
                yerr=None if np.isnan(row["half"]) else row["half"],
                fmt=MARKERS[kind],
                color=COLOURS[kind],
                mfc=COLOURS[kind] if filled else "none",
                ms=7,
                capsize=3,
                elinewidth=1.3,
            )
            limits += [max(row["low"], LOWEST[metric]), min(row["high"], 1.0), *dots]
    majority = found.tasks.set_index("task")["majority"].get(task)
    if majority is not None:
        axis.axhline(majority, ls="--", lw=1, color=FAINT, zorder=0)
        limits.append(majority)
    low, high = np.nanmin(limits), np.nanmax(limits)
    margin = 0.06 * max(high - low, 0.05)
    axis.set_ylim(low - margin, high + margin)
    axis.set_xlim(-0.5, len(COLOURS) - 0.5)
    axis.set_xticks(range(len(COLOURS)), list(COLOURS))
    axis.tick_params(axis="x", length=0)
    axis.set_ylabel(METRIC_NAMES[metric])
    axis.set_title(_title(found, task))


def _title(found: Analysis, task: str) -> str:
    conclusive = found.tasks.set_index("task")["conclusive"].get(task, True)
    return TASKS[task].title + ("" if conclusive else " (left out)")


def _gaps(found: Analysis) -> Drawing:
    """Per method and measure: good minus random, and good minus bad, by task."""
    gaps = found.gaps[found.gaps["network"] == "good"]
    panels = list(gaps.groupby(["method", "measure"], sort=False))
    tasks = list(dict.fromkeys(gaps["task"]))
    figure, axes = _grid(len(panels), 1.0 + 0.42 * len(tasks), 2)
    for axis, (names, group) in zip(axes, panels, strict=True):
        for versus, shift in (("random", 0.14), ("bad", -0.14)):
            versus_gaps = group[group["versus"] == versus]
            places = [-tasks.index(task) + shift for task in versus_gaps["task"]]
            axis.errorbar(
                versus_gaps["mean"],
                places,
                xerr=versus_gaps["half"].fillna(0),
                fmt=MARKERS[versus],
                color=COLOURS[versus],
                ms=6,
                capsize=3,
                elinewidth=1.3,
            )
        axis.axvline(0, lw=1, color=FAINT, zorder=0)
        low, high = np.nanmin([*group["mean"], 0.0]), np.nanmax([*group["mean"], 0.0])
        shown = group[["low", "high"]].clip(low - 0.6, high + 0.6).to_numpy()
        axis.set_xlim(np.nanmin([low, *shown[:, 0]]) - 0.04, np.nanmax([high, *shown[:, 1]]) + 0.04)
        axis.set_ylim(-len(tasks) + 0.5, 0.5)
        axis.set_yticks([-place for place in range(len(tasks))], [_title(found, str(task)) for task in tasks])
        axis.tick_params(axis="y", length=0)
        axis.set_title(", ".join(map(str, names)))
        axis.set_xlabel("gap in dev score")
    handles = [
        Line2D([], [], ls="", marker=MARKERS[name], color=COLOURS[name], label=f"good minus {name}")
        for name in ("random", "bad")
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    caption = "Gaps in dev score, paired by seed, with 95% t intervals. An interval on zero is undecided."
    return Drawing("gaps", "gaps", caption, figure)


def _overlap(found: Analysis) -> Drawing:
    """Observed Jaccard of good masks of two seeds beside chance, by task and component."""
    table = found.overlap
    components = list(dict.fromkeys(table["component"]))
    tasks = list(dict.fromkeys(table["task"]))
    figure, axes = _grid(len(components), 1.1 + 0.36 * len(tasks), 3)
    for axis, component in zip(axes, components, strict=True):
        means = table[table["component"] == component]
        pairs = found.overlap_pairs[found.overlap_pairs["component"] == component]
        places = [-tasks.index(task) for task in means["task"]]
        axis.plot(
            pairs["jaccard"],
            [-tasks.index(task) for task in pairs["task"]],
            ".",
            ms=4,
            color=COLOURS["good"],
            alpha=0.4,
        )
        axis.plot(means["jaccard"], places, "o", ms=8, color=COLOURS["good"])
        axis.plot(means["chance"], places, "|", ms=15, mew=2, color=INK)
        axis.set_xlim(0, 1.02)
        axis.set_ylim(-len(tasks) + 0.5, 0.5)
        axis.set_yticks([-place for place in range(len(tasks))], [TASKS[str(task)].title for task in tasks])
        axis.tick_params(axis="y", length=0)
        axis.set_title(COMPONENTS[str(component)])
        axis.set_xlabel("Jaccard")
    handles = [
        Line2D([], [], ls="", marker="o", ms=8, color=COLOURS["good"], label="mean over pairs of seeds"),
        Line2D([], [], ls="", marker=".", ms=5, color=COLOURS["good"], alpha=0.4, label="one pair"),
        Line2D([], [], ls="", marker="|", ms=12, mew=2, color=INK, label="expected by chance"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    caption = "Overlap of the good masks of two seeds of one task, beside two random masks of the same sizes."
    return Drawing("overlap", "overlap", caption, figure)


def _survival(found: Analysis, task: str) -> Drawing:
    """Heads (layers down, heads across) and MLPs: the share of seeds that keep each."""
    table = found.survival[found.survival["task"] == task]
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
    left.set_title(TASKS[task].title)
    caption = (
        f"{TASKS[task].title}: share of the {table['seeds'].max()} seeds whose good structured subnetwork"
        " keeps each head and MLP. Layer 1 is next to the embeddings."
    )
    return Drawing("survival", f"survival_{task}", caption, figure)


def _search(found: Analysis, task: str) -> Drawing:
    """Score against share kept along the searches of a task, a line per seed."""
    table = found.searches[found.searches["task"] == task]
    panels = list(table.groupby(["method", "component"], sort=False))
    figure, axes = _grid(len(panels), 2.7, 3)
    for axis, ((method, component), group) in zip(axes, panels, strict=True):
        for number, (seed, steps) in enumerate(group.groupby("seed")):
            colour = SEED_COLOURS[number % len(SEED_COLOURS)]
            accepted, rejected = steps[steps["accepted"]], steps[~steps["accepted"]]
            shares = accepted["kept"] / accepted["of"]
            axis.plot(shares, accepted["score"], "o-", ms=3, lw=1.2, color=colour, label=f"seed {seed}")
            axis.plot(rejected["kept"] / rejected["of"], rejected["score"], "x", ms=5, color=colour)
            axis.axhline(float(steps["floor"].iloc[0]), ls=":", lw=1, color=colour, zorder=0)
        axis.set_xlim(1.03, -0.03)
        axis.set_title(f"{TASKS[task].title}, {method}")
        axis.set_xlabel(f"share of {COMPONENTS[str(component)]} kept")
        axis.set_ylabel("score on the dev set")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    caption = (
        f"{TASKS[task].title}: dev score along each search, from the full model on the left. Crosses are"
        " steps that fell below the floor (dotted) and were taken back."
    )
    return Drawing("searches", f"search_{task}", caption, figure)
