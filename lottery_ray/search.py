"""The searches: which heads and MLPs, or which weights, a fine-tuned model can lose.

Both prune step by step, without training, and stop when the dev score falls below a floor, 90% of the
full model's by default; the good mask is the last one that passed (section 3 of the paper).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lottery_ray.importance import Importance


@dataclass(frozen=True)
class Scored:
    """What one look at the dev set says: the score, and the importance of every component."""

    score: float
    importance: Importance


@dataclass(frozen=True)
class StructuredStep:
    """A candidate of the structured search, and its look at the dev set.

    heads: bool (layers, heads); mlps: bool (layers,). accepted: its score reaches the floor.
    """

    phase: str
    heads: np.ndarray
    mlps: np.ndarray
    scored: Scored
    accepted: bool


def structured(
    look: Callable[[np.ndarray, np.ndarray], Scored], shape: tuple[int, int], step: float, floor: float
) -> list[StructuredStep]:
    """All steps of the search for heads and MLPs; the last accepted one is the good mask.

    First `step` of all heads and one MLP at a time; then half as many heads; then one MLP. Each phase
    starts from the last accepted mask and its importance. shape: (layers, heads). floor: share of the
    full model's score.
    """
    layers, width = shape
    count = max(1, int(layers * width * step))
    heads, mlps = np.ones(shape, bool), np.ones(layers, bool)
    accepted = StructuredStep("full", heads, mlps, look(heads, mlps), True)
    lowest = floor * accepted.scored.score
    steps = [accepted]
    for phase, n_heads, n_mlps in (
        ("heads and MLPs", count, 1),
        ("heads", max(1, count // 2), 0),
        ("MLPs", 0, 1),
    ):
        while True:
            importance = accepted.scored.importance
            heads = without_least(accepted.heads, importance.heads, n_heads)
            mlps = without_least(accepted.mlps, importance.mlps, n_mlps)
            if heads.sum() == accepted.heads.sum() and mlps.sum() == accepted.mlps.sum():
                break
            scored = look(heads, mlps)
            candidate = StructuredStep(phase, heads, mlps, scored, scored.score >= lowest)
            steps.append(candidate)
            if not candidate.accepted:
                break
            accepted = candidate
    return steps


def without_least(kept: np.ndarray, importance: np.ndarray, count: int) -> np.ndarray:
    """`kept` without its `count` least important components (or all, where fewer are left); ties go by
    position. Both arrays have the same shape, kept bool."""
    order = np.argsort(np.where(kept, importance, np.inf), axis=None, kind="stable")
    remaining = kept.copy()
    remaining.flat[order[: min(count, int(kept.sum()))]] = False
    return remaining


@dataclass(frozen=True)
class MagnitudeStep:
    """A candidate of the magnitude search: it keeps the `kept` largest weights, of at least `threshold`
    (None where it keeps none)."""

    kept: int
    threshold: float | None
    score: float
    accepted: bool


def magnitude(
    magnitudes: np.ndarray, look: Callable[[np.ndarray], float], step: float, floor: float
) -> tuple[list[MagnitudeStep], np.ndarray]:
    """All steps of the search for weights, and the good mask, bool (weights,).

    magnitudes: float32 (weights,), |w| over all layers. look: the dev score under a mask. A step removes
    `step` of the remaining weights, as torch.nn.utils.prune.global_unstructured does, until the floor is
    missed or nothing is left.
    """
    descending = np.sort(magnitudes)[::-1]
    full = np.ones(magnitudes.size, bool)
    steps = [MagnitudeStep(magnitudes.size, 0.0, look(full), True)]
    lowest, good = floor * steps[0].score, full
    for kept in _sizes(magnitudes.size, step):
        threshold = float(descending[kept - 1]) if kept else None
        mask = largest(magnitudes, kept, threshold)
        score = look(mask)
        steps.append(MagnitudeStep(kept, threshold, score, score >= lowest))
        if score < lowest:
            break
        good = mask
    return steps, good


def _sizes(total: int, step: float) -> Iterator[int]:
    kept = total
    while kept:
        kept -= max(1, round(step * kept))
        yield kept


def largest(magnitudes: np.ndarray, count: int, threshold: float | None) -> np.ndarray:
    """bool (weights,): the `count` largest. threshold: the smallest of them, None for none. Of weights
    equal to it the first in order are kept, so that the count is exact and a step's mask lies within the
    one before."""
    if threshold is None:
        return np.zeros(magnitudes.size, bool)
    mask = magnitudes > threshold
    ties = np.flatnonzero(magnitudes == threshold)
    mask[ties[: count - int(mask.sum())]] = True
    return mask


def last_accepted(steps: list[StructuredStep]) -> StructuredStep:
    return next(step for step in reversed(steps) if step.accepted)
