"""Draw the mask of a ticket from a good mask: good itself, random of its size, or bad.

Sizes are exact, heads, MLPs and weights each (section 4 of the paper; its released code drew random
structured masks whose sizes match in expectation only).
"""

import dataclasses
from collections import defaultdict

import numpy as np
import numpy.typing as npt

from lottery_ray.masks import Mask, Part
from lottery_ray.nodes import Kind

Flags = npt.NDArray[np.bool_]


def draw(kind: Kind, good: Mask, rng: np.random.Generator) -> Mask:
    """The mask of a ticket.

    good: the mask that a search found. random keeps as many of each component, anywhere in the
    network. bad keeps what good does not, topped up from good, or cut, at random, to the same size.
    """
    if kind == "good":
        return tuple(dataclasses.replace(part, score=None) for part in good)
    by_component: dict[str, list[Part]] = defaultdict(list)
    for part in good:
        by_component[part.component].append(part)
    return tuple(
        part
        for parts in by_component.values()
        for part in _split(_drawn(kind, np.concatenate([p.kept for p in parts]), rng), parts)
    )


def _drawn(kind: Kind, good: Flags, rng: np.random.Generator) -> Flags:
    """good: bool (components,). Returns the same shape, keeping as many."""
    size = int(good.sum())
    if kind == "random":
        return _chosen(np.arange(good.size), size, good.size, rng)
    complement = np.flatnonzero(~good)
    if complement.size >= size:
        return _chosen(complement, size, good.size, rng)
    top_up = _chosen(np.flatnonzero(good), size - complement.size, good.size, rng)
    return ~good | top_up


def _chosen(pool: np.ndarray, count: int, size: int, rng: np.random.Generator) -> Flags:
    kept = np.zeros(size, bool)
    kept[rng.choice(pool, count, replace=False, shuffle=False)] = True
    return kept


def _split(kept: np.ndarray, parts: list[Part]) -> list[Part]:
    ends = np.cumsum([part.kept.size for part in parts])[:-1]
    pieces = np.split(kept, ends)
    return [
        dataclasses.replace(part, kept=piece, score=None) for part, piece in zip(parts, pieces, strict=True)
    ]
