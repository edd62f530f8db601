"""Whether seeds agree on what to keep: Fleiss' kappa, Krippendorff's alpha, both ways of Cochran's Q.

With two categories, kept or not, all of them follow from the masks' sizes and pairwise overlaps alone: a
component that K of k masks keep adds K to the sizes and K(K - 1)/2 to the overlaps, and nothing else enters.
So one code serves 156 components and 85 million weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from analysis.levels import CONFIDENCE, SIGNIFICANT
from analysis.masks import chance
from analysis.masks.bits import Counts
from analysis.masks.groups import PLACE, Group
from analysis.masks.kernels import Integers

COLUMNS = [
    *(*PLACE, "component", "seeds", "n", "kept", "kept_least", "kept_most", "share", "every", "never"),
    *("fleiss_kappa", "kappa_se", "kappa_low", "kappa_high"),
    *("krippendorff_alpha", "alpha_se", "alpha_low", "alpha_high", "sizes_q", "sizes_df", "sizes_p"),
    *("sizes_pairs", "sizes_pairs_not_rejected", "components_q", "components_df", "components_p"),
]


@dataclass(frozen=True)
class Sums:
    """What the coefficients are made of. raters: k masks; items: n components; squared_sizes: the sum of
    the squares of the sizes; kept and squared: the sums over components of how many masks keep each, and of
    its square. Plain integers, which do not overflow.
    """

    raters: int
    items: int
    squared_sizes: int
    kept: int
    squared: int


def sums(n: int, both: Integers) -> Sums:
    """both: int (k, k), the sizes on the diagonal."""
    sizes = [int(size) for size in both.diagonal()]
    return Sums(len(sizes), int(n), sum(size**2 for size in sizes), sum(sizes), int(both.sum()))


def _observed(of: Sums) -> float:
    """The share of pairs of masks that agree on a component."""
    pairs = of.items * of.raters * (of.raters - 1)
    return _ratio(2 * (of.squared - of.raters * of.kept) + pairs, pairs)


def _ratio(above: float, below: float) -> float:
    return above / below if below else np.nan


def fleiss_kappa(of: Sums) -> float:
    """Fleiss 1971: components are subjects, masks raters. NaN for one mask, or if all keep all or nothing."""
    share = _ratio(of.kept, of.items * of.raters)
    expected = share**2 + (1 - share) ** 2
    return _ratio(_observed(of) - expected, 1 - expected)


def krippendorff_alpha(of: Sums) -> float:
    """Krippendorff 2011, nominal, without missing values. NaN as of `fleiss_kappa`."""
    values = of.items * of.raters
    expected = _ratio(2 * of.kept * (values - of.kept), values * (values - 1))
    return 1 - _ratio(1 - _observed(of), expected)


def jackknife(coefficient: Callable[[Sums], float], n: int, both: Integers) -> tuple[float, float, float]:
    """Standard error of a coefficient, and the ends of its 95% t interval, within -1 and 1, by leaving out
    one mask at a time (Miller 1974). both: as of `sums`.

    Approximate, as for any new seeds of these components: simulated, it covers 94% to 99% of the time with 3
    to 10 masks of 12 or 144 components, too often where seeds agree no more than by chance; with three it is
    wide. NaN for fewer than three masks, and where the coefficient of all but one is not defined.
    """
    k = len(both)
    if k < 3:
        return np.nan, np.nan, np.nan
    every = np.arange(k)
    without = [coefficient(sums(n, both[np.ix_(every != one, every != one)])) for one in every]
    se = float(np.sqrt((k - 1) * np.var(without)))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, k - 1)) * se
    low, high = np.clip([coefficient(sums(n, both)) + end for end in (-half, half)], -1, 1)
    return se, float(low), float(high)


def sizes_q(of: Sums) -> tuple[float, int, float]:
    """Cochran's Q as published, its degrees of freedom, and p of chi-squared: masks are treatments and
    components blocks, so it asks whether the masks keep equally many, not the same ones
    (paper/protocol.md, section 6.8). NaN if every component is kept by all masks or by none."""
    k = of.raters
    statistic = _ratio((k - 1) * (k * of.squared_sizes - of.kept**2), k * of.kept - of.squared)
    return statistic, k - 1, float(stats.chi2.sf(statistic, k - 1))


def components_q(of: Sums) -> tuple[float, int]:
    """Cochran's Q as meant, and its degrees of freedom: components are treatments and masks blocks, so it
    asks whether some components are kept more often than others. It grows with the summed overlap of
    pairs, and with nothing else if each mask keeps its size. NaN if every mask keeps all or nothing."""
    n = of.items
    statistic = _ratio((n - 1) * (n * of.squared - of.kept**2), n * of.kept - of.squared_sizes)
    return statistic, n - 1


def not_rejected(n: int, both: Integers) -> int:
    """Of all pairs of masks, those whose sizes Cochran's Q (McNemar's test without correction, if there are
    two) does not tell apart at SIGNIFICANT. Pairs without a difference to test do not count."""
    return sum(
        sizes_q(sums(n, both[np.ix_(two, two)]))[2] > SIGNIFICANT for two in combinations(range(len(both)), 2)
    )


def agreement(groups: Sequence[Group]) -> pd.DataFrame:
    """Per group of masks and component: columns COLUMNS.

    n: how many components there are. kept, kept_least, kept_most: mean and extremes of how many a mask
    keeps. share: kept / n. every, never: how many all masks keep, and none. kappa_*, alpha_*: of fleiss_kappa
    and krippendorff_alpha, see `jackknife`. `sizes_*`: `sizes_q`. sizes_pairs_not_rejected: of sizes_pairs,
    see `not_rejected`. `components_*`: `components_q`; p is that of random masks of the same sizes, by
    permutation within each mask (see `chance.mean`), and where that is simulated never below 1 / 10,001.
    """
    rows = [
        (*group.place, component, *_row(group.counts.of(component)))
        for group in groups
        for component in group.components
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(counts: Counts) -> tuple[float, ...]:
    """The columns from seeds on."""
    n, both, histogram = int(counts.n.sum()), counts.both.sum(axis=0), counts.histogram.sum(axis=0)
    of, sizes = sums(n, both), both.diagonal()
    statistic, df = components_q(of)
    p = np.nan if np.isnan(statistic) else chance.mean([n], sizes[:, None], both).both_p
    return (
        *(of.raters, n, sizes.mean(), sizes.min(), sizes.max(), sizes.mean() / n),
        *(histogram[-1], histogram[0], fleiss_kappa(of), *jackknife(fleiss_kappa, n, both)),
        *(krippendorff_alpha(of), *jackknife(krippendorff_alpha, n, both), *sizes_q(of)),
        *(of.raters * (of.raters - 1) // 2, not_rejected(n, both), statistic, df, p),
    )
