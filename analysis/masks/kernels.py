"""Loops over the words of packed masks, compiled, with the processor's own bit counting.

words: uint64 (masks, words). Each loop counts the words from `start` on, up to `stop`, and adds what it finds
to its last argument; Python's lock is not held, so that threads count side by side. tile: how many words
of all masks fit a core's cache.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from numba.extending import intrinsic

Words = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    """Compiled at the first call; kept beside the code or in the user's cache, if either can be written."""
    try:
        found: Function = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        found = numba.njit(nogil=True)(function)
    return found


@intrinsic  # type: ignore[untyped-decorator]
def _popcount(context: Any, word: Any) -> Any:
    """How many bits of a word are set: one instruction, of which LLVM makes vectors."""
    return numba.int64(numba.uint64), lambda context, builder, signature, args: builder.ctpop(args[0])


@_compiled
def count_pairs(words: Words, start: int, stop: int, tile: int, both: Integers) -> None:
    """both: (masks, masks), of which the upper half and the diagonal are counted; below it lie parts.

    Two masks against two at a time, so that every word that is loaded is used twice.
    """
    k = len(words)
    for begin in range(start, stop, tile):
        end = min(begin + tile, stop)
        for i in range(0, k, 2):
            a, b = words[i, begin:end], words[min(i + 1, k - 1), begin:end]
            for j in range(i, k, 2):
                c, d = words[j, begin:end], words[min(j + 1, k - 1), begin:end]
                ac, ad, bc, bd = 0, 0, 0, 0
                for w in range(end - begin):
                    ac += _popcount(a[w] & c[w])
                    ad += _popcount(a[w] & d[w])
                    bc += _popcount(b[w] & c[w])
                    bd += _popcount(b[w] & d[w])
                both[i, j] += ac
                if j + 1 < k:
                    both[i, j + 1] += ad
                if i + 1 < k:
                    both[i + 1, j] += bc
                if i + 1 < k and j + 1 < k:
                    both[i + 1, j + 1] += bd


@_compiled
def count_triples(words: Words, start: int, stop: int, triples: Integers, found: Integers) -> None:
    """triples: (t, 3), places of masks. found: (t,)."""
    for number in range(len(triples)):
        one, two, three = words[triples[number, 0]], words[triples[number, 1]], words[triples[number, 2]]
        total = 0
        for w in range(start, stop):
            total += _popcount(one[w] & two[w] & three[w])
        found[number] += total


@_compiled
def count_kept(words: Words, start: int, stop: int, tile: int, histogram: Integers) -> None:
    """histogram: (masks + 1,), of which all but the first, what no mask keeps, is counted.

    Masks are added into binary counters, 64 of them abreast: planes[d] holds digit d of each.
    """
    digits = 1
    while len(words) >> digits:
        digits += 1
    planes = np.empty((digits, tile), np.uint64)
    row = np.empty(tile, np.uint64)
    for begin in range(start, stop, tile):
        size = min(tile, stop - begin)
        for digit in range(digits):
            for w in range(size):
                planes[digit, w] = 0
        threes = len(words) - len(words) % 3
        for i in range(0, threes, 3):
            _add_three(planes, row, words, i, begin, size)
            _add(planes, row, size, 2, i + 3)
        for i in range(threes, len(words)):
            for w in range(size):
                row[w] = words[i, begin + w]
            _add(planes, row, size, 0, i + 1)
        for times in range(1, len(words) + 1):
            histogram[times] += _equal(planes, row, size, times)


@_compiled
def _add_three(planes: Words, row: Words, words: Words, i: int, begin: int, size: int) -> None:
    """Add three masks to the first two digits at once, by two full adders; row becomes what to carry."""
    for w in range(size):
        a, b, c = words[i, begin + w], words[i + 1, begin + w], words[i + 2, begin + w]
        ones, twos = a ^ b ^ c, (a & b) | ((a ^ b) & c)
        first, second = planes[0, w], planes[1, w]
        carry = first & ones
        planes[0, w] = first ^ ones
        planes[1, w] = second ^ twos ^ carry
        row[w] = (second & twos) | ((second ^ twos) & carry)


@_compiled
def _add(planes: Words, row: Words, size: int, digit: int, largest: int) -> None:
    """Add the bits of row, which is overwritten, to a digit of counters that then hold at most `largest`."""
    while largest >> digit:
        for w in range(size):
            before = planes[digit, w]
            planes[digit, w] = before ^ row[w]
            row[w] &= before
        digit += 1


@_compiled
def _equal(planes: Words, row: Words, size: int, times: int) -> int:
    """How many counters hold `times`. row is overwritten."""
    for w in range(size):
        row[w] = ~np.uint64(0)
    for digit in range(len(planes)):
        flip = np.uint64(0) if times >> digit & 1 else ~np.uint64(0)
        for w in range(size):
            row[w] &= planes[digit, w] ^ flip
    total = 0
    for w in range(size):
        total += _popcount(row[w])
    return total
