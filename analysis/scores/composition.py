"""What good is made of: the gap to random, split into steps that change one thing each.

    layers                random -> layer-matched -> good
    pre-trained weights   random -> pretrained -> good (magnitude)

A layer-matched ticket has good's number of components in every layer, but not which ones; a pretrained
one keeps the largest weights of the pre-trained model.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.levels import CONFIDENCE
from analysis.records.network_names import GOOD, LAYER_MATCHED, PRETRAINED, RANDOM, named
from analysis.scores.statistics import CELL, INTERVAL_COLUMNS, paired, t_interval, verdict

PARTS_OF_GAP = {
    LAYER_MATCHED: ("the layer profile", "which components"),
    PRETRAINED: ("large pre-trained weights", "what fine-tuning changed"),
}
"""{network between random and good: what it has over random, what good has over it}"""
TOTAL = "all of it"


def composition(scores: pd.DataFrame) -> pd.DataFrame:
    """Good minus random and its parts, paired by seed, over the seeds that have all three networks.

    Columns task, method, size, measure, through (the network between), part (TOTAL or one of SPLITS),
    network, versus, n, then mean, sd, half, low, high of network minus versus, verdict, and share,
    share_low, share_high: the part's share of the whole gap with its interval by Fieller's theorem. NaN
    where the whole gap's interval holds zero: then there is nothing to share.
    """
    rows = []
    for names, networks, wide in paired(scores):
        random = named(networks, RANDOM)
        for through, (profile, rest) in PARTS_OF_GAP.items():
            between = named(networks, through)
            if random is None or between is None or GOOD not in networks:
                continue
            seeds = wide[[random, between, GOOD]].dropna()
            if seeds.empty:
                continue
            total = (seeds[GOOD] - seeds[random]).to_numpy()
            for part, network, versus in (
                (TOTAL, GOOD, random),
                (profile, between, random),
                (rest, GOOD, between),
            ):
                values = (seeds[network] - seeds[versus]).to_numpy()
                gap = t_interval(values)
                row: dict[str, Any] = names | {"through": through, "part": part}
                row |= {"network": network, "versus": versus}
                share = dict(zip(("share", "share_low", "share_high"), ratio(values, total), strict=True))
                rows.append(row | gap.row | {"verdict": verdict(gap, network)} | share)
    columns = [*CELL, "through", "part", "network", "versus", *INTERVAL_COLUMNS, "verdict"]
    return pd.DataFrame(rows, columns=[*columns, "share", "share_low", "share_high"])


def ratio(part: np.ndarray, whole: np.ndarray) -> tuple[float, float, float]:
    """Mean part over mean whole, and its interval by Fieller's theorem (1954); NaN where the t interval
    of the whole holds zero. part, whole: float (seeds,).

    The interval holds every r for which the mean of part - r whole is not significantly different from
    zero: the roots of a quadratic.
    """
    interval = t_interval(whole)
    if not (interval.low > 0 or interval.high < 0):
        return np.nan, np.nan, np.nan
    n = len(whole)
    factor = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) ** 2 / n
    (part_var, covariance), (_, whole_var) = np.cov(part, whole)
    p, w = part.mean(), whole.mean()
    a, b, c = w**2 - factor * whole_var, p * w - factor * covariance, p**2 - factor * part_var
    root = np.sqrt(max(b**2 - a * c, 0.0))
    return float(p / w), float((b - root) / a), float((b + root) / a)
