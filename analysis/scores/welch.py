"""The difference of two means whose seeds are no pairs."""

import numpy as np
from scipy import stats

from analysis.scores.statistics import CONFIDENCE

Sample = tuple[float, float, float]
"""Number of values, mean, sample standard deviation."""


def welch(one: Sample, other: Sample) -> dict[str, float]:
    """difference (one less other) and low, high, its 95% interval (Welch 1947, degrees of freedom of
    Satterthwaite 1946); NaN where a spread is not known, or neither varies."""
    difference = one[1] - other[1]
    parts = [sd**2 / n for n, _, sd in (one, other)]
    if not sum(parts) > 0:
        return {"difference": difference, "low": np.nan, "high": np.nan}
    df = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, (n, _, _) in zip(parts, (one, other), strict=True))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, df)) * np.sqrt(sum(parts))
    return {"difference": difference, "low": difference - half, "high": difference + half}
