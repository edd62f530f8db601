"""Random masks of given sizes, many times over, from a stream of their own."""

from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

from analysis.masks.kernels import Integers, Words
from lottery_ray.streams import generator

DRAWS = 10_000


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
