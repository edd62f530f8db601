"""The searches: which heads and MLPs, or which weights, a fine-tuned model can lose.

Both prune step by step, without training, and stop when the dev score falls below a floor, 90% of the
full model's by default; the good mask is the last one that passed (section 3 of the paper).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lottery_ray.experiment.methods import Magnitude, Structured


@dataclass(frozen=True)
class Importance:
    """What heads and MLPs are worth; the least go first. heads: float (layers, heads); mlps: float (layers,).

    Of the paper's criterion float64, and heads divided by the l2 norm of their layer.
    """

    heads: np.ndarray
    mlps: np.ndarray


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
    look: Callable[[np.ndarray, np.ndarray], Scored],
    shape: tuple[int, int],
    method: Structured,
    floor: float,
    down_to: float = 1.0,
) -> list[StructuredStep]:
    """All steps of the search for heads and MLPs; the last accepted one is the good mask.

    First `method.step` of all heads and one MLP at a time; then half as many heads; then one MLP. Each
    phase starts from the last accepted mask. shape: (layers, heads). floor: share of the full model's
    score. down_to: the first phase goes on past the floor, accepting nothing more, until no more than
    this share of its components is left.
    """
    layers, width = shape
    heads, mlps = np.ones(shape, bool), np.ones(layers, bool)
    accepted = before = latest = StructuredStep("full", heads, mlps, look(heads, mlps), True)
    lowest = floor * accepted.scored.score
    released = method.later_phases == "released"
    phases = _phases(method, max(1, int(layers * width * method.step)))
    steps = [accepted]
    for phase in phases:
        importance = (latest if released else accepted).scored.importance
        while masks := _next(accepted, importance, phase, method):
            scored = look(*masks)
            latest = StructuredStep(phase.name, *masks, scored, scored.score >= lowest)
            steps.append(latest)
            if not latest.accepted:
                break
            before, accepted = accepted, latest
            importance = scored.importance
        if released and phase.heads and phase.mlps and not accepted.heads.any():
            scored = look(accepted.heads, before.mlps)
            accepted = StructuredStep("MLPs of the step before", accepted.heads, before.mlps, scored, True)
            steps.append(accepted)
    last = steps[path([step.phase for step in steps])[-1]]
    return steps + _past_the_floor(look, last, phases[0], method, down_to)


@dataclass(frozen=True)
class _Phase:
    """How many heads and MLPs a step removes."""

    name: str
    heads: int
    mlps: int


def _phases(method: Structured, count: int) -> tuple[_Phase, ...]:
    heads, mlps = _Phase("heads", count, 0), _Phase("MLPs", 0, 1)
    if method.components == "both":
        half = count // 2 if method.later_phases == "released" else max(1, count // 2)
        return _Phase("heads and MLPs", count, 1), replace(heads, heads=half), mlps
    return (heads,) if method.components == "heads" else (mlps,)


def _next(
    state: StructuredStep, importance: Importance, phase: _Phase, method: Structured
) -> tuple[np.ndarray, np.ndarray] | None:
    """The masks of a phase's next candidate; None where it has nothing left to remove."""
    heads = without_least(state.heads, importance.heads, phase.heads, method.last_head)
    mlps = without_least(state.mlps, importance.mlps, phase.mlps)
    ran_out = [a.sum() == b.sum() for a, b in ((heads, state.heads), (mlps, state.mlps))]
    together = phase.heads and phase.mlps and method.later_phases == "released"
    return None if all(ran_out) or (together and any(ran_out)) else (heads, mlps)


def _past_the_floor(
    look: Callable[[np.ndarray, np.ndarray], Scored],
    state: StructuredStep,
    phase: _Phase,
    method: Structured,
    down_to: float,
) -> list[StructuredStep]:
    # which is no part of the released loop
    method = replace(method, later_phases="accepted")
    steps: list[StructuredStep] = []
    while _share(state, phase) > down_to:
        masks = _next(state, state.scored.importance, phase, method)
        if masks is None:
            break
        state = StructuredStep(phase.name, *masks, look(*masks), False)
        steps.append(state)
    return steps


