"""What independent random masks share: the null distributions that overlaps are read beside.

Masks are uniform among those of their sizes, in every stratum apart. One stratum of all components is the
null "same size"; a stratum per layer is "same size in every layer". In a stratum of n components, masks that
keep a and b share a hypergeometric number, and what they share in all is a sum of independent ones.

The overlaps of several pairs of masks are pairwise independent (given one mask, what a second and a third
share with it are independent, and depend on its size alone), so the variance of their mean is the sum of
theirs over the number of pairs squared, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.masks.kernels import Integers, Words
from lottery_ray.streams import generator

EXACT_UP_TO = 100_000
"""Components up to which the distribution of one overlap is exact."""
SIMULATED_UP_TO = 512
"""Components up to which the distribution of a mean of overlaps is simulated."""
LEVELS = (0.025, 0.975)
DRAWS = 10_000
"""How often masks are simulated."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shared:
    """A distribution of how many components two masks share: values, ascending, and their probabilities.

    kept: the sizes of the two masks added up.
    """

    values: Floats
    probabilities: Floats
    kept: int

    @property
    def mean(self) -> float:
        return float(self.probabilities @ self.values)

    @property
    def jaccards(self) -> Floats:
        """The Jaccard index of each value; NaN for two empty masks."""
        return jaccard(self.values, self.kept)

    @property
    def interval(self) -> Floats:
        """The values that 95% lie between."""
        levels = np.searchsorted(np.cumsum(self.probabilities) + 1e-12, LEVELS)
        found: Floats = self.values[np.minimum(levels, self.values.size - 1)]
        return found


@dataclass(frozen=True)
class Pair:
    """The expected overlap and Jaccard of two masks, and the Jaccards that 95% of pairs lie between."""

    both: float
    jaccard: float
    low: float
    high: float


@dataclass(frozen=True)
class Mean(Pair):
    """The same of the means over all pairs of several masks, and one-sided p of the means observed.

    p: of a mean Jaccard so large or larger; both_p: of a mean overlap so large or larger. Where simulated,
    neither is below 1 / (1 + DRAWS) = 1 / 10,001: that many or more say no more.
    """

    p: float
    both_p: float


def jaccard(both: npt.ArrayLike, kept: npt.ArrayLike) -> Floats:
    """Shared over united, for any shape; NaN where both masks are empty. kept: their sizes added up."""
    shared = np.asarray(both, float)
    union = kept - shared
    found: Floats = np.divide(shared, union, out=np.full(union.shape, np.nan), where=union > 0)
    return found


def shared(n: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike) -> Shared:
    """What two masks share that keep a and b of the n components of each stratum.

    n, a, b: int (strata,). Exact to rounding, by convolution, up to EXACT_UP_TO components; above, normal
    with the exact mean and variance, on a grid of 1601 values.
    """
    sizes, ones, others = (np.atleast_1d(np.asarray(x, np.int64)) for x in (n, a, b))
    kept = int(ones.sum() + others.sum())
    if sizes.sum() > EXACT_UP_TO:
        mean, variance = moments(sizes, ones, others)
        grid = np.linspace(-8, 8, 1601)
        weights = stats.norm.pdf(grid)
        values = np.maximum(mean.sum() + grid * np.sqrt(variance.sum()), 0)
        return Shared(values, weights / weights.sum(), kept)
    parts = [_hypergeometric(*map(int, stratum)) for stratum in zip(sizes, ones, others, strict=True)]
    first = sum(start for start, _ in parts)
    total = reduce(np.convolve, (probabilities for _, probabilities in parts))
    return Shared(first + np.arange(total.size, dtype=float), total, kept)


def moments(n: Integers, a: Integers, b: Integers) -> tuple[Floats, Floats]:
    """Mean and variance of hypergeometric overlaps; int of one shape."""
    total = np.maximum(n, 1).astype(float)
    mean = a * (b / total)
    return mean, mean * ((n - a) / total) * ((n - b) / np.maximum(n - 1, 1))


@lru_cache(maxsize=10_000)
def _hypergeometric(n: int, a: int, b: int) -> tuple[int, Floats]:
    """(smallest value, probabilities of it and those after it), over ten standard deviations."""
    if n == 0:
        return 0, np.ones(1)
    mean, variance = moments(np.int64(n), np.int64(a), np.int64(b))  # type: ignore[arg-type]
    reach = 1 + 10 * float(np.sqrt(variance))
    first = max(0, a + b - n, int(mean - reach))
    values = np.arange(first, min(a, b, int(mean + reach) + 1) + 1)
    # pmf itself takes long for large n
    return first, np.exp(np.atleast_1d(stats.hypergeom.logpmf(values, n, a, b)))


def pair(n: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike) -> Pair:
    """Of two masks; arguments and exactness as of `shared`."""
    found = shared(n, a, b)
    low, high = jaccard(found.interval, found.kept)
    return Pair(found.mean, float(found.probabilities @ found.jaccards), float(low), float(high))


def chance_jaccard(n: int, a: int, b: int) -> float:
    """The expected Jaccard of two independent random masks that keep exactly a and b of n components; NaN
    if both keep nothing. Exactness as of `shared`."""
    return pair(n, a, b).jaccard


