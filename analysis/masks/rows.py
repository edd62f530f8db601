"""The rows of a mask file, as packed bits that are mapped into memory."""

from collections.abc import Iterator
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lottery_ray.errors import InputError
from lottery_ray.experiment.masks import read_masks


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


def mask_rows(path: Path) -> list[Row]:
    """The rows of a mask file, by component, layer and name. Their bits are mapped into memory, not read.

    Raises InputError if it is no mask file.
    """
    table = read_masks(path)
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


def check_alike(path: Path, ones: list[Row], other_path: Path, others: list[Row]) -> None:
    """Raises InputError, naming both files, if the rows of two masks differ in more than what is kept."""
    for one, other in zip_longest(ones, others):
        if one is None or other is None or one[:5] != other[:5]:
            raise InputError(
                f"{path} and {other_path} are masks of different shapes: {_words(one)} in the first,"
                f" {_words(other)} in the second. Only masks of the same model can be compared."
            )


def _words(row: Row | None) -> str:
    return "nothing" if row is None else f"{row.name} of layer {row.layer}, of shape {row.shape}"
