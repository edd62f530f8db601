"""Counting what masks keep and share, on their packed bits, in bounded memory.

Stretches of all masks are copied side by side, every row from the start of a 64-bit word, so that neither
offsets nor the way a file is cut into chunks matter from there on. Of a stretch, tiles that fit a core's
cache are counted for every pair of masks before the next tile: what is copied is read about once.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.masks import kernels
from analysis.masks.kernels import Integers, Words
from analysis.masks.rows import Row, check_alike, mask_rows

Triple = tuple[int, int, int]

MEMORY = 2**28
"""Bytes of all masks that are held at a time."""
CACHE = 2**19
"""Bytes of all masks that a core works on at a time; its second-level cache holds them."""
PIECE = 2**15
"""Words of each mask that a thread takes at a time."""


@dataclass(frozen=True)
class Counts:
    """What k masks of the same shape keep, group by group: a group is all of one component in one layer.

    component: str (groups,). layer: int (groups,). n: int (groups,), how many there are. both: int
    (groups, k, k), how many every two masks both keep; each mask's own size on the diagonal. histogram: int
    (groups, k + 1), how many are kept by exactly 0, 1 ... k masks. triples: int (groups, t), how many all
    three masks of each triple keep.
    """

    component: npt.NDArray[np.str_]
    layer: Integers
    n: Integers
    both: Integers
    histogram: Integers
    triples: Integers

    def of(self, component: str) -> "Counts":
        """Its layers alone."""
        here = self.component == component
        return Counts(*(value[here] for value in vars(self).values()))

    @property
    def sizes(self) -> Integers:
        """int (k, groups): how many each mask keeps."""
        found: Integers = np.diagonal(self.both, axis1=1, axis2=2).T
        return found


@dataclass(frozen=True)
class _Stretch:
    """n bits of row number `row`, from bit `begin` on; they lie from word `word` on."""

    row: int
    begin: int
    n: int
    word: int

    @property
    def words(self) -> int:
        return -(-self.n // 64)


def count(paths: Sequence[Path], triples: Sequence[Triple] = ()) -> Counts:
    """Sizes, overlaps of all pairs and of some triples, and the histogram of how often things are kept, of
    mask files. triples: of places in `paths`.

    Raises InputError if a file is no mask, or has other shapes than the first: both files are named.
    """
    like = mask_rows(paths[0])
    groups = list(dict.fromkeys((row.component, row.layer) for row in like))
    number = {group: place for place, group in enumerate(groups)}
    n, k = np.zeros(len(groups), np.int64), len(paths)
    for row in like:
        n[number[row.component, row.layer]] += row.n
    wanted = np.array(triples, np.int64).reshape(-1, 3)
    both, histogram, threes = (
        np.zeros((len(groups), *shape), np.int64) for shape in ((k, k), (k + 1,), (len(wanted),))
    )
    segments = list(_segments(like, MEMORY // 8 // k))
    buffer = np.empty(k * max(_width(stretches) for stretches in segments), np.uint64)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for stretches in segments:
            words = buffer[: k * _width(stretches)].reshape(k, -1)
            _load(paths, like, stretches, words, pool)
            spans = _spans(stretches, [number[row.component, row.layer] for row in like])
            counted = pool.map(lambda span, words=words: _count_span(words, span[1], span[2], wanted), spans)
            for (group, *_), found in zip(spans, counted, strict=True):
                for total, part in zip((both, histogram, threes), found, strict=True):
                    total[group] += part
    upper = np.triu(both)
    # the zeros that fill up words are kept by no mask
    histogram[:, 0] = n - histogram[:, 1:].sum(axis=1)
    component, layer = (np.array(list(values)) for values in zip(*groups, strict=True))
    return Counts(component, layer, n, upper + np.triu(both, 1).transpose(0, 2, 1), histogram, threes)


def _segments(like: list[Row], words: int) -> Iterator[list[_Stretch]]:
    """All bits of the rows, in lists of stretches that fill at most so many words of a mask."""
    found: list[_Stretch] = []
    used = 0
    for number, row in enumerate(like):
        begin = 0
        while begin < row.n:
            if used == words:
                yield found
                found, used = [], 0
            stretch = _Stretch(number, begin, min(row.n - begin, 64 * (words - used)), used)
            found.append(stretch)
            used += stretch.words
            begin += stretch.n
    yield found


def _width(stretches: list[_Stretch]) -> int:
    """How many words they fill."""
    return sum(stretch.words for stretch in stretches)


def _spans(stretches: list[_Stretch], groups: list[int]) -> list[tuple[int, int, int]]:
    """(group, first word, word after the last) of pieces of work, none longer than PIECE."""
    joined: list[list[int]] = []
    for stretch in stretches:
        group, end = groups[stretch.row], stretch.word + stretch.words
        if joined and joined[-1][0] == group:
            joined[-1][2] = end
        else:
            joined.append([group, stretch.word, end])
    return [
        (group, start, min(start + PIECE, end))
        for group, begin, end in joined
        for start in range(begin, end, PIECE)
    ]


def _load(
    paths: Sequence[Path],
    like: list[Row],
    stretches: list[_Stretch],
    words: Words,
    pool: ThreadPoolExecutor,
) -> None:
    """Copy the stretches of all masks into words. One file at a time is open in each thread, so that the
    pages it maps are given back."""

    def load(number: int) -> None:
        found = mask_rows(paths[number])
        check_alike(paths[0], like, paths[number], found)
        for stretch in stretches:
            into = words[number, stretch.word : stretch.word + stretch.words]
            found[stretch.row].load(stretch.begin, stretch.n, into.view(np.uint8))

    list(pool.map(load, range(len(paths))))


def _count_span(
    words: Words, start: int, stop: int, triples: Integers
) -> tuple[Integers, Integers, Integers]:
    """both (but for what is below its diagonal), histogram and triples of one group, between two words."""
    k, tile = len(words), max(256, CACHE // 8 // len(words))
    both, histogram, threes = (np.zeros(shape, np.int64) for shape in ((k, k), k + 1, len(triples)))
    kernels.count_pairs(words, start, stop, tile, both)
    kernels.count_kept(words, start, stop, tile, histogram)
    kernels.count_triples(words, start, stop, triples, threes)
    return both, histogram, threes