def _share(state: StructuredStep, phase: _Phase) -> float:
    """The larger share that is left of what a phase removes."""
    return max(
        float(kept.mean()) for kept, count in ((state.heads, phase.heads), (state.mlps, phase.mlps)) if count
    )


def path(phases: Sequence[str]) -> list[int]:
    """Which steps of a search, by their phases, are the full model and those of the first phase, past the
    floor too: each of them keeps a part of what the one before keeps."""
    return [number for number, phase in enumerate(phases) if phase in phases[:2]]


def at_share(
    kept: Sequence[np.ndarray],
    importance: Sequence[np.ndarray],
    share: float,
    last_head: Literal["prunable", "kept"] = "prunable",
) -> np.ndarray:
    """What a search keeps of one kind of component where this share is left, bool, of the same shape.

    kept, importance: of the steps on its path. From the last step that keeps enough the least important
    go, so that the size is exact.
    """
    size = round(share * kept[0].size)
    number = max(number for number, mask in enumerate(kept) if mask.sum() >= size)
    return without_least(kept[number], importance[number], int(kept[number].sum()) - size, last_head)


def without_least(
    kept: np.ndarray, importance: np.ndarray, count: int, last_head: Literal["prunable", "kept"] = "prunable"
) -> np.ndarray:
    """`kept` without its `count` least important components (or all, where fewer are left); ties go by
    position. Both arrays have the same shape, kept bool. last_head: whether a row may lose its last."""
    remaining = kept.copy()
    order = np.argsort(np.where(kept, importance, np.inf), axis=None, kind="stable")
    if last_head == "prunable":
        remaining.flat[order[: min(count, int(kept.sum()))]] = False
        return remaining
    for component in order[: kept.sum()]:
        layer = component // kept.shape[1]
        if kept.sum() - remaining.sum() < count and remaining[layer].sum() > 1:
            remaining.flat[component] = False
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
    magnitudes: np.ndarray,
    look: Callable[[np.ndarray], float],
    method: Magnitude,
    floor: float,
    down_to: float = 1.0,
) -> tuple[list[MagnitudeStep], np.ndarray]:
    """All steps of the search for weights, and the good mask, bool (weights,).

    magnitudes: float32 (weights,), |w| over all layers, or the scores of another criterion. look: the score
    under a mask. A step removes `method.step` of the remaining weights, as
    torch.nn.utils.prune.global_unstructured does, until the floor is missed or nothing is left; then on,
    accepting nothing more, until no more than `down_to` of them is left. One sort gives all thresholds.
    """
    descending = np.sort(magnitudes)[::-1]
    full = np.ones(magnitudes.size, bool)
    # of magnitudes 0; another criterion may have scores below it
    steps = [MagnitudeStep(magnitudes.size, min(0.0, float(descending[-1])), look(full), True)]
    lowest, good = floor * steps[0].score, full
    for number, kept in enumerate(remaining(magnitudes.size, method.step), start=1):
        if not steps[-1].accepted and steps[-1].kept <= down_to * magnitudes.size:
            break
        threshold = float(descending[kept - 1]) if kept else None
        mask = largest(magnitudes, kept, threshold)
        score = look(mask)
        passed = steps[-1].accepted and number != method.max_steps and score >= lowest
        steps.append(MagnitudeStep(kept, threshold, score, passed))
        if passed:
            good = mask
    return steps, good


def largest_of(magnitudes: np.ndarray, count: int) -> np.ndarray:
    """bool (weights,): the `count` largest, the first in order of equal ones."""
    return largest(magnitudes, count, float(np.partition(magnitudes, -count)[-count]) if count else None)


def remaining(total: int, step: float) -> Iterator[int]:
    """How many weights are left after each step that removes this share of what is left, down to none."""
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
    mask: np.ndarray = magnitudes >= threshold
    if surplus := int(np.count_nonzero(mask)) - count:
        mask[np.flatnonzero(magnitudes == threshold)[-surplus:]] = False
    return mask


def last_accepted(steps: list[StructuredStep]) -> StructuredStep:
    return next(step for step in reversed(steps) if step.accepted)
