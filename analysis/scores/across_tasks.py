"""One model over tasks: a gap is a grand mean, plus what its task adds, plus noise of its seed."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.oneway import anova_generic

from analysis.formats import grouped
from analysis.levels import CONFIDENCE
from analysis.scores.gaps import COMPARISON

MEAN = ["mean", "se", "df", "low", "high", "p"]
TASK_TERMS = ["task_f", "task_p", "between_sd", "wide_low", "wide_high"]
COLUMNS = [*COMPARISON, "tasks", "n", *MEAN, *TASK_TERMS]


def across_tasks(gaps: pd.DataFrame, conclusive: Collection[str]) -> pd.DataFrame:
    """One row per method, size, measure and comparison, over the conclusive tasks: columns COLUMNS.

    gaps: of any functions of `gaps`; only task, mean, sd, n and paired of each are used. A task with one seed
    has no spread and is left out, unless all tasks have one. Seeds count as nested in tasks: here their
    random streams are named after both. Published runs share the same few seeds over all tasks, so there
    that they are independent is assumed.

    tasks: how many. n: gaps, one per task and seed. mean: tasks weigh equally. se, df, low, high, p: of the
    mean over these very tasks. Each task has its own variance, and df is Satterthwaite's (1946): where
    tasks differ in spread, as here, the interval of one pooled variance covers too rarely. Where a pairing is
    unknown, df is that of the task with the fewest seeds, less 1, as Satterthwaite's could rise with the
    bound of a spread; the interval then still holds whatever the pairing was. task_f, task_p:
    do tasks differ (analysis of variance, without equal variances: Brown and Forsythe 1974, Mehrotra 1997;
    with as many seeds in every task, F is the ordinary one). between_sd: from task to task, beyond what
    the noise of seeds explains; 0 where that explains it all. wide_low, wide_high: interval of the mean over
    tasks like these, were they drawn at random: a t interval over task means, df = tasks - 1.

    From gaps with unknown pairing, whose sd is an upper bound, se is one too, and between_sd a lower one.
    NaN where not defined: without spread, or with one task.
    """
    judged = gaps[gaps["task"].isin(list(conclusive))]
    table = []
    for names, group in grouped(judged, COMPARISON):
        table.append(dict(zip(COMPARISON, names, strict=True)) | model(group))
    return pd.DataFrame(table, columns=COLUMNS)


def model(gaps: pd.DataFrame) -> dict[str, Any]:
    """The columns of `across_tasks` after those of the comparison. gaps: one row per task, with columns n,
    mean, sd and paired."""
    n, mean, sd, paired = (gaps[name].to_numpy(np.float64) for name in ("n", "mean", "sd", "paired"))
    if (several := n > 1).any():
        n, mean, sd, paired = (values[several] for values in (n, mean, sd, paired))
    row = {"tasks": len(n), "n": int(n.sum()), "mean": float(mean.mean())}
    row |= _fixed(n, mean, sd**2 / n, bool(paired.all()))
    return row | (_random(n, mean, sd**2) if len(n) > 1 else {})


def _fixed(n: np.ndarray, mean: np.ndarray, error: np.ndarray, paired: bool) -> dict[str, float]:
    """error: float (tasks,), variance of each task's mean."""
    grand, se = mean.mean(), np.sqrt(error.sum()) / len(n)
    if not se > 0:
        return {"se": float(se)}
    # n - 1 of the smallest holds for all variances (Hájek 1962), so for all below their bounds
    df = error.sum() ** 2 / (error**2 / (n - 1)).sum() if paired else n.min() - 1
    half = stats.t.ppf((1 + CONFIDENCE) / 2, df) * se
    p = 2 * stats.t.sf(abs(grand) / se, df)
    found = {"se": se, "df": df, "low": grand - half, "high": grand + half, "p": p}
    return {name: float(value) for name, value in found.items()}


def _random(n: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> dict[str, float]:
    between, tasks = mean.var(ddof=1), len(n)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, tasks - 1) * np.sqrt(between / tasks)
    found = {"wide_low": float(mean.mean() - half), "wide_high": float(mean.mean() + half)}
    if variance.sum() > 0:
        test = anova_generic(mean, variance, n, use_var="bf")
        found |= {"task_f": float(test.statistic), "task_p": float(test.pvalue)}
        found["between_sd"] = float(np.sqrt(max(0.0, between - (variance / n).mean())))
    return found
