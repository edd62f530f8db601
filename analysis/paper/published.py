"""Scores that others published: means and spreads over seeds, without the seeds."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.levels import CONFIDENCE
from analysis.records.method_names import NO_METHOD, MethodName
from analysis.records.network_names import FULL_MODEL, MAJORITY, STOPPING, WHOLE, NetworkName
from analysis.records.root import Root
from analysis.scores.scores import MEASURES
from analysis.scores.statistics import INTERVAL_COLUMNS, NETWORK_COLUMNS, Interval
from lottery_ray.inputs.tasks import task_order
from lottery_ray.storage.published import Published
from lottery_ray.storage.store import Record

Named = tuple[str, MethodName, NetworkName]


def _scores(root: Root) -> list[Record]:
    return [record for record in root.of(Published) if "mean" in record.result]


def _interval(record: Record) -> Interval:
    n, sd = record.result["n"], record.result["sd"]
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / np.sqrt(n)
    return Interval(n, record.result["mean"], sd, float(half))


def published_summary(root: Root) -> pd.DataFrame:
    """One row per published network: columns NETWORK_COLUMNS, INTERVAL_COLUMNS, weights_kept (mean over its
    published masks; NaN without them)."""
    kept: dict[Named, list[float]] = {}
    for record in root.subnetworks():
        weights = record.result["weights"]
        kept.setdefault(_named(root, record), []).append(weights["kept"] / weights["of"])
    rows: list[dict[str, Any]] = []
    for record in _scores(root):
        task, method, network = _named(root, record)
        if network == MAJORITY:
            continue
        row = {"task": task, "method": method, "size": WHOLE if method == NO_METHOD else STOPPING}
        row |= {"network": network, "measure": record.result["measure"]} | _interval(record).row
        shares = kept.get((task, method, network), [np.nan])
        rows.append(row | {"weights_kept": 1.0 if method == NO_METHOD else float(np.mean(shares))})
    placed = sorted(rows, key=_place)
    return pd.DataFrame(placed, columns=[*NETWORK_COLUMNS, *INTERVAL_COLUMNS, "weights_kept"])


def _named(root: Root, record: Record) -> Named:
    return record.labels["task"], root.methods[record.key], root.networks[record.key]


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    measure = MEASURES.index(row["measure"])
    return task_order(row["task"]), row["method"], row["network"], measure


def published_tasks(root: Root) -> pd.DataFrame:
    """Whether each task's full model beats its majority baseline, as `judged_tasks` has it."""
    found = {_named(root, record): record for record in _scores(root)}
    rows = []
    for (task, _, network), record in found.items():
        if network == FULL_MODEL and (majority := found.get((task, NO_METHOD, MAJORITY))):
            low = majority.result["mean"]
            full = _interval(record)
            above = Interval(full.n, full.mean - low, full.sd, full.half)
            rows.append({"task": task, "majority": low} | above.row | {"conclusive": above.low > 0})
    return pd.DataFrame(rows, columns=["task", "majority", *INTERVAL_COLUMNS, "conclusive"])
