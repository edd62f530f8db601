"""What a study measured on each claim of the paper's abstract: a number per method and task.

Every function gives columns COLUMNS: method, task, n (seeds), mean and sd over seeds (NaN for one seed),
paired (False if sd is a bound, as it is unknown how the seeds pair) and name, of the network as it is drawn.
It takes tables that hold only what counts, see `claims`.
"""

from typing import Any

import numpy as np
import pandas as pd

from analysis.formats import rows
from analysis.records.method_names import NO_METHOD, STRUCTURED
from analysis.records.network_names import (
    BAD,
    FULL_MODEL,
    GOOD,
    RANDOM,
    RANDOM_START,
    WHOLE,
    NetworkName,
    named,
)
from analysis.scores.statistics import NETWORK_COLUMNS

COLUMNS = ["method", "task", "n", "mean", "sd", "paired", "name"]
OVERLAP = ["task", "method", "size", "network", "component"]


def losses(gaps: pd.DataFrame, summary: pd.DataFrame, measure: str) -> pd.DataFrame:
    """What good loses, as a share of the full model's mean score, which is taken as known."""
    full = _only(summary, FULL_MODEL, "fine-tuned").set_index("task")["mean"]
    found = gaps[(gaps["network"] == FULL_MODEL) & (gaps["versus"] == GOOD) & (gaps["measure"] == measure)]
    each = found["task"].map(full).astype(float)
    shares = found.assign(mean=found["mean"] / each, sd=found["sd"] / each)
    return shares.rename(columns={"versus": "name"})[COLUMNS]


def good_minus(gaps: pd.DataFrame, network: NetworkName, measure: str) -> pd.DataFrame:
    """Good minus another network, exactly drawn where a study has several ways of drawing it."""
    found = gaps[(gaps["network"] == GOOD) & (gaps["measure"] == measure)]
    chosen = found["method"].map(
        {method: named(group["versus"], network) for method, group in found.groupby("method")}
    )
    return found[found["versus"] == chosen].rename(columns={"versus": "name"})[COLUMNS]


def ways(summary: pd.DataFrame, tasks: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """How much of the way from the majority baseline to the full model bad goes, structured and retrained.
    scores: see `scores`, of the networks whose seeds are known."""
    full = _only(summary, FULL_MODEL, "fine-tuned").set_index("task")
    majority = tasks.set_index("task")["majority"]
    table = []
    for row in rows(_structured(summary, BAD)):
        if row["task"] in full.index:
            whole = row | {"method": NO_METHOD, "size": WHOLE, "network": FULL_MODEL, "measure": "fine-tuned"}
            whole |= full.loc[row["task"], ["n", "mean", "sd"]].to_dict()
            table.append(_difference(row, whole, scores, majority[row["task"]]))
    return pd.DataFrame(table, columns=COLUMNS)


def starts(summary: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Random minus random from random weights, structured and retrained. scores: as of `ways`."""
    other = _structured(summary, RANDOM_START).set_index(["method", "task"])
    table = []
    for row in rows(_structured(summary, RANDOM)):
        if (row["method"], row["task"]) in other.index:
            control = row | other.loc[(row["method"], row["task"])].to_dict()
            table.append(_difference(row, control, scores))
    return pd.DataFrame(table, columns=COLUMNS)


def _difference(
    one: dict[str, Any], other: dict[str, Any], scores: pd.DataFrame, majority: float | None = None
) -> dict[str, Any]:
    """One minus other; with a majority baseline, the share of the way from there to other that one goes, a
    ratio of means with its spread by linearisation. Seed by seed where both have scores; else from their
    summaries, with the largest spread that any pairing allows."""
    seeds = _seeds(scores, one, other)
    n, first, second = min(one["n"], other["n"]), one["mean"], other["mean"]
    if len(seeds):
        n, (first, second) = len(seeds), seeds.mean(axis=0)
    unit = 1.0 if majority is None else second - majority
    mean = first - second if majority is None else (first - majority) / unit
    weight = 1.0 if majority is None else mean
    sd = one["sd"] + abs(weight) * other["sd"]
    if len(seeds) > 1:
        sd = (seeds[:, 0] - weight * seeds[:, 1]).std(ddof=1)
    row = {"method": one["method"], "task": one["task"], "name": one["network"], "paired": len(seeds) > 0}
    return row | {"n": n, "mean": float(mean), "sd": float(sd) / abs(unit) if n > 1 else np.nan}


def _seeds(scores: pd.DataFrame, *networks: dict[str, Any]) -> np.ndarray:
    """float (seeds, networks): the scores of the seeds that all of them have."""
    found = [
        scores[(scores[NETWORK_COLUMNS] == [network[name] for name in NETWORK_COLUMNS]).all(axis=1)]
        for network in networks
    ]
    table = [known.groupby("seed")["score"].mean() for known in found]
    return pd.concat(table, axis=1, join="inner").to_numpy(np.float64)


def kappas(agreement: pd.DataFrame, overlap: pd.DataFrame, component: str) -> pd.DataFrame:
    """Fleiss' kappa of good masks over seeds; sd is what its standard error by jackknife amounts to, NaN for
    two seeds. More columns: jaccard and chance, the mean over pairs of seeds and its expectation for masks of
    the same sizes."""
    found = agreement[(agreement["network"] == GOOD) & (agreement["component"] == component)]
    known = found.dropna(subset=["fleiss_kappa"])[[*OVERLAP, "seeds", "fleiss_kappa", "kappa_se"]]
    known = known.merge(overlap[[*OVERLAP, "jaccard", "chance"]], "left", OVERLAP)
    known = known.assign(sd=known["kappa_se"] * np.sqrt(known["seeds"].astype(float)), paired=True)
    known = known.rename(columns={"fleiss_kappa": "mean", "seeds": "n", "network": "name"})
    return known[[*COLUMNS, "jaccard", "chance"]]


def _only(summary: pd.DataFrame, network: NetworkName, measure: str) -> pd.DataFrame:
    return summary[(summary["network"] == network) & (summary["measure"] == measure)]


def _structured(summary: pd.DataFrame, network: NetworkName) -> pd.DataFrame:
    """Retrained networks of structured pruning."""
    found = summary[summary["measure"] == "retrained"]
    found = found[found["method"].map(lambda method: method.base) == STRUCTURED.base]
    chosen = found["method"].map(
        {method: named(group["network"], network) for method, group in found.groupby("method")}
    )
    return found[found["network"] == chosen]
