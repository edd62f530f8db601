"""Good masks against those of the largest pre-trained weights, and what seeds share beyond them.

A good magnitude mask resembles the pre-trained mask P of its seed: as many of the pre-trained model's
largest weights. Two seeds then share much without any agreement of their own. So their overlap is set beside
that of random masks which keep as many as they do within every stratum of weights that their P's tell apart:
in both P's, in one alone, in the other alone, in neither. (Each seed has its own P, as their sizes differ;
within a stratum, what two such masks share is hypergeometric.)
"""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.masks import bits, chance
from analysis.masks.groups import by_place, pruned
from analysis.masks.kernels import Integers
from analysis.records.method_names import Method
from analysis.records.network_names import GOOD, PRETRAINED
from analysis.records.root import MaskFile

COLUMNS = [
    *("task", "method", "size", "component", "seed", "other_seed", "other", "n", "kept", "other_kept"),
    *("both", "jaccard", "chance_both", "chance", "chance_low", "chance_high"),
    *("beyond_both", "beyond_chance", "beyond_low", "beyond_high", "largest", "ratio", "share"),
]


def pretrained_overlap(files: Sequence[MaskFile]) -> pd.DataFrame:
    """Per task, method and size that has pre-trained masks, two kinds of rows: columns COLUMNS.

    other PRETRAINED: the good mask of a seed against its own P. other GOOD: the good masks of two seeds.
    n, kept, other_kept, both, jaccard: of weights. chance_*: of masks of the same sizes, as in
    `overlap.of_pairs`. Of two seeds also beyond_*: the same, if masks are random within the strata of their
    P's; largest: the largest possible overlap there; ratio: both / beyond_both; share: (both - beyond_both)
    / (largest - beyond_both), which is 0 at chance and 1 if no mask could share more.
    """
    rows = []
    places = by_place(files)
    for (task, method, size, network), models in places.items():
        goods = places.get((task, method, size, GOOD), {})
        seeds = [seed for seed in goods if seed in models]
        if network == PRETRAINED and seeds:
            paths = [by_seed[seed].path for by_seed in (goods, models) for seed in seeds]
            rows += [(task, method, size, *row) for row in _rows(method, seeds, paths)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(method: Method, seeds: list[int], paths: list[Path]) -> list[tuple[object, ...]]:
    """paths: the good masks of the seeds, then their P's."""
    k, rows = len(seeds), []
    triples = [(i, k + i, k + j) for i, j in permutations(range(k), 2)]
    counted = bits.count(paths, triples)
    for component in pruned(method, counted):
        counts = counted.of(component)
        n, both = int(counts.n.sum()), counts.both.sum(axis=0)
        within = dict(zip(((i, j) for i, _, j in triples), counts.triples.sum(axis=0), strict=True))
        for i, seed in enumerate(seeds):
            rows.append((component, seed, seed, PRETRAINED, *_against(n, both, i, k + i), *[np.nan] * 7))
            for j in range(i + 1, k):
                strata = (
                    _strata(n, both[k + i, k + i], both[k + j, k + j], both[k + i, k + j]),
                    _strata(both[i, i], both[i, k + i], both[i, k + j], within[i, k + j]),
                    _strata(both[j, j], both[j, k + i], both[j, k + j], within[j, k + i]),
                )
                row = _against(n, both, i, j)
                rows.append((component, seed, seeds[j], GOOD, *row, *_beyond(int(both[i, j]), *strata)))
    return rows


def _against(n: int, both: Integers, i: int, j: int) -> tuple[float, ...]:
    """The columns from n to chance_high."""
    kept, other_kept, shared = int(both[i, i]), int(both[j, j]), int(both[i, j])
    index = float(chance.jaccard(shared, kept + other_kept))
    return n, kept, other_kept, shared, index, *vars(chance.pair(n, kept, other_kept)).values()


def _strata(total: int, in_one: int, in_other: int, in_both: int) -> Integers:
    """int (4,): how many are in both P's, in the first alone, in the second alone, in neither."""
    return np.array([in_both, in_one - in_both, in_other - in_both, total - in_one - in_other + in_both])


def _beyond(shared: int, n: Integers, a: Integers, b: Integers) -> tuple[float, ...]:
    """The columns from beyond_both on. n, a, b: sizes of the strata and of the two masks in them."""
    null, largest = chance.pair(n, a, b), int(np.minimum(a, b).sum())
    ratio = shared / null.both if null.both else np.nan
    room = largest - null.both
    # less than rounding is no room
    share = (shared - null.both) / room if room > 1e-6 else np.nan
    return *vars(null).values(), largest, ratio, share
