"""The page's tables of gaps: task by task, across tasks, and what they are made of."""

from collections.abc import Iterator

import pandas as pd

from analysis.formats import DASH, percent, signed
from analysis.records.network_names import FULL_MODEL
from analysis.report.page import columns
from analysis.report.page.table import Cell, Column, PageTable, Row, table
from analysis.scores.composition import TOTAL
from analysis.tables import Tables


def every(found: Tables) -> Iterator[PageTable]:
    """Those without rows too."""
    for made in (_gaps, _across_tasks, _composition):
        yield made(found)


def _gaps(found: Tables) -> PageTable:
    """One row per task, method, size, comparison and measure."""
    pairing = {True: "by seed", False: "unpaired"}
    shown = [
        *columns.whose(found),
        columns.compared(),
        columns.word("measure", "score"),
        columns.within("mean", "mean", "half", sign=True),
        columns.judgement(),
        columns.difference("effect", "effect size", 2),
        columns.interval("effect_low", "effect_high", "its 95% interval", lambda end: signed(end, 1)),
        columns.probability("t_p", "p, t test"),
        columns.probability("t_p_holm", "Holm"),
        columns.probability("p", "p, sign flips", least="p_least"),
        columns.probability("p_holm", "Holm", least="p_holm_least"),
        columns.decimals("dev_se", "dev-set SE"),
        columns.count("seeds_needed", "seeds to settle"),
        columns.count("n", "seeds"),
        columns.interval("independent_low", "independent_high", "95% if independent", signed),
        columns.word("paired", "pairing", words=pairing, usual="by seed"),
    ]
    caption = (
        "Gaps in dev score: mean over seeds ± half-width of the 95% t interval, paired by seed unless marked"
        " unpaired. Undecided: the interval holds zero, or there is one seed. Effect size: the mean in"
        " standard deviations over seeds, corrected for few seeds. p: of the paired t test, which agrees with"
        " the verdict, and of the exact sign-flip test, beside the least that so many seeds can give; Holm:"
        " corrected over tasks. Dev-set SE: the sampling error of the dev examples, which all seeds share;"
        " what they do to single seeds is in the spread over seeds too."
        " Seeds to settle: how many would take the interval off zero if the gap is what it seems."
        " Unpaired: the first interval holds whatever the pairing, the last one if seeds are independent."
    )
    return table("gaps", caption, ordered(found.gaps), shown, labels=4)


def ordered(gaps: pd.DataFrame) -> pd.DataFrame:
    """Good against others in their order, then the full model against good; measures together."""
    keys = pd.DataFrame(
        {
            "cell": gaps.groupby(["task", "method", "size"], sort=False).ngroup(),
            "full": gaps["network"] == FULL_MODEL,
            "order": gaps["versus"].map(lambda versus: versus.order),
        }
    )
    return gaps.loc[keys.sort_values(["cell", "full", "order"], kind="stable").index]


def _across_tasks(found: Tables) -> PageTable:
    """One model over tasks per method, size, measure and comparison."""
    shown = [
        columns.word("method"),
        columns.size(),
        columns.compared(),
        columns.word("measure", "score"),
        columns.difference("mean"),
        columns.interval("low", "high", "95% interval, these tasks", signed),
        columns.probability("p"),
        columns.interval("wide_low", "wide_high", "95% interval, tasks like these", signed),
        columns.decimals("between_sd", "SD between tasks"),
        columns.probability("task_p", "p, tasks differ"),
        columns.count("tasks"),
        columns.count("n", "gaps"),
    ]
    caption = (
        "Gaps across tasks: one model with task as a factor. The narrow interval is for the mean of these"
        " very tasks; the wide one, with task as a random factor, for tasks like them."
    )
    return table("across_tasks", caption, found.across_tasks, shown, labels=3)


def _composition(found: Tables) -> PageTable:
    """Good minus random and its parts."""
    shown = [
        *columns.whose(found),
        columns.word("measure", "score"),
        columns.word("part"),
        columns.compared(),
        columns.within("mean", "mean", "half", sign=True),
        columns.judgement(),
        Column("share", _share),
        columns.count("n", "seeds"),
    ]
    caption = (
        "The gap of good to random and the parts that add up to it, paired by seed: mean ± half-width of the"
        " 95% t interval. Shares of the whole gap, with Fieller intervals, only where the whole gap's"
        " interval excludes zero."
    )
    return table("composition", caption, found.composition, shown, labels=4)


def _share(row: Row) -> Cell:
    if pd.isna(row["share"]):
        return Cell(DASH)
    whole = row["part"] == TOTAL
    interval = "" if whole else f" [{percent(row['share_low'])}, {percent(row['share_high'])}]"
    return Cell(percent(row["share"]) + interval, row["share"])
