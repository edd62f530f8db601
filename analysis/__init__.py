"""Reads the records, predictions and masks of a root; needs no torch.

In a notebook:

    from analysis import analyse, draw

    found = analyse("results/demo")
    found.gaps            # each table of the report is a data frame, see `Analysis`
    draw(found)           # its figures, with their captions

    compare(found, analyse("results/other")).scores

`analysis.tidy.tidy(found)` has every number of every table in one. `analysis.report.write` makes the whole
report, `analysis.report.write_two` that of two roots.
"""

from analysis.comparison import Comparison, compare
from analysis.masks.chance import chance_jaccard
from analysis.report.figures import draw
from analysis.report.figures.drawing import Drawing
from analysis.scores.effects import effect, seeds_needed
from analysis.scores.statistics import t_interval
from analysis.tables import Analysis, analyse

__all__ = [
    "Analysis",
    "Comparison",
    "Drawing",
    "analyse",
    "chance_jaccard",
    "compare",
    "draw",
    "effect",
    "seeds_needed",
    "t_interval",
]
