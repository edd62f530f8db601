"""Means over tasks of scores, as the last column of the paper's tables has them."""

from collections.abc import Collection

import pandas as pd

GROUP = ["method", "size", "network", "measure"]


def averages(summary: pd.DataFrame, conclusive: Collection[str]) -> pd.DataFrame:
    """One row per network and measure: columns GROUP, tasks, mean, conclusive_tasks, conclusive_mean.

    mean: of the tasks' mean scores, all of them; conclusive_mean: of those tasks that conclusions are drawn
    from. Tasks weigh equally, whatever their metrics. Only networks of the same number of tasks compare;
    `across_tasks` compares them. summary: see `statistics.summary`.
    """
    named = summary.assign(own=summary["mean"].where(summary["task"].isin(list(conclusive))))
    found = named.groupby(GROUP, sort=False).agg(
        tasks=("mean", "size"),
        mean=("mean", "mean"),
        conclusive_tasks=("own", "count"),
        conclusive_mean=("own", "mean"),
    )
    return found.reset_index()
