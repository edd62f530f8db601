"""Figures of gaps: task by task, across tasks, and what they are made of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.formats import MINUS, grouped, rows
from analysis.records.network_names import BAD, GOOD, LAYER_MATCHED, PRETRAINED, RANDOM, NetworkName, with_own
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
from analysis.scores.composition import PARTS_OF_GAP, TOTAL
from analysis.tables import Tables

VERSUS = (RANDOM, LAYER_MATCHED, PRETRAINED, BAD)
"""The networks that good is drawn against, beside those that a user added; the table has all of them."""


def drawings(found: Tables) -> Iterator[Drawing]:
    """Those that there are data for."""
    across = _drawn(found.across_tasks)
    for part in slices(across[across["tasks"] > 1]):
        yield _across(part)
    for part in slices(_drawn(found.gaps)):
        yield _gaps(found, part)
    for part in slices(found.composition):
        yield _composition(found, part)


def _drawn(gaps: pd.DataFrame) -> pd.DataFrame:
    return gaps[(gaps["network"] == GOOD) & _kinds(gaps["versus"]).isin(with_own(VERSUS, gaps["versus"]))]


def _kinds(networks: pd.Series) -> pd.Series:
    """Without the ways of drawing."""
    return networks.map(lambda network: network.drawn_as)


@dataclass(frozen=True)
class Series:
    """One comparison in a panel of gaps: which rows, and how they are drawn."""

    label: str
    rows: Callable[[pd.DataFrame], pd.DataFrame]
    paint: str
    style: str


def _series(table: pd.DataFrame) -> list[Series]:
    """Good minus each of these that is there."""

    def one(versus: NetworkName) -> Series:
        def chosen(group: pd.DataFrame) -> pd.DataFrame:
            return group[_kinds(group["versus"]) == versus].drop_duplicates(
                [column for column in ("task", "method", "size", "measure") if column in group]
            )

        return Series(f"good {MINUS} {versus}", chosen, colour(versus), marker(versus))

    drawn = set(_kinds(table["versus"]))
    return [one(versus) for versus in with_own(VERSUS, drawn) if versus in drawn]


def _across(part: Slice) -> Drawing:
    """A line per method and measure: means over tasks with both intervals."""
    series = _series(part.rows)
    places = list(dict.fromkeys(zip(part.rows["method"], part.rows["measure"], strict=True)))
    figure, (axis,) = grid(1, 1.3 + 0.26 * len(places) * max(len(series), 2), 1)
    for number, one in enumerate(series):
        shift = 0.8 * (number + 0.5) / len(series) - 0.4
        for row in rows(one.rows(part.rows)):
            _diamond(axis, row, -places.index((row["method"], row["measure"])) - shift, one.paint)
    lines(axis, [", ".join(map(str, names)) for names in places])
    axis.axvline(0, lw=1, color=FAINT, zorder=0)
    _limit(axis, part.rows)
    axis.set_xlabel("gap in dev score, mean over tasks")
    handles = [mark(one.label, "D", one.paint) for one in series]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    tasks = part.rows["tasks"].max()
    caption = (
        f"Good against the others{part.size.at}, over {tasks} tasks: diamonds are means, thick bars 95%"
        " intervals for these tasks, thin bars 95% intervals for tasks like them, cut where few tasks make"
        " them long. To the right of zero good scores higher."
    )
    return Drawing("gaps", part.name("across_tasks"), caption, figure, part.folded)


def _diamond(axis: Axes, row: dict[str, float], line: float, paint: str) -> None:
    """A mean over tasks with both of its intervals."""
    axis.plot([row["wide_low"], row["wide_high"]], [line] * 2, lw=1, color=paint, solid_capstyle="butt")
    axis.plot([row["low"], row["high"]], [line] * 2, lw=3.5, color=paint, solid_capstyle="butt")
    axis.plot(row["mean"], line, "D", ms=7, color=paint, mec="white", mew=0.8)


def _gaps(found: Tables, part: Slice) -> Drawing:
    """Good against random, layer-matched, pretrained and bad: a forest plot."""
    across = _drawn(found.across_tasks)
    across = across[(across["size"] == part.size) & (across["tasks"] > 1)]
    figure = _panels(found, part.rows, _series(part.rows), across)
    pairing = "paired by seed" if part.rows["paired"].all() else "wide enough for any pairing of the seeds"
    means = " Diamonds: means over tasks; thick bars are for these tasks, thin ones for tasks like them."
    caption = (
        f"Gaps in dev score{part.size.at}, {pairing}, with 95% t intervals. An interval on zero is"
        f" undecided.{means if len(across) else ''}"
    )
    return Drawing("gaps", part.name("gaps"), caption, figure, part.folded)


def _composition(found: Tables, part: Slice) -> Drawing:
    """The whole gap to random, and its parts."""
    table = part.rows
    through = list(dict.fromkeys(table["through"]))

    def series(label: str, kind: NetworkName, name: str, paint: str, style: str) -> Series:
        def chosen(group: pd.DataFrame) -> pd.DataFrame:
            return group[(group["through"] == kind) & (group["part"] == name)]

        return Series(label, chosen, paint, style)

    drawn = [series("good minus random", through[0], TOTAL, INK, "o")]
    for kind in through:
        paint, style = colour(kind), marker(kind)
        profile, rest = PARTS_OF_GAP[kind]
        drawn.append(series(f"{profile} ({kind} {MINUS} random)", kind, profile, paint, style))
        drawn.append(series(f"{rest} (good {MINUS} {kind})", kind, rest, COLOURS["good"], style))
    figure = _panels(found, table, drawn, pd.DataFrame())
    caption = (
        f"What good is made of{part.size.at}: its gap to random and the parts that add up to it, paired by"
        " seed, with 95% t intervals."
    )
    return Drawing("composition", part.name("composition"), caption, figure, part.folded)


def _panels(found: Tables, table: pd.DataFrame, series: Sequence[Series], across: pd.DataFrame) -> Figure:
    """A panel per method and measure, a line per task: gaps with their intervals; then, where there are
    any, their means across tasks."""
    panels = list(grouped(table, ["method", "measure"]))
    tasks = list(dict.fromkeys(table["task"]))
    names = [task_title(found, str(task)) for task in tasks] + ["all tasks"] * (len(across) > 0)
    figure, axes = grid(len(panels), 1.0 + (0.14 + 0.14 * len(series)) * len(names), 2)
    for number, (axis, (place, group)) in enumerate(zip(axes, panels, strict=True)):
        shifts = 0.16 * ((len(series) - 1) / 2 - np.arange(len(series)))
        for one, shift in zip(series, shifts, strict=True):
            _intervals(axis, one, one.rows(group), tasks, shift)
            if len(across):
                means = across[(across["method"] == place[0]) & (across["measure"] == place[1])]
                for row in rows(one.rows(means)):
                    _diamond(axis, row, shift - len(tasks), one.paint)
        axis.axvline(0, lw=1, color=FAINT, zorder=0)
        _limit(axis, group)
        lines(axis, names, named=number % 2 == 0)
        axis.set_title(", ".join(map(str, place)))
        axis.set_xlabel("gap in dev score")
    handles = [mark(one.label, one.style, one.paint) for one in series]
    figure.legend(handles=handles, loc="outside lower center", ncols=4 if len(series) <= 4 else 2)
    return figure


def _intervals(axis: Axes, one: Series, table: pd.DataFrame, tasks: list[str], shift: float) -> None:
    axis.errorbar(
        table["mean"],
        [-tasks.index(task) + shift for task in table["task"]],
        xerr=table["half"].fillna(0),
        fmt=one.style,
        color=one.paint,
        ms=6,
        capsize=3,
        elinewidth=1.3,
    )


def _limit(axis: Axes, group: pd.DataFrame) -> None:
    """Intervals of few seeds may go far beyond; they are cut."""
    low, high = np.nanmin([*group["mean"], 0.0]), np.nanmax([*group["mean"], 0.0])
    ends = [name for name in ("low", "high", "wide_low", "wide_high") if name in group]
    shown = group[ends].astype(float).clip(low - 0.6, high + 0.6).to_numpy()
    axis.set_xlim(np.nanmin([low, *shown[:, 0]]) - 0.04, np.nanmax([high, *shown[:, 1]]) + 0.04)
