"""Scores summed up: their means over tasks, and where they vary.

Means over tasks are as the last column of the paper's tables has them. Scores vary from seed to seed, from
random draw to draw, and with the examples of the dev set.
"""

from typing import Any

import numpy as np
import pandas as pd

from analysis.formats import grouped
from analysis.records.method_names import NO_METHOD
from analysis.records.network_names import MAJORITY, WHOLE
from analysis.scores.statistics import NETWORK_COLUMNS

AVERAGED = ["method", "size", "network", "measure"]
SPREAD = [*NETWORK_COLUMNS, "seeds", "draws", "mean", "seed_sd", "draw_sd", "dev_se"]


def averages(summary: pd.DataFrame, tasks: pd.DataFrame) -> pd.DataFrame:
    """One row per network and measure: columns AVERAGED, tasks, mean, conclusive_tasks, conclusive_mean.

    mean: of the tasks' mean scores, all of them; conclusive_mean: of those tasks that conclusions are drawn
    from. Tasks weigh equally, whatever their metrics. Only networks of the same number of tasks compare;
    `across_tasks` compares them. The majority baseline is a network, too. summary: see `statistics.summary`;
    tasks: see `judged_tasks`.
    """
    baseline: dict[str, Any] = {"method": NO_METHOD, "size": WHOLE, "network": MAJORITY, "measure": ""}
    majority = tasks[["task", "majority"]].rename(columns={"majority": "mean"}).assign(**baseline)
    conclusive = tasks.loc[tasks["conclusive"].astype(bool), "task"]
    named = pd.concat([frame for frame in (summary, majority) if len(frame)] or [summary])
    named = named.assign(own=named["mean"].where(named["task"].isin(conclusive)))
    found = named.groupby(AVERAGED, sort=False).agg(
        tasks=("mean", "size"),
        mean=("mean", "mean"),
        conclusive_tasks=("own", "count"),
        conclusive_mean=("own", "mean"),
    )
    return found.reset_index()


def spread(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per network: columns SPREAD. scores: as of `scores.scores`.

    seeds: how many. draws: random draws per seed, on average. mean: seeds weigh equally.
    seed_sd: between seeds, of what a seed decides: fine-tuning, the search, the retraining, and the mask
    where a seed has one draw. Where it has several, what is due to them is taken out (nested analysis of
    variance), and a negative variance is 0.
    draw_sd: between the draws of one seed; NaN where each has one.
    dev_se: standard error of one score from the dev set's finite size, by jackknife, mean over scores.

    The seeds share the dev set's examples, so how kind those are to all seeds alike is in dev_se, but not in
    seed_sd: more seeds make the mean surer for this dev set only. What examples add to single seeds is in
    both, so the two are no parts of one sum.
    """
    table = [
        dict(zip(NETWORK_COLUMNS, names, strict=True)) | _components(group)
        for names, group in grouped(scores, NETWORK_COLUMNS)
    ]
    return pd.DataFrame(table, columns=SPREAD)


def _components(scores: pd.DataFrame) -> dict[str, Any]:
    seeds = scores.groupby("seed")["score"].agg(["mean", "size", "var"])
    more = seeds[seeds["size"] > 1]
    df = more["size"] - 1
    within = float((df * more["var"]).sum() / df.sum()) if len(more) else np.nan
    between = seeds["mean"].var()  # of the means of draws: holds within / draws, on average over seeds
    if len(more):
        between = max(0.0, between - within * (1 / seeds["size"]).mean()) if len(seeds) > 1 else np.nan
    return {
        "seeds": len(seeds),
        "draws": float(seeds["size"].mean()),
        "mean": float(seeds["mean"].mean()),
        "seed_sd": float(np.sqrt(between)),
        "draw_sd": float(np.sqrt(within)),
        "dev_se": float(scores["se"].mean()),
    }
