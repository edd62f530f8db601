"""The page's tables of scores: of every network, of gaps, of what good is made of, of null draws."""

from collections.abc import Iterator

import pandas as pd

from analysis import networks
from analysis.baselines import BASELINES
from analysis.cells import DASH, number, percent, signed
from analysis.composition import TOTAL
from analysis.figures.drawing import task_title
from analysis.page import columns
from analysis.page.table import Cell, Column, Row, Table, table
from analysis.tables import Analysis

SIDES = {"pruned": ("fine-tuned", "pruned"), "retrained": ("retrained",)}
"""The two columns of scores, and the measures in each."""
YES_NO = {True: "yes", False: "no"}


def every(found: Analysis) -> Iterator[Table]:
    """Those that have rows."""
    for made in (scores, gaps, across_tasks, spread, composition, null_summary, nulls, baselines):
        yield made(found)


def scores(found: Analysis) -> Table:
    """Mean and interval of every network: pruned and retrained side by side."""
    keys = ["task", "method", "size", "network"]
    wide = found.summary.drop_duplicates(keys)[[*keys, "weights_kept"]]
    for measure in SIDES:
        side = found.summary[found.summary["measure"].isin(SIDES[measure])]
        values = {value: f"{measure} {value}" for value in ("mean", "half", "n")}
        wide = wide.merge(side[[*keys, *values]].rename(columns=values), how="left")
    wide = wide.assign(method=wide["method"].replace("", "fine-tuned"))
    shown = [
        *columns.place(found),
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


def gaps(found: Analysis) -> Table:
    """One row per task, method, size, comparison and measure."""
    pairing = {True: "by seed", False: "unpaired"}
    shown = [
        *columns.place(found),
        columns.compared(),
        columns.word("measure", "score"),
        columns.within("mean", "mean", "half", sign=True),
        columns.verdict(),
        columns.difference("effect", "effect size", 2),
        columns.interval("effect_low", "effect_high", "its 95% interval", sign=True, digits=1),
        columns.probability("t_p", "p, t test"),
        columns.probability("t_p_holm", "Holm"),
        columns.probability("p", "p, sign flips", least="p_least"),
        columns.probability("p_holm", "Holm"),
        columns.value("dev_se", "dev-set SE"),
        columns.count("seeds_needed", "seeds to settle"),
        columns.count("n", "seeds"),
        columns.word("paired", "pairing", words=pairing, usual="by seed"),
    ]
    caption = (
        "Gaps in dev score: mean over seeds ± half-width of the 95% t interval, paired by seed unless marked"
        " unpaired. Undecided: the interval holds zero, or there is one seed. Effect size: the mean in"
        " standard deviations over seeds, corrected for few seeds. p: of the paired t test, which agrees with"
        " the verdict, and of the exact sign-flip test, beside the least that so many seeds can give; Holm:"
        " corrected over tasks. Dev-set SE: the sampling error of the dev examples, which all seeds share."
        " Seeds to settle: how many would take the interval off zero if the gap is what it seems."
    )
    return table("gaps", caption, ordered(found.gaps), shown, labels=4)


def ordered(gaps: pd.DataFrame) -> pd.DataFrame:
    """Good against others in their order, then the full model against good; measures together."""
    keys = pd.DataFrame(
        {
            "cell": gaps.groupby(["task", "method", "size"], sort=False).ngroup(),
            "full": gaps["network"] == "full",
            "order": gaps["versus"].map(networks.order),
        }
    )
    return gaps.loc[keys.sort_values(["cell", "full", "order"], kind="stable").index]


def across_tasks(found: Analysis) -> Table:
    """One model over tasks per method, size, measure and comparison."""
    shown = [
        columns.word("method"),
        columns.size(),
        columns.compared(),
        columns.word("measure", "score"),
        columns.difference("mean"),
        columns.interval("low", "high", "95% interval, these tasks", sign=True),
        columns.probability("p"),
        columns.interval("wide_low", "wide_high", "95% interval, tasks like these", sign=True),
        columns.value("between_sd", "SD between tasks"),
        columns.probability("task_p", "p, tasks differ"),
        columns.count("tasks"),
        columns.count("n", "gaps"),
    ]
    caption = (
        "Gaps across tasks: one model with task as a factor. The narrow interval is for the mean of these"
        " very tasks; the wide one, with task as a random factor, for tasks like them."
    )
    return table("across_tasks", caption, found.across_tasks, shown, labels=3)


def spread(found: Analysis) -> Table:
    """Where the spread of a score comes from."""
    shown = [
        *columns.place(found),
        columns.word("network"),
        columns.word("measure", "score"),
        columns.value("mean"),
        columns.value("seed_sd", "SD over seeds"),
        columns.value("draw_sd", "SD over draws"),
        columns.value("dev_se", "dev-set SE"),
        columns.count("seeds"),
        columns.count("draws"),
    ]
    caption = (
        "Where scores spread: between seeds, between random draws of one seed, and by which examples the dev"
        " set happens to hold (standard error of one network's score)."
    )
    return table("spread", caption, found.spread, shown, labels=4)


def composition(found: Analysis) -> Table:
    """Good minus random and its parts."""
    shown = [
        *columns.place(found),
        columns.word("measure", "score"),
        columns.word("part"),
        columns.compared(),
        columns.within("mean", "mean", "half", sign=True),
        columns.verdict(),
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


def nulls(found: Analysis) -> Table:
    """Good's place among its null draws, per seed."""
    shown = [
        *columns.place(found),
        columns.word("kind", "masks"),
        columns.count("seed"),
        columns.value("good"),
        columns.value("mean", "null mean"),
        columns.value("sd", "null SD"),
        columns.count("draws"),
        columns.share("percentile", "below good", 0),
        columns.probability("p"),
    ]
    caption = (
        "Each seed. Below good: the share of draws that score lower, ties counted half. p: one-sided,"
        " (1 + draws at or above good) / (1 + draws)."
    )
    return table("null_tests", caption, found.null_tests, shown, labels=4)


def null_summary(found: Analysis) -> Table:
    """In how many seeds good stands out."""

    def tested(row: Row) -> Cell:
        if not row["possible"]:
            return Cell("too few draws")
        return Cell(f"{row['significant']} of {row['possible']}", row["significant"] / row["possible"])

    shown = [
        *columns.place(found),
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


def baselines(found: Analysis) -> Table:
    """The full model against majority, a random start and a frozen encoder, per task and seed."""
    shown = [
        Column("task", lambda row: Cell(task_title(found, row["task"]))),
        columns.word("seed"),
        columns.value("full"),
    ]
    for name, words in BASELINES.items():
        if found.baselines[name].notna().any():
            shown += [columns.value(name, words), _above(name), columns.value(f"{name}_z", "in SE", 1)]
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
