"""Matrices of numbers as colours, each with its number."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.patches import Rectangle


def heatmap(
    axis: Axes,
    means: np.ndarray,
    shown: Callable[[float], str],
    ends: tuple[float, float],
    sds: np.ndarray | None = None,
    framed: np.ndarray | None = None,
) -> ScalarMappable:
    """Line 0 at the top. means: float (lines, columns), NaN where there is no cell; sds: the same, in small
    print; framed: bool, the same; ends: the values of the darkest and the brightest colour."""
    image = axis.pcolormesh(np.ma.masked_invalid(means), cmap="cividis", vmin=ends[0], vmax=ends[1])
    for (line, column), mean in np.ndenumerate(means):
        if np.isnan(mean):
            continue
        paint = "#000000" if 2 * mean > sum(ends) else "#ffffff"
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": paint, "in_layout": False}
        sd = np.nan if sds is None else float(sds[line, column])
        lift = 0 if np.isnan(sd) else 0.13
        middle = column + 0.5
        axis.text(middle, line + 0.5 - lift, shown(mean), fontsize=8, **style)
        if not np.isnan(sd):
            axis.text(middle, line + 0.76, shown(sd), fontsize=5.5, **style)
        if framed is not None and framed[line, column]:
            axis.add_patch(Rectangle((column + 0.04, line + 0.04), 0.92, 0.92, fill=False, ec=paint, lw=1.6))
    axis.set_ylim(len(means), 0)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return image
