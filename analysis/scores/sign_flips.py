"""The sign-flip test: a paired test that assumes no distribution."""

import numpy as np

from lottery_ray import streams

EXACT = 20
"""Up to this many pairs, all patterns of signs are counted; beyond it, DRAWS of them are drawn."""
DRAWS = 100_000


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