def mean(n: Sequence[int] | Integers, sizes: Integers, both: Integers) -> Mean:
    """Of all pairs of k masks, beside what was observed.

    n: (strata,). sizes: int (k, strata). both: int (k, k), what every two masks share in all. Up to
    SIMULATED_UP_TO components a permutation distribution: many times k masks of these sizes (see
    `simulated`), and p counts the observed one among them. Above, normal with the exact variance.
    Pairs of empty masks have no Jaccard and do not count. NaN for a single mask.
    """
    strata = np.asarray(n, np.int64)
    if len(sizes) < 2:
        return Mean(*[np.nan] * 6)
    places = np.triu_indices(len(sizes), 1)
    kept = np.add(*(sizes.sum(axis=1)[place] for place in places))
    if strata.sum() > SIMULATED_UP_TO:
        pairs = [shared(strata, sizes[i], sizes[j]) for i, j in zip(*places, strict=True)]
        return _normal(pairs, jaccard(both[places], kept), both[places])
    drawn = simulated(strata, sizes)
    means, jaccards = drawn.mean(axis=0), _mean(jaccard(drawn, kept[:, None]))
    exact = [pair(strata, sizes[i], sizes[j]) for i, j in zip(*places, strict=True)]
    low, high = np.quantile(jaccards, LEVELS)
    return Mean(
        both=float(np.mean([one.both for one in exact])),
        jaccard=float(_mean(np.array([one.jaccard for one in exact]))),
        low=float(low),
        high=float(high),
        p=_p_among(jaccards, float(_mean(jaccard(both[places], kept)))),
        both_p=_p_among(means, float(both[places].mean())),
    )


def _mean(values: Floats) -> Floats:
    """Over the first axis, without NaN; NaN where there is nothing else."""
    defined = (~np.isnan(values)).sum(axis=0)
    total = np.nansum(values, axis=0)
    found: Floats = np.divide(total, defined, out=np.full(np.shape(total), np.nan), where=defined > 0)
    return found


def _p_among(drawn: Floats, observed: float) -> float:
    """(1 + how many are as large) / (1 + all of them): Phipson and Smyth 2010, never 0."""
    if np.isnan(observed):
        return np.nan
    return (1 + int((drawn >= observed - 1e-9).sum())) / (1 + drawn.size)


def _normal(pairs: list[Shared], jaccards: Floats, both: Integers) -> Mean:
    """From the distributions of the pairs, which are pairwise independent."""
    means = np.array([pair.mean for pair in pairs])
    variances = [pair.probabilities @ (pair.values - pair.mean) ** 2 for pair in pairs]
    expected = np.array([pair.probabilities @ pair.jaccards for pair in pairs])
    spreads = [
        pair.probabilities @ (pair.jaccards - centre) ** 2
        for pair, centre in zip(pairs, expected, strict=True)
    ]
    defined = int((~np.isnan(expected)).sum())
    centre, sd = float(_mean(expected)), np.sqrt(np.nansum(spreads)) / max(defined, 1)
    both_sd = np.sqrt(np.sum(variances)) / len(pairs)
    return Mean(
        both=float(means.mean()),
        jaccard=centre,
        low=centre + sd * stats.norm.ppf(LEVELS[0]),
        high=centre + sd * stats.norm.ppf(LEVELS[1]),
        p=_p_beyond(float(_mean(jaccards)) - centre, sd),
        both_p=_p_beyond(float(both.mean() - means.mean()), both_sd),
    )


def _p_beyond(difference: float, sd: float) -> float:
    """One-sided; 1 where chance leaves nothing open."""
    if np.isnan(difference):
        return np.nan
    return float(stats.norm.sf(difference / sd)) if sd > 1e-12 else 1.0


def simulated(n: Integers, sizes: Integers) -> Integers:
    """int (pairs, DRAWS): what every two of k random masks share. n: (strata,); sizes: int (k, strata)."""
    words = [
        _packed([_permutations(int(width), mask, stratum) < kept[stratum] for stratum, width in enumerate(n)])
        for mask, kept in enumerate(sizes)
    ]
    return np.stack(
        [np.bitwise_count(one & two).sum(axis=1, dtype=np.int64) for one, two in combinations(words, 2)]
    )


def _packed(flags: list[npt.NDArray[np.bool_]]) -> Words:
    """uint64 (DRAWS, words). flags: bool (DRAWS, width) each."""
    joined = np.concatenate(flags, axis=1)
    fill = np.zeros((len(joined), -joined.shape[1] % 64), bool)
    return np.packbits(np.concatenate([joined, fill], axis=1), axis=1).view(np.uint64)


@lru_cache(maxsize=256)
def _permutations(n: int, mask: int, stratum: int) -> npt.NDArray[np.uint16]:
    """uint16 (DRAWS, n): of which the places below any size are a uniform mask of that size. Every group of
    masks is set beside the same draws, which are made once."""
    return generator("chance", n, mask, stratum).random((DRAWS, n)).argsort(axis=1).astype(np.uint16)
