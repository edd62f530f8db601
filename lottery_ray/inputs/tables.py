"""Rows of a task: read, checked, and who sees which of them."""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lottery_ray.errors import InputError
from lottery_ray.inputs.tasks import Task
from lottery_ray.streams import generator

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
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


def data_files(folder: Path, task: Task) -> dict[str, Path]:
    """{split: file} of one task of a local folder."""
    return {
        "train": folder / task.name / "train.parquet",
        "validation": folder / task.name / f"{task.validation}.parquet",
    }


def check_table(path: Path, task: Task) -> None:
    """Refuse a file that is no whole Parquet table with what a task needs (InputError)."""
    columns = [*task.text, "label"]
    where = f"--data: {path}"
    if not path.is_file():
        raise InputError(f"{where} does not exist; {task.title} needs it, with columns {', '.join(columns)}.")
    try:
        names = pq.read_schema(path).names
        if missing := [name for name in columns if name not in names]:
            raise InputError(f"{where} has no column {', '.join(missing)}; it has {', '.join(names)}.")
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{where} is not a whole Parquet file ({error}).") from None
    check_rows(where, table, task)


def check_rows(where: str, table: pa.Table, task: Task) -> None:
    """Refuse a split that is empty, or with a text or label that cannot be used (InputError). where: what it
    is, in words."""
    if not table.num_rows:
        raise InputError(f"{where} is empty.")
    for name in task.text:
        kind = table.schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)) or table[name].null_count:
            raise InputError(f"{where}: column {name} must be text without nulls; it is {kind}.")
    _check_labels(where, task, table["label"])


def _check_labels(where: str, task: Task, label: pa.ChunkedArray) -> None:
    low, high = task.label_range
    kind = "numbers" if task.is_regression else "whole numbers"
    whole = pa.types.is_integer(label.type)
    if label.null_count or not (whole or (task.is_regression and pa.types.is_floating(label.type))):
        raise InputError(f"{where}: labels must be {kind} without nulls; they are {label.type}.")
    values = label.to_numpy()
    for value in values[~((low <= values) & (values <= high))][:1]:
        raise InputError(
            f"{where}: label {value:g} is outside {low:g} to {high:g}, the range of {task.title}."
        )
