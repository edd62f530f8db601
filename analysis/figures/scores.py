"""Figures of scores: of every network, of gaps, of what good is made of, and of null draws."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis import networks
from analysis.cells import MINUS, rows
from analysis.composition import SPLITS, TOTAL
from analysis.conclusions import opening, place
from analysis.figures.drawing import (
    COLOURS,
    FAINT,
    INK,
    MARKERS,
    Drawing,
    Series,
    Slice,
    colour,
    gap_panels,
    grid,
    lines,
    mark,
    marker,
    slices,
    title,
)
from analysis.tables import Analysis
from lottery_ray.tasks import METRIC_NAMES, TASKS

LOWEST = {"accuracy": 0.0, "matthews": -1.0, "pearson": -1.0}
VERSUS = ("random", "layer-matched", "pretrained", "bad")
"""The networks that good is drawn against; the table has all of them."""


def draw(found: Analysis) -> Iterator[Drawing]:
    """Those that there are data for."""
    for part in slices(found.scores[found.scores["method"] != ""], by_method=True):
        yield _scores(found, part)
    versus = found.gaps["versus"].map(networks.drawn_as)
    for part in slices(found.gaps[(found.gaps["network"] == "good") & versus.isin(VERSUS)]):
        yield _gaps(found, part)
    for part in slices(found.composition):
        yield _composition(found, part)
    for part in slices(found.null_draws, by_method=True):
        yield _nulls(found, part)


def _scores(found: Analysis, part: Slice) -> Drawing:
    """A panel per task, a line per network: a dot per seed, and the mean with its interval."""
    table = pd.concat([found.scores[found.scores["method"] == ""], part.rows])
    names = sorted(dict.fromkeys(table["network"]), key=networks.order)
    tasks = list(dict.fromkeys(table["task"]))
    columns = 3 if len(tasks) > 4 else 2
    figure, axes = grid(len(tasks), 1.0 + 0.27 * len(names), columns)
    for number, (axis, task) in enumerate(zip(axes, tasks, strict=True)):
        _score_panel(axis, found, table[table["task"] == task], names, named=number % columns == 0)
    handles = [
        mark("pruned", "o", INK, mfc="none"),
        mark("retrained (full: as fine-tuned)", "o", INK),
        mark("one seed", ".", FAINT, ms=5),
        mark("majority baseline", "|", FAINT, ms=10),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    caption = (
        f"{opening(place(part.method, part.size))}: dev scores of the full model and of its"
        " subnetworks, pruned and retrained. Small dots are seeds, large marks means, bars 95% t intervals;"
        " one that leaves its panel goes beyond the range of the metric."
    )
    return Drawing("scores", part.name("scores"), caption, figure, part.folded)


def _score_panel(axis: Axes, found: Analysis, table: pd.DataFrame, names: list[str], *, named: bool) -> None:
    task = str(table["task"].iloc[0])
    metric = TASKS[task].metric
    keys = ["task", "method", "size", "network", "measure"]
    means = found.summary.merge(table[keys].drop_duplicates())
    limits = []
    for row in rows(means):
        network, measure = row["network"], row["measure"]
        line = {"pruned": 0.17, "retrained": -0.17}.get(measure, 0.0) - names.index(network)
        points = table[(table["network"] == network) & (table["measure"] == measure)]
        dots = points.groupby("seed")["score"].mean().to_numpy()
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
        limits += [max(row["low"], LOWEST[metric]), min(row["high"], 1.0), *dots]
    majority = found.tasks.set_index("task")["majority"].get(task)
    if majority is not None:
        axis.axvline(majority, ls="--", lw=1, color=FAINT, zorder=0)
        limits.append(majority)
    low, high = np.nanmin(limits), np.nanmax(limits)
    margin = 0.04 * max(high - low, 0.05)
    axis.set_xlim(low - margin, high + margin)
    lines(axis, names, named=named)
    axis.grid(axis="y", lw=0.4, color=FAINT, alpha=0.35)
    axis.set_axisbelow(True)
    axis.set_xlabel(METRIC_NAMES[metric])
    axis.set_title(title(found, task))


def _gaps(found: Analysis, part: Slice) -> Drawing:
    """Good against random, layer-matched, pretrained and bad."""
    table = part.rows
    drawn = table["versus"].map(networks.drawn_as)

    def series(name: str) -> Series:
        def chosen(group: pd.DataFrame) -> pd.DataFrame:
            return group[group["versus"].map(networks.drawn_as) == name]

        return Series(f"good minus {name}", chosen, COLOURS[name], MARKERS[name])

    figure = gap_panels(found, table, [series(name) for name in VERSUS if (drawn == name).any()])
    caption = (
        f"Gaps in dev score{_at(part.size)}, paired by seed, with 95% t intervals. An interval on zero is"
        " undecided."
    )
    return Drawing("gaps", part.name("gaps"), caption, figure, part.folded)


def _at(size: str) -> str:
    return networks.at(size).removeprefix(",")


def _composition(found: Analysis, part: Slice) -> Drawing:
    """The whole gap to random, and its parts."""
    table = part.rows
    paints = {"layer-matched": (COLOURS["layer-matched"], "D"), "pretrained": (COLOURS["pretrained"], "^")}
    through = list(dict.fromkeys(table["through"].map(networks.drawn_as)))

    def series(label: str, kind: str, name: str, paint: str, style: str) -> Series:
        def chosen(group: pd.DataFrame) -> pd.DataFrame:
            return group[(group["through"].map(networks.drawn_as) == kind) & (group["part"] == name)]

        return Series(label, chosen, paint, style)

    drawn = [series("good minus random", through[0], TOTAL, INK, "o")]
    for kind in through:
        paint, style = paints[kind]
        profile, rest = SPLITS[kind]
        drawn.append(series(f"{profile} ({kind} {MINUS} random)", kind, profile, paint, style))
        drawn.append(series(f"{rest} (good {MINUS} {kind})", kind, rest, COLOURS["good"], style))
    figure = gap_panels(found, table, drawn)
    caption = (
        f"What good is made of{_at(part.size)}: its gap to random and the parts that add up to it, paired by"
        " seed, with 95% t intervals."
    )
    return Drawing("composition", part.name("composition"), caption, figure, part.folded)


def _nulls(found: Analysis, part: Slice) -> Drawing:
    """A panel per task, a line per kind and seed: every null draw, and good."""
    table = part.rows
    tasks = list(dict.fromkeys(table["task"]))
    places = list(dict.fromkeys(zip(table["kind"], table["seed"], strict=True)))
    columns = 3 if len(tasks) > 4 else 2
    figure, axes = grid(len(tasks), 1.5 + 0.24 * len(places), columns)
    for number, (axis, task) in enumerate(zip(axes, tasks, strict=True)):
        for (kind, seed), draws in table[table["task"] == task].groupby(["kind", "seed"], sort=False):
            line = -places.index((kind, seed))
            spread = line + 0.24 * np.sin(2.4 * np.arange(len(draws)))
            axis.plot(draws["score"], spread, ".", ms=4, color=colour(str(kind)), alpha=0.5)
            axis.plot(draws["good"].iloc[:1], [line], "o", ms=7, color=COLOURS["good"])
        lines(axis, [f"{kind}, seed {seed}" for kind, seed in places], named=number % columns == 0)
        axis.set_xlabel(METRIC_NAMES[TASKS[str(task)].metric])
        axis.set_title(title(found, str(task)))
    kinds = list(dict.fromkeys(table["kind"]))
    handles = [mark("good", "o", COLOURS["good"], ms=7)]
    handles += [mark(f"one {kind} mask", ".", COLOURS[kind], ms=6) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    caption = (
        f"{opening(place(part.method, part.size))}: pruned dev scores of good and of random masks of"
        " its size, none of them trained."
    )
    return Drawing("nulls", part.name("nulls"), caption, figure, part.folded)
