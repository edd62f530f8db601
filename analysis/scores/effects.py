"""How large a paired difference is beside its spread, and how many seeds would settle it."""

from bisect import bisect_left

import numpy as np
from scipy import special, stats
from statsmodels.stats.power import TTestPower

from analysis.scores.statistics import CONFIDENCE, Interval

POWER = 0.8
MOST_SEEDS = 1000
FAR = 1000.0
"""Beyond this t, the inverse of the noncentral t is slow and unsure, and its limit the same to .1%."""


def effect(gap: Interval) -> tuple[float, float, float]:
    """Mean over sd of paired differences, and its interval.

    The estimate is Hedges' (1981), unbiased: the factor is exact for n - 1 degrees of freedom, and does not
    exist for two pairs. The interval, of the population's mean over sd, holds every value under which
    neither tail beyond the observed t is below 2.5%: from the noncentral t (Cumming and Finch 2001). NaN
    where it is not defined: one pair, or no spread.
    """
    if not varies(gap):
        return np.nan, np.nan, np.nan
    df, observed = gap.n - 1, gap.mean / gap.sd
    factor = np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)
    low, high = sorted(
        _noncentrality(df, tail, observed * np.sqrt(gap.n)) / np.sqrt(gap.n)
        for tail in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2)
    )
    return (float(factor * observed) if df > 1 else np.nan), low, high


def varies(gap: Interval) -> bool:
    """Whether there is a spread at all, beyond the rounding of equal values."""
    return gap.n > 1 and gap.sd > 1e-12 * abs(gap.mean)


def _noncentrality(df: int, tail: float, t: float) -> float:
    """The noncentrality under which a t of df degrees of freedom is below t with probability `tail`."""
    if abs(t) > FAR:
        return t * float(np.sqrt(stats.chi2.ppf(1 - tail if t > 0 else tail, df) / df))
    return float(special.nctdtrinc(df, tail, t))


def seeds_needed(gap: Interval) -> float:
    """The number of seeds at which a paired t test at .05 finds an undecided gap, in its direction, with
    probability POWER, if the true mean and sd are the observed ones; at most MOST_SEEDS, which then means
    that many or more. NaN for a decided gap, one seed, or no spread.

    The observed mean and sd are themselves unsure, so this is a guide and no promise.
    """
    if not varies(gap) or gap.low > 0 or gap.high < 0:
        return np.nan
    size = abs(gap.mean) / gap.sd

    def power(seeds: int) -> float:
        # one side of a two-sided test; SciPy has no number for some powers that are 1 to the last digit
        found = TTestPower().power(size, seeds, (1 - CONFIDENCE) / 2, alternative="larger")
        return float(np.nan_to_num(found, nan=1.0))

    return float(2 + bisect_left(range(2, MOST_SEEDS), POWER, key=power))
