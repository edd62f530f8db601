"""Reads the records, predictions and masks of a root; needs no torch.

In a notebook:

    from analysis import analyse

    found = analyse("results/demo")
    found.gaps            # each table of the report is a data frame, see `tables.Analysis`

`analysis.report.write` makes the whole report.
"""

from analysis.figures import draw
from analysis.overlap import chance_jaccard
from analysis.statistics import t_interval
from analysis.tables import Analysis, analyse

__all__ = ["Analysis", "analyse", "chance_jaccard", "draw", "t_interval"]
