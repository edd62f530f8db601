"""What the dev set's finite size leaves open: scores, majority baselines and jackknife standard errors."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from lottery_ray.inputs.tasks import Metric


@dataclass(frozen=True)
class Predictions:
    """A network on the dev set, in the order of the examples' idx.

    labels: float (examples,). predicted: float (examples,), the class of the largest logit, or the
    value of a regression.
    """

    labels: np.ndarray
    predicted: np.ndarray


def read_predictions(path: Path, metric: Metric) -> Predictions:
    """A predictions file: Arrow IPC with columns idx, label and logits."""
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all().sort_by("idx")
    logits = table["logits"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    predicted = logits[:, 0] if metric == "pearson" else logits.argmax(axis=1)
    return Predictions(table["label"].to_numpy().astype(np.float64), predicted.astype(np.float64))


def majority(metric: Metric, predictions: Predictions) -> Predictions:
    """The same examples, all given the most frequent label of the dev set, as in the paper's
    frequency_baseline. Its correlation with anything, and so its Matthews and Pearson score, is 0."""
    values, counts = np.unique(predictions.labels, return_counts=True)
    return Predictions(predictions.labels, np.full_like(predictions.labels, values[counts.argmax()]))


def dev_score(metric: Metric, predictions: Predictions) -> float:
    """The reported dev score; a correlation with a constant is 0."""
    if metric == "accuracy":
        return float((predictions.labels == predictions.predicted).mean())
    if metric in ("f1", "macro_f1"):
        return float(_f1(metric, *_counts(predictions)))
    x, y = (values - values.mean() for values in (predictions.labels, predictions.predicted))
    return float(_correlation(x @ x, y @ y, x @ y, x @ x, y @ y))


def leave_one_out(metric: Metric, predictions: Predictions) -> np.ndarray:
    """float (examples,): the score without each example in turn.

    In closed form, from how sums of squares about the mean change when one row leaves. Matthews of two
    classes is the correlation of two binary vectors.
    """
    labels, predicted = predictions.labels, predictions.predicted
    n = len(labels)
    if metric == "accuracy":
        right = labels == predicted
        return np.asarray((right.sum() - right) / (n - 1))
    if metric in ("f1", "macro_f1"):
        return _f1_without_one(metric, predictions)
    x, y = labels - labels.mean(), predicted - predicted.mean()
    lost = n / (n - 1)
    xx, yy, xy = x @ x, y @ y, x @ y
    return _correlation(xx - lost * x * x, yy - lost * y * y, xy - lost * x * y, xx, yy)


def _counts(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Of every class, float (classes,): twice its true positives, and how often it is a label or predicted,
    both counting twice. Their ratio is its F1."""
    labels, predicted = predictions.labels.astype(int), predictions.predicted.astype(int)
    classes = max(labels.max(), predicted.max(), 1) + 1
    right = np.bincount(labels[labels == predicted], minlength=classes)
    seen = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    return 2.0 * right, seen.astype(float)


def _f1(metric: Metric, right: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of class 1, or the mean over the classes that occur, as scikit-learn has it. right, seen: as of
    `_counts`, float (..., classes)."""
    each = right / np.where(seen > 0, seen, 1)
    return np.asarray(each[..., 1] if metric == "f1" else each.sum(-1) / (seen > 0).sum(-1))


def _f1_without_one(metric: Metric, predictions: Predictions) -> np.ndarray:
    """float (examples,): an example that leaves takes its label's and its prediction's counts with it, and so
    it is the same for all that have both alike."""
    right, seen = _counts(predictions)
    pairs = np.stack([predictions.labels, predictions.predicted], axis=1).astype(int)
    kinds, which = np.unique(pairs, axis=0, return_inverse=True)
    label, predicted = np.eye(len(seen))[kinds.T]
    both = (kinds[:, 0] == kinds[:, 1])[:, None]
    left_out = _f1(metric, right - 2.0 * both * label, seen - label - predicted)
    return np.asarray(left_out[which.reshape(-1)])


def _correlation(
    xx: np.ndarray, yy: np.ndarray, xy: np.ndarray, xx_scale: float, yy_scale: float
) -> np.ndarray:
    """From sums of squares; 0 where one side is constant, to the rounding of a sum of that scale."""
    varies = (xx > 1e-12 * xx_scale) & (yy > 1e-12 * yy_scale)
    return np.asarray(np.where(varies, xy / np.sqrt(np.where(varies, xx * yy, 1)), 0.0))


def jackknife(left_out: np.ndarray) -> float:
    """The standard error of a statistic from its leave-one-out values (Efron and Tibshirani 1993,
    chapter 11); for a difference of two networks on the same examples, those values' differences."""
    n = len(left_out)
    return float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
