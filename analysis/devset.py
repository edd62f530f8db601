"""What the dev set's finite size leaves open: scores, majority baselines and jackknife standard errors."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from lottery_ray.tasks import Metric


@dataclass(frozen=True)
class Predictions:
    """A network on the dev set, in the order of the examples' idx.

    labels: float (examples,). predicted: float (examples,), the class of the largest logit, or the
    value of a regression.
    """

    labels: np.ndarray
    predicted: np.ndarray


def read(path: Path, metric: Metric) -> Predictions:
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


def score(metric: Metric, predictions: Predictions) -> float:
    """The reported dev score; a correlation with a constant is 0."""
    if metric == "accuracy":
        return float((predictions.labels == predictions.predicted).mean())
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
    x, y = labels - labels.mean(), predicted - predicted.mean()
    lost = n / (n - 1)
    xx, yy, xy = x @ x, y @ y, x @ y
    return _correlation(xx - lost * x * x, yy - lost * y * y, xy - lost * x * y, xx, yy)


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
