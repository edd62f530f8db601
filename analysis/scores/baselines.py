"""The full model against what needs no fine-tuning, no pre-training or no encoder."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.formats import grouped
from analysis.records.root import Root
from analysis.scores import dev_sets as devset
from analysis.scores import statistics
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.inputs.tasks import Metric
from lottery_ray.storage.store import Record

CLEAR = 2.0
"""A difference of more than this many of its standard errors is called one."""
BASELINE_NAMES = {"majority": "majority", "random_start": "random start", "frozen": "frozen encoder"}
"""{prefix of its columns: name}"""


def baselines(root: Root) -> pd.DataFrame:
    """The full model against its baselines, one row per task and seed.

    Columns task, seed, full, majority, above_majority (full minus majority), majority_se (of that
    difference, on the dev set), majority_z (the difference in units of it), beats_majority (whether
    that exceeds CLEAR); and alike for random_start and frozen, NaN or None where no such model was
    trained.
    """
    files: dict[tuple[str, int], dict[str, Record]] = {}
    for record in root.of(Finetune):
        cell = record.labels["task"], record.labels["seed"]
        files.setdefault(cell, {})[record.labels["start"]] = record
    rows: list[dict[str, Any]] = []
    for (task, seed), starts in files.items():
        if "pretrained" not in starts:
            continue
        metric = root.metric(task)
        full = devset.read_predictions(root.artifact(starts["pretrained"], "predictions.arrow"), metric)
        constant = devset.majority(metric, full)
        row: dict[str, Any] = {"task": task, "seed": seed, "full": starts["pretrained"].result["score"]}
        row |= _against(row["full"], devset.dev_score(metric, constant), full, constant, "majority", metric)
        for start, name in (("random", "random_start"), ("frozen", "frozen")):
            if control := starts.get(start):
                other = devset.read_predictions(root.artifact(control, "predictions.arrow"), metric)
                row |= _against(row["full"], control.result["score"], full, other, name, metric)
        rows.append(row)
    columns = ["task", "seed", "full"]
    for name in BASELINE_NAMES:
        columns += [name, f"above_{name}", f"{name}_se", f"{name}_z", f"beats_{name}"]
    return pd.DataFrame(rows, columns=columns)


def _against(
    full: float, other: float, one: devset.Predictions, two: devset.Predictions, name: str, metric: Metric
) -> dict[str, Any]:
    left_out = devset.leave_one_out(metric, one) - devset.leave_one_out(metric, two)
    difference, se = full - other, devset.jackknife(left_out)
    units = difference / se if se else np.nan
    return {
        name: other,
        f"above_{name}": difference,
        f"{name}_se": se,
        f"{name}_z": units,
        f"beats_{name}": bool(units > CLEAR),
    }


def judged_tasks(baselines: pd.DataFrame) -> pd.DataFrame:
    """Whether each task's full model beats its majority baseline: columns task, majority, n, mean, sd,
    half, low, high (of full minus majority, over seeds), conclusive.

    It does if the t interval lies above zero. With one seed there is none, and low and high are CLEAR
    standard errors of the dev set away.
    """
    rows = []
    for task, group in grouped(baselines, "task"):
        above = statistics.t_interval(group["above_majority"].to_numpy())
        if above.n == 1:
            half = CLEAR * float(group["majority_se"].iloc[0])
            above = statistics.Interval(1, above.mean, np.nan, half)
        row = {"task": task, "majority": group["majority"].iloc[0]}
        rows.append(row | above.row | {"conclusive": above.low > 0})
    return pd.DataFrame(rows)
