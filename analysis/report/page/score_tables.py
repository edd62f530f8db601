"""The page's tables of scores: of every network, their spread, of null draws, of baselines."""

from collections.abc import Iterator

import pandas as pd

from analysis.formats import DASH, number, signed
from analysis.records.method_names import NO_METHOD
from analysis.report.figures.drawing import task_title
from analysis.report.page import columns
from analysis.report.page.table import Cell, Column, PageTable, Row, table
from analysis.scores.baselines import BASELINE_NAMES
from analysis.tables import Tables

SIDES = {"pruned": ("fine-tuned", "pruned"), "retrained": ("retrained",)}
"""The two columns of scores, and the measures in each."""

YES_NO = {True: "yes", False: "no"}


def every(found: Tables) -> Iterator[PageTable]:
    """Those without rows too."""
    for made in (_scores, _spread, _null_summary, _nulls, _baselines):
        yield made(found)


def _scores(found: Tables) -> PageTable:
    """Mean and interval of every network: pruned and retrained side by side."""
    keys = ["task", "method", "size", "network"]
    wide = found.summary.drop_duplicates(keys)[[*keys, "weights_kept"]]
    for measure in SIDES:
        side = found.summary[found.summary["measure"].isin(SIDES[measure])]
        values = {value: f"{measure} {value}" for value in ("mean", "half", "n")}
        wide = wide.merge(side[[*keys, *values]].rename(columns=values), how="left")
    task, _, size = columns.whose(found)
    shown = [
        *(task, columns.word("method", words={NO_METHOD: "fine-tuned"}), size),
        columns.word("network"),
        *(columns.within(f"{measure} mean", measure, f"{measure} half") for measure in SIDES),
        columns.share("weights_kept", "weights kept"),
        Column("seeds", _seeds),
    ]
    caption = (
        "Dev scores: mean over seeds ± half-width of the 95% t interval. scores.csv has every single one."
    )
    return table("summary", caption, wide, shown, labels=3)


def _seeds(row: Row) -> Cell:
    """How many; of both measures where they differ."""
    counts = [row[f"{measure} n"] for measure in SIDES]
    counts = list(dict.fromkeys(int(count) for count in counts if not pd.isna(count)))
    return Cell("/".join(map(str, counts)), float(counts[0]))


def _spread(found: Tables) -> PageTable:
    """Where the spread of a score comes from."""
    shown = [
        *columns.whose(found),
        columns.word("network"),
        columns.word("measure", "score"),
        columns.decimals("mean"),
        columns.decimals("seed_sd", "SD over seeds"),
        columns.decimals("draw_sd", "SD over draws"),
        columns.decimals("dev_se", "dev-set SE"),
        columns.count("seeds"),
        columns.count("draws"),
    ]
    caption = (
        "Where scores spread: between seeds, between random draws of one seed, and by which examples the dev"
        " set happens to hold (standard error of one network's score)."
    )
    return table("spread", caption, found.spread, shown, labels=4)


def _nulls(found: Tables) -> PageTable:
    """Good's place among its null draws, per seed."""
    shown = [
        *columns.whose(found),
        columns.word("kind", "masks"),
        columns.word("seed"),
        columns.decimals("good"),
        columns.decimals("mean", "null mean"),
        columns.decimals("sd", "null SD"),
        columns.count("draws"),
        columns.share("percentile", "below good", 0),
        columns.probability("p"),
    ]
    caption = (
        "Each seed. Below good: the share of draws that score lower, ties counted half. p: one-sided,"
        " (1 + draws at or above good) / (1 + draws)."
    )
    return table("null_tests", caption, found.null_tests, shown, labels=4)


def _null_summary(found: Tables) -> PageTable:
    """In how many seeds good stands out."""

    def tested(row: Row) -> Cell:
        if not row["possible"]:
            return Cell("too few draws")
        return Cell(f"{row['significant']} of {row['possible']}", row["significant"] / row["possible"])

    shown = [
        *columns.whose(found),
        columns.word("kind", "masks"),
        columns.count("seeds"),
        columns.word("draws"),
        columns.share("percentile", "below good", 0),
        Column("p at most .05", tested),
    ]
    caption = (
        "Good among random masks of its size, scored pruned: in how many of the seeds that have enough draws"
        " good's p is at most .05. A mask drawn at random is, in one seed of twenty."
    )
    return table("null_summary", caption, found.null_summary, shown, labels=3)


def _baselines(found: Tables) -> PageTable:
    """The full model against majority, a random start and a frozen encoder, per task and seed."""
    shown = [
        Column("task", lambda row: Cell(task_title(found, row["task"]))),
        columns.word("seed"),
        columns.decimals("full"),
    ]
    for name, words in BASELINE_NAMES.items():
        if found.baselines[name].notna().any():
            shown += [columns.decimals(name, words), _above(name), columns.decimals(f"{name}_z", "in SE", 1)]
            shown.append(columns.word(f"beats_{name}", "> 2 SE", words=YES_NO))
    caption = (
        "The full model against always giving the most frequent dev label, the same network trained from"
        " random weights, and the pre-trained network with a frozen encoder, where these were trained; with"
        " jackknife standard errors over dev examples."
    )
    return table("baselines", caption, found.baselines, shown)


def _above(name: str) -> Column:
    def cell(row: Row) -> Cell:
        if pd.isna(row[name]):
            return Cell(DASH)
        gap = row[f"above_{name}"]
        return Cell(f"{signed(gap)} ({number(row[f'{name}_se'])})", gap)

    return Column("difference (SE)", cell)
