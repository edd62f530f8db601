"""Means over tasks of scores, as the last column of the paper's tables has them."""

from typing import Any

import pandas as pd

from analysis.records.method_names import NO_METHOD
from analysis.records.network_names import MAJORITY, WHOLE

GROUP = ["method", "size", "network", "measure"]


def averages(summary: pd.DataFrame, tasks: pd.DataFrame) -> pd.DataFrame:
    """One row per network and measure: columns GROUP, tasks, mean, conclusive_tasks, conclusive_mean.

    mean: of the tasks' mean scores, all of them; conclusive_mean: of those tasks that conclusions are drawn
    from. Tasks weigh equally, whatever their metrics. Only networks of the same number of tasks compare;
    `across_tasks` compares them. The majority baseline is a network, too. summary: see `statistics.summary`;
    tasks: see `baselines.judged`.
    """
    baseline: dict[str, Any] = {"method": NO_METHOD, "size": WHOLE, "network": MAJORITY, "measure": ""}
    majority = tasks[["task", "majority"]].rename(columns={"majority": "mean"}).assign(**baseline)
    conclusive = tasks.loc[tasks["conclusive"].astype(bool), "task"]
    named = pd.concat([frame for frame in (summary, majority) if len(frame)] or [summary])
    named = named.assign(own=named["mean"].where(named["task"].isin(conclusive)))
    found = named.groupby(GROUP, sort=False).agg(
        tasks=("mean", "size"),
        mean=("mean", "mean"),
        conclusive_tasks=("own", "count"),
        conclusive_mean=("own", "mean"),
    )
    return found.reset_index()
