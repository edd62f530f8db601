"""Reads the records, predictions and masks of a root; needs no torch.

In a notebook:

    from analysis import analyse, draw

    found = analyse("results/demo")
    found.gaps            # each table of the report is a data frame, see `Tables`
    draw(found)           # its figures, with their captions

    compare(found, analyse("results/other")).scores

`tidy(found)` has every number of every table in one. `analysis.report.write.write_report` makes the whole
report, `write_two_reports` beside it that of two roots.
"""

from analysis.comparison import Comparison
from analysis.masks.chance import chance_jaccard
from analysis.notebook import Analysis, analyse, compare, draw, tidy
from analysis.report.figures.drawing import Drawing
from analysis.scores.paired_tests import effect, seeds_needed
from analysis.scores.statistics import t_interval

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
    "tidy",
]
