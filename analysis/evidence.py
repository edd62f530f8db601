"""What a study measured on each claim of the paper's abstract: a number per method and task.

Every function gives columns method, task, n (seeds), mean and sd over seeds (NaN for one seed), and paired
where seeds may be. It takes tables that hold only what counts, see `claims`.
"""

from typing import Any

import numpy as np
import pandas as pd

from analysis import networks, variants
from analysis.cells import rows

COLUMNS = ["method", "task", "n", "mean", "sd"]
OVERLAP = ["task", "method", "size", "network", "component"]


def losses(gaps: pd.DataFrame, summary: pd.DataFrame, measure: str) -> pd.DataFrame:
    """What good loses, as a share of the full model's mean score, which is taken as known."""
    full = _only(summary, "full", "fine-tuned").set_index("task")["mean"]
    found = gaps[(gaps["network"] == "full") & (gaps["versus"] == "good") & (gaps["measure"] == measure)]
    each = found["task"].map(full).astype(float)
    return found.assign(mean=found["mean"] / each, sd=found["sd"] / each)[[*COLUMNS, "paired"]]


def good_minus(gaps: pd.DataFrame, network: str, measure: str) -> pd.DataFrame:
    """Good minus another network, exactly drawn where a study has several ways of drawing it."""
    found = gaps[(gaps["network"] == "good") & (gaps["measure"] == measure)]
    chosen = found["method"].map(
        {method: networks.named(group["versus"], network) for method, group in found.groupby("method")}
    )
    return found.loc[found["versus"] == chosen, [*COLUMNS, "paired"]]


def ways(summary: pd.DataFrame, tasks: pd.DataFrame) -> pd.DataFrame:
    """How much of the way from the majority baseline to the full model bad goes, structured and retrained."""
    full = _only(summary, "full", "fine-tuned").set_index("task")
    majority = tasks.set_index("task")["majority"]
    table = []
    for row in rows(_structured(summary, "bad")):
        if row["task"] in full.index:
            whole = full.loc[row["task"]]
            table.append(_added(row, whole.to_dict(), majority[row["task"]], whole["mean"]))
    return pd.DataFrame(table, columns=COLUMNS)


def starts(summary: pd.DataFrame) -> pd.DataFrame:
    """Random minus random from random weights, structured and retrained."""
    other = _structured(summary, "random, random start").set_index(["method", "task"])
    table = []
    for row in rows(_structured(summary, "random")):
        if (row["method"], row["task"]) in other.index:
            control = other.loc[(row["method"], row["task"])].to_dict()
            table.append(_added(row, control, control["mean"], control["mean"] + 1))
    return pd.DataFrame(table, columns=COLUMNS)


def _added(one: dict[str, Any], other: dict[str, Any], nothing: float, everything: float) -> dict[str, Any]:
    """A mean on a scale from 0 to 1; its sd is the sum of both, the largest that any pairing allows."""
    scale, n = everything - nothing, min(one["n"], other["n"])
    row = {"method": one["method"], "task": one["task"], "n": n, "mean": (one["mean"] - nothing) / scale}
    return row | {"sd": (one["sd"] + other["sd"]) / scale if n > 1 else np.nan}


def kappas(agreement: pd.DataFrame, overlap: pd.DataFrame, component: str) -> pd.DataFrame:
    """Fleiss' kappa of good masks over seeds, with no spread of its own. More columns: jaccard and chance,
    the mean over pairs of seeds and its expectation for masks of the same sizes."""
    found = agreement[(agreement["network"] == "good") & (agreement["component"] == component)]
    known = found.dropna(subset=["fleiss_kappa"])[[*OVERLAP, "seeds", "fleiss_kappa"]]
    known = known.merge(overlap[[*OVERLAP, "jaccard", "chance"]], "left", OVERLAP).assign(sd=np.nan)
    known = known.rename(columns={"fleiss_kappa": "mean", "seeds": "n"})
    return known[[*COLUMNS, "jaccard", "chance"]]


def _only(summary: pd.DataFrame, network: str, measure: str) -> pd.DataFrame:
    return summary[(summary["network"] == network) & (summary["measure"] == measure)]


def _structured(summary: pd.DataFrame, network: str) -> pd.DataFrame:
    """Retrained networks of structured pruning."""
    found = summary[summary["measure"] == "retrained"]
    found = found[found["method"].map(variants.base).astype(str) == "structured"]
    chosen = found["method"].map(
        {method: networks.named(group["network"], network) for method, group in found.groupby("method")}
    )
    return found[found["network"] == chosen]
