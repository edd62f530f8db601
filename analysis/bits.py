"""Counting what masks keep and share, on their packed bits, in bounded memory.

Stretches of all masks are copied side by side, every row from the start of a 64-bit word, so that neither
offsets nor the way a file is cut into chunks matter from there on. Of a stretch, tiles that fit a core's
cache are counted for every pair of masks before the next tile: what is copied is read about once.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis import kernels
from analysis.kernels import Integers, Words
from lottery_ray import masks
from lottery_ray.errors import InputError

Triple = tuple[int, int, int]

MEMORY = 2**28
"""Bytes of all masks that are held at a time."""
CACHE = 2**19
"""Bytes of all masks that a core works on at a time; its second-level cache holds them."""
PIECE = 2**15
"""Words of each mask that a thread takes at a time."""


class Row(NamedTuple):
    """One row of a mask table: `n` packed bits from bit `start` of `bits` (uint8) on, lowest bit first."""

    component: str
    layer: int
    name: str
    shape: tuple[int, ...]
    n: int
    bits: npt.NDArray[np.uint8]
    start: int

    def load(self, begin: int, n: int, into: npt.NDArray[np.uint8]) -> None:
        """Copy n bits, from bit `begin` of the row on, to the start of `into`, and zeros after them."""
        first, shift = divmod(self.start + begin, 8)
        size = -(-n // 8)
        source = self.bits[first : first + size + 1]
        if shift:
            np.right_shift(source[:size], shift, out=into[:size])
            rest = source[1:] << (8 - shift)
            into[: rest.size] |= rest
        else:
            into[:size] = source[:size]
        into[size:] = 0
        if n % 8:
            into[size - 1] &= (1 << n % 8) - 1


def rows(path: Path) -> list[Row]:
    """The rows of a mask file, by component, layer and name. Their bits are mapped into memory, not read.

    Raises InputError if it is no mask file.
    """
    table = masks.read(path)
    columns = (table[name].to_pylist() for name in ("component", "layer", "name", "shape"))
    found = [
        Row(component, layer, name, tuple(shape), *place)
        for component, layer, name, shape, place in zip(*columns, _places(table["kept"]), strict=True)
    ]
    return sorted(found, key=lambda row: (row.component, row.layer, row.name))


def _places(kept: Any) -> Iterator[tuple[int, npt.NDArray[np.uint8], int]]:
    """(n, bits, start) of every row of the column `kept`."""
    for chunk in kept.chunks:
        buffer = chunk.values.buffers()[1]
        bits = np.frombuffer(buffer, np.uint8) if buffer else np.empty(0, np.uint8)
        offsets = chunk.offsets.to_numpy().astype(np.int64)
        for start, end in pairwise(offsets):
            yield int(end - start), bits, int(start) + chunk.values.offset


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
    like = rows(paths[0])
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
        found = rows(paths[number])
        _check_alike(paths[0], like, paths[number], found)
        for stretch in stretches:
            into = words[number, stretch.word : stretch.word + stretch.words]
            found[stretch.row].load(stretch.begin, stretch.n, into.view(np.uint8))

    list(pool.map(load, range(len(paths))))


def _check_alike(path: Path, ones: list[Row], other_path: Path, others: list[Row]) -> None:
    for one, other in zip_longest(ones, others):
        if one is None or other is None or one[:5] != other[:5]:
            raise InputError(
                f"{path} and {other_path} are masks of different shapes: {_words(one)} in the first,"
                f" {_words(other)} in the second. Only masks of the same model can be compared."
            )


def _words(row: Row | None) -> str:
    return "nothing" if row is None else f"{row.name} of layer {row.layer}, of shape {row.shape}"


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
