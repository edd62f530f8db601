"""The analysis of a root: every table of the report, as data frames."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import devset, overlap, records, statistics
from analysis.records import Root
from lottery_ray.nodes import KINDS, METHODS
from lottery_ray.store import Record, Store
from lottery_ray.tasks import TASKS

SCORE = ["task", "metric", "seed", "method", "kind", "draw", "measure", "score", "se", "dev_examples"]
SCORE += ["weights_kept", "node"]
NETWORKS = ("full", "random start", *KINDS)
MEASURES = ("fine-tuned", "pruned", "retrained")
CLEAR = 2.0
"""A difference of more than this many of its standard errors is called one."""


@dataclass(frozen=True)
class Analysis:
    """The tables of one root.

    scores: one row per score; the full model has method "" and measure "fine-tuned", its control
    kind "random start"; se is the dev set's standard error.
    summary, gaps: see `statistics`. overlap_pairs, overlap, survival: see `overlap`.
    baselines: per task and seed, see `baselines`. tasks: per task, see `judged`.
    sizes: see `sizes`. searches: see `searches`. missing, setup: see `records`.
    """

    uri: str
    scores: pd.DataFrame
    summary: pd.DataFrame
    gaps: pd.DataFrame
    baselines: pd.DataFrame
    tasks: pd.DataFrame
    overlap_pairs: pd.DataFrame
    overlap: pd.DataFrame
    survival: pd.DataFrame
    sizes: pd.DataFrame
    searches: pd.DataFrame
    missing: pd.DataFrame
    setup: pd.DataFrame


def analyse(root: str) -> Analysis:
    """Read a finished or half-finished root, a folder or a URI.

    Raises InputError if it is no root, holds no scores, mixes studies, or has a corrupt file.
    """
    store = Store.open(root)
    with tempfile.TemporaryDirectory(prefix="lottery_ray_") as copies:
        found = records.read(store, Path(copies))
        table = scores(found)
        base = baselines(found)
        pairs = overlap.pairs(found)
        return Analysis(
            uri=root,
            scores=table,
            summary=statistics.summary(table),
            gaps=statistics.gaps(table),
            baselines=base,
            tasks=judged(base),
            overlap_pairs=pairs,
            overlap=overlap.summary(pairs),
            survival=overlap.survival(found),
            sizes=sizes(found),
            searches=searches(found),
            missing=records.missing(found),
            setup=records.setup(found),
        )


def scores(root: Root) -> pd.DataFrame:
    """Every recorded dev score: columns SCORE. weights_kept is the share of prunable encoder weights."""
    rows: list[dict[str, Any]] = []
    for record in root.stage("finetune"):
        kind = "full" if record.labels["start"] == "pretrained" else "random start"
        full = {"method": "", "kind": kind, "draw": 0, "weights_kept": 1.0, "score": record.result["score"]}
        rows.append(full | _measured(root, record, "fine-tuned", "predictions.arrow"))
    for record in root.stage("ticket"):
        weights = record.result["weights"]
        ticket = {name: record.labels[name] for name in ("method", "kind", "draw")}
        ticket["weights_kept"] = weights["kept"] / weights["of"]
        for measure in ("pruned", "retrained"):
            measured = _measured(root, record, measure, f"{measure}.arrow")
            rows.append(ticket | measured | {"score": record.result[measure]})
    placed: list[dict[str, Any]] = sorted(rows, key=_place)
    return pd.DataFrame(placed, columns=SCORE)


def _place(row: dict[str, Any]) -> tuple[int, ...]:
    """Where a score stands in tables: by task, method, network and seed."""
    orders = ((TASKS, "task"), (("", *METHODS), "method"), (NETWORKS, "kind"), (MEASURES, "measure"))
    return (*(list(order).index(row[name]) for order, name in orders), row["seed"], row["draw"])


def _measured(root: Root, record: Record, measure: str, file: str) -> dict[str, Any]:
    metric = TASKS[record.labels["task"]].metric
    predictions = devset.read(root.artifact(record, file), metric)
    return {
        "task": record.labels["task"],
        "seed": record.labels["seed"],
        "metric": metric,
        "measure": measure,
        "se": devset.jackknife(devset.leave_one_out(metric, predictions)),
        "dev_examples": len(predictions.labels),
        "node": record.key,
    }


def baselines(root: Root) -> pd.DataFrame:
    """The full model against its baselines, one row per task and seed.

    Columns task, seed, full, majority, above_majority (full minus majority), majority_se (of that
    difference, on the dev set), majority_z (the difference in units of it), beats_majority (whether
    that exceeds CLEAR); and random_start, above_random_start, random_start_se, random_start_z,
    beats_random_start alike, NaN or None where no model was trained from random weights.
    """
    files: dict[tuple[str, int], dict[str, Record]] = {}
    for record in root.stage("finetune"):
        cell = record.labels["task"], record.labels["seed"]
        files.setdefault(cell, {})[record.labels["start"]] = record
    rows: list[dict[str, Any]] = []
    for (task, seed), starts in files.items():
        if "pretrained" not in starts:
            continue
        metric = TASKS[task].metric
        full = devset.read(root.artifact(starts["pretrained"], "predictions.arrow"), metric)
        constant = devset.majority(metric, full)
        row: dict[str, Any] = {"task": task, "seed": seed, "full": starts["pretrained"].result["score"]}
        row |= _against(row["full"], devset.score(metric, constant), full, constant, "majority", task)
        if control := starts.get("random"):
            other = devset.read(root.artifact(control, "predictions.arrow"), metric)
            row |= _against(row["full"], control.result["score"], full, other, "random_start", task)
        rows.append(row)
    columns = ["task", "seed", "full"]
    for name in ("majority", "random_start"):
        columns += [name, f"above_{name}", f"{name}_se", f"{name}_z", f"beats_{name}"]
    return pd.DataFrame(rows, columns=columns)


def _against(
    full: float, other: float, one: devset.Predictions, two: devset.Predictions, name: str, task: str
) -> dict[str, Any]:
    metric = TASKS[task].metric
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


def judged(baselines: pd.DataFrame) -> pd.DataFrame:
    """Whether each task's full model beats its majority baseline: columns task, majority, n, mean, sd,
    half, low, high (of full minus majority, over seeds), conclusive.

    It does if the t interval lies above zero. With one seed there is none, and low and high are CLEAR
    standard errors of the dev set away.
    """
    rows = []
    for task, group in baselines.groupby("task", sort=False):
        above = statistics.t_interval(group["above_majority"].to_numpy())
        if above.n == 1:
            half = CLEAR * float(group["majority_se"].iloc[0])
            above = statistics.Interval(1, above.mean, np.nan, half)
        row = {"task": task, "majority": group["majority"].iloc[0]}
        rows.append(row | above.row | {"conclusive": above.low > 0})
    return pd.DataFrame(rows)


def sizes(root: Root) -> pd.DataFrame:
    """What tickets keep: columns task, method, kind, component (of structured ones also "all weights": the
    prunable weights of the encoder), seeds, then mean, low, high of the share kept (smallest and largest
    seed), kept (mean count), of."""
    rows = []
    for record in root.stage("ticket"):
        counts = record.result["sizes"]
        if "weight" not in counts:
            counts = counts | {"all weights": record.result["weights"]}
        for component, size in counts.items():
            labels = [record.labels[name] for name in ("task", "method", "kind", "seed")]
            rows.append((*labels, component, size["kept"], size["of"], size["kept"] / size["of"]))
    columns = ["task", "method", "kind", "seed", "component", "kept", "of", "share"]
    frame = pd.DataFrame(rows, columns=columns)
    groups = frame.groupby(["task", "method", "kind", "component"], sort=False)
    return groups.agg(
        seeds=("seed", "nunique"),
        mean=("share", "mean"),
        low=("share", "min"),
        high=("share", "max"),
        kept=("kept", "mean"),
        of=("of", "first"),
    ).reset_index()


def searches(root: Root) -> pd.DataFrame:
    """Every step of every search: columns task, method, seed, step, phase, component, kept, of, score,
    accepted, full_score, floor. Scores are those that drive the search: for a regression the mean of
    Pearson and Spearman."""
    rows = [
        {
            **{name: record.labels[name] for name in ("task", "method", "seed")},
            **{"step": number, "component": component, "kept": kept},
            "of": record.result["sizes"][component]["of"],
            **{name: step[name] for name in ("phase", "score", "accepted")},
            **{name: record.result[name] for name in ("full_score", "floor")},
        }
        for record in root.stage("search")
        for number, step in enumerate(record.result["steps"])
        for component, kept in step["kept"].items()
    ]
    columns = ["task", "method", "seed", "step", "phase", "component", "kept", "of", "score", "accepted"]
    return pd.DataFrame(rows, columns=[*columns, "full_score", "floor"])
