"""What paired differences are worth: effect sizes, tests of no difference, and seeds that would settle it."""

from bisect import bisect_left

import numpy as np
from scipy import special, stats
from statsmodels.stats.power import TTestPower

from analysis.levels import CONFIDENCE
from analysis.scores.statistics import Interval
from lottery_ray import streams

POWER = 0.8
MOST_SEEDS = 1000
FAR = 1000.0
"""Beyond this t, the inverse of the noncentral t is slow and unsure, and its limit the same to .1%."""
EXACT = 20
"""Up to this many pairs, all patterns of signs are counted; beyond it, DRAWS of them are drawn."""
DRAWS = 100_000


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


def t_test(gap: Interval) -> float:
    """Two-sided p of a mean of 0; NaN for one value, and where there is no spread."""
    if not varies(gap):
        return np.nan
    return float(2 * stats.t.sf(abs(gap.mean) * np.sqrt(gap.n) / gap.sd, gap.n - 1))


def sign_flips(differences: np.ndarray) -> float:
    """Two-sided p of a mean difference of 0 (Fisher 1935, section 21). differences: float (pairs,).

    If network and versus were exchangeable within each pair, every pattern of signs would be equally
    likely; p is the share of patterns whose mean is at least as far from 0 as the observed one. Beyond EXACT
    pairs it is (1 + such draws) / (1 + DRAWS), from the stream "sign flips" (Phipson and Smyth 2010). NaN
    for one pair.
    """
    n = len(differences)
    if n == 1:
        return np.nan
    # Scores lie on a lattice, so ties are common: equal up to the rounding of the sum is equal.
    far = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    if n <= EXACT:
        return float((np.abs(_sums(differences)) >= far).mean())
    rng, beyond = streams.generator("sign flips", n), 0
    for size in np.diff(np.arange(0, DRAWS + 1, 1_000)):
        signs = rng.integers(0, 2, (size, n)) * 2 - 1
        beyond += int((np.abs(signs @ differences) >= far).sum())
    return (1 + beyond) / (1 + DRAWS)


def _sums(differences: np.ndarray) -> np.ndarray:
    """float (2^(n-1),): the sum under every pattern that leaves the first sign; the others mirror them."""
    sums = differences[:1]
    for difference in differences[1:]:
        sums = np.concatenate([sums + difference, sums - difference])
    return sums


def least(n: int) -> float:
    """The smallest p that n pairs can give: 2 patterns of 2^n, or no draw."""
    return 2 / 2**n if n <= EXACT else 1 / (1 + DRAWS)


def holm(p: np.ndarray) -> np.ndarray:
    """p corrected for how many they are (Holm 1979). p: float (tests,). That of statsmodels collects garbage
    at every call, which would take longer than all else here."""
    order = p.argsort()
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected
