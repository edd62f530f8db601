"""Which rows of the training set a node trains on, and which a search is scored on."""

import hashlib

import numpy as np
import pyarrow as pa

from lottery_ray.inputs.tasks import Task
from lottery_ray.streams import generator

STRATA = 5
"""Quantiles of a regression's labels that count as its classes."""


def limited(rows: pa.Table, task: Task, limit: int | None) -> pa.Table:
    """A random subset of the training rows, the same for every seed."""
    if limit is None or limit >= rows.num_rows:
        return rows
    chosen = generator(task.name, "train_limit", limit).choice(rows.num_rows, limit, replace=False)
    return rows.take(np.sort(chosen))


def held_out(rows: pa.Table, task: Task, share: float) -> np.ndarray:
    """Which rows no training sees, bool (rows,): this share of every class, or of every quintile of a
    regression's labels.

    A row's text decides, by its hash, so that the choice is the same for every seed, and equal texts stay
    together as far as the exact size allows.
    """
    texts = zip(*(rows[name].to_pylist() for name in task.text), strict=True)
    order = np.argsort([_digest(text) for text in texts], kind="stable")
    stratum = _strata(rows["label"].to_numpy(), task)
    chosen = np.zeros(rows.num_rows, bool)
    for label in np.unique(stratum):
        members = order[stratum[order] == label]
        chosen[members[: round(share * members.size)]] = True
    return chosen


def _digest(texts: tuple[str, ...]) -> bytes:
    return hashlib.sha256("\0".join(texts).encode()).digest()


def _strata(labels: np.ndarray, task: Task) -> np.ndarray:
    classes = np.unique(labels)
    if task.is_regression:
        classes = np.quantile(labels, np.linspace(0, 1, STRATA + 1)[:-1])
    found: np.ndarray = np.digitize(labels, classes)
    return found


def train_subset(rows: pa.Table, task: Task, seed: int, size: int) -> pa.Table:
    """As many training rows as the dev set has, drawn for each seed, as released beside the paper."""
    chosen = generator(task.name, seed, "train_subset").permutation(rows.num_rows)[:size]
    return rows.take(np.sort(chosen))
