"""How alike the masks of different seeds are, beside what chance would give.

Two nulls: random masks of the same sizes, and random masks of the same size in every layer (see `chance`).
Of networks that are drawn several times for a seed, the first draw stands for all.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from analysis.masks import agreement, chance
from analysis.masks.chance import chance_jaccard
from analysis.masks.groups import PLACE, Group
from analysis.masks.kernels import Integers
from lottery_ray.experiment import masks

__all__ = ["chance_jaccard"]

LAYER_NULL = ["layer_both", "layer_chance", "layer_low", "layer_high"]
PAIR_COLUMNS = [
    *(*PLACE, "component", "seed", "other_seed", "n", "kept", "other_kept", "both", "jaccard"),
    *("chance_both", "chance", "chance_low", "chance_high", *LAYER_NULL),
]
MEAN_COLUMNS = ["pairs", "defined", "kept", "both", "jaccard"]
SEED_COLUMNS = [
    *(*PLACE, "component", "seeds", "n", *MEAN_COLUMNS, "jaccard_sd"),
    *("chance_both", "chance", "chance_low", "chance_high", "chance_p", "ratio", *LAYER_NULL, "layer_p"),
]
LAYER_COLUMNS = [
    *(*PLACE, "component", "layer", "n", *MEAN_COLUMNS),
    *("chance", "chance_low", "chance_high", "chance_p", "fleiss_kappa"),
]


def overlap_of_pairs(groups: Sequence[Group]) -> pd.DataFrame:
    """Every two seeds of each group, for the components that its method prunes: columns PAIR_COLUMNS.

    n: components; kept, other_kept: of them, in each mask; both: in both. chance_both, chance: the expected
    overlap and Jaccard of masks of the same sizes; chance_low, chance_high: the Jaccards that 95% of such
    pairs lie between. layer_*: the same of masks of the same size in every layer.
    """
    rows = []
    for group in groups:
        for component in group.components:
            counts = group.counts.of(component)
            both = counts.both.sum(axis=0)
            for i, j in combinations(range(len(both)), 2):
                a, b = counts.sizes[i], counts.sizes[j]
                found = int(counts.n.sum()), int(both[i, i]), int(both[j, j]), int(both[i, j])
                nulls = chance.pair(*found[:3]), chance.pair(counts.n, a, b)
                index = float(chance.jaccard(found[3], found[1] + found[2]))
                seeds = group.seeds[i], group.seeds[j]
                values = (value for null in nulls for value in vars(null).values())
                rows.append((*group.place, component, *seeds, *found, index, *values))
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def overlap_of_seeds(groups: Sequence[Group]) -> pd.DataFrame:
    """Means over all pairs of seeds of each group: columns SEED_COLUMNS.

    pairs, defined: of seeds, and those of which one mask keeps something; means of Jaccard are over these.
    kept: mean over seeds; both, jaccard: means over pairs; jaccard_sd: over pairs, which share seeds, so it
    is no standard error. chance_low, chance_high: what 95% of such means lie between if masks of these
    sizes are random; chance_p: one-sided, of a mean Jaccard as large or larger. layer_*: the same if the
    masks are random within every layer. ratio: jaccard / chance.
    """
    rows = []
    for group in groups:
        for component in group.components:
            counts = group.counts.of(component)
            n, both = int(counts.n.sum()), counts.both.sum(axis=0)
            plain = chance.mean([n], both.diagonal()[:, None], both)
            layers = chance.mean(counts.n, counts.sizes, both)
            index, sd = _observed(both)
            ratio = index[-1] / plain.jaccard if plain.jaccard else np.nan
            one, other = ((null.both, null.jaccard, null.low, null.high, null.p) for null in (plain, layers))
            rows.append((*group.place, component, len(both), n, *index, sd, *one, ratio, *other))
    return pd.DataFrame(rows, columns=SEED_COLUMNS)


def overlap_of_layers(groups: Sequence[Group]) -> pd.DataFrame:
    """The same in every layer that has more than one component: columns LAYER_COLUMNS, see
    `overlap_of_seeds`."""
    rows = []
    for group in groups:
        for component in group.components:
            counts = group.counts.of(component)
            for layer, n, both in zip(counts.layer, counts.n, counts.both, strict=True):
                if n > 1:
                    null = chance.mean([int(n)], both.diagonal()[:, None], both)
                    kappa = agreement.fleiss_kappa(agreement.sums(n, both))
                    values = null.jaccard, null.low, null.high, null.p, kappa
                    rows.append((*group.place, component, layer, n, *_observed(both)[0], *values))
    return pd.DataFrame(rows, columns=LAYER_COLUMNS)


def _observed(both: Integers) -> tuple[tuple[float, ...], float]:
    """MEAN_COLUMNS, and the sd (ddof 1) of the Jaccards. both: (k, k), sizes on the diagonal."""
    i, j = np.triu_indices(len(both), 1)
    sizes, indices = both.diagonal(), pd.Series(chance.jaccard(both[i, j], both[i, i] + both[j, j]))
    shared = pd.Series(both[i, j]).mean()
    return (len(i), indices.count(), sizes.mean(), shared, indices.mean()), indices.std()


def jaccard_of(overlap: masks.Overlap) -> float:
    """Shared over united; NaN where both masks are empty."""
    union = overlap.a + overlap.b - overlap.both
    return overlap.both / union if union else np.nan
