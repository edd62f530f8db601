"""The figure of two studies: every network's score in one against its score in the other."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparison import Comparison
from analysis.formats import grouped
from analysis.report.figures.drawing import FAINT, STYLE, Drawing, colour, grid, mark, marker


def draw_two(found: Comparison) -> list[Drawing]:
    """A panel per measure: a point per task, method, size and network; above the diagonal, the second study
    scores higher. Nothing where the studies share no network."""
    if found.scores.empty:
        return []
    with mpl.rc_context(STYLE):
        figure = _panels(found.scores)
    caption = (
        "Dev scores, means over seeds, of the networks that both studies have. Above the diagonal the second"
        " study scores higher. Bars: sample standard deviations over seeds."
    )
    return [Drawing("scores", "side_by_side", caption, figure)]


def _panels(scores: pd.DataFrame) -> Figure:
    panels = list(grouped(scores, "measure"))
    figure, axes = grid(len(panels), 4.2, min(3, len(panels)))
    for axis, (measure, points) in zip(axes, panels, strict=True):
        _panel(axis, points)
        axis.set_title(str(measure))
        axis.set_xlabel("first study")
        axis.set_ylabel("second study")
    named = {colour(network): network for network in reversed(list(dict.fromkeys(scores["network"])))}
    handles = [mark(str(network), marker(network), paint) for paint, network in reversed(named.items())]
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
    return figure


def _panel(axis: Axes, points: pd.DataFrame) -> None:
    for network, group in grouped(points, "network"):
        axis.errorbar(
            group["mean"],
            group["other_mean"],
            xerr=group["sd"].fillna(0),
            yerr=group["other_sd"].fillna(0),
            fmt=marker(network),
            color=colour(network),
            ms=6,
            elinewidth=0.8,
            alpha=0.85,
        )
    axis.axline((0, 0), slope=1, lw=1, color=FAINT, zorder=0)
    axis.set_aspect("equal", adjustable="datalim")
