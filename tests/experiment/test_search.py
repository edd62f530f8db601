"""The searches on scripted scores, and magnitude pruning beside torch.nn.utils.prune."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn.utils import prune

from lottery_ray.experiment import search
from lottery_ray.experiment.methods import Components, Magnitude, Structured
from lottery_ray.experiment.search import (
    Scored,
    StructuredStep,
    largest,
    last_accepted,
    magnitude,
    structured,
)
from lottery_ray.extending import Importance

LAYERS, WIDTH = 4, 10
HEADS = np.arange(LAYERS * WIDTH, dtype=float).reshape(LAYERS, WIDTH)
MLPS = np.arange(LAYERS, dtype=float)
SETTINGS = settings(max_examples=60, deadline=None)


class Looks:
    """Scripted looks at the dev set: a score and an importance for each, in turn, and what was asked."""

    def __init__(
        self, scores: Iterable[float], importance: Callable[[int], Importance] | None = None
    ) -> None:
        self.scores: Iterator[float] = iter(scores)
        self.importance = importance or (lambda number: Importance(HEADS, MLPS))
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []

    def __call__(self, heads: np.ndarray, mlps: np.ndarray) -> Scored:
        self.asked.append((heads.copy(), mlps.copy()))
        return Scored(next(self.scores), self.importance(len(self.asked) - 1))


def run(looks: Looks, step: float = 0.1, floor: float = 0.9) -> list[StructuredStep]:
    return structured(looks, (LAYERS, WIDTH), Structured(step), floor)


def counts(steps: list[StructuredStep]) -> list[tuple[str, int, int, bool]]:
    return [(s.phase, int(s.heads.sum()), int(s.mlps.sum()), s.accepted) for s in steps]


def test_the_three_phases_remove_a_tenth_with_one_mlp_then_half_of_it_then_one_mlp() -> None:
    steps = run(Looks([1.0, 0.95, 0.89, 0.91, 0.90, 0.5, 0.93, 0.1]))
    assert counts(steps) == [
        ("full", 40, 4, True),
        ("heads and MLPs", 36, 3, True),
        ("heads and MLPs", 32, 2, False),
        ("heads", 34, 3, True),
        ("heads", 32, 3, True),
        ("heads", 30, 3, False),
        ("MLPs", 32, 2, True),
        ("MLPs", 32, 1, False),
    ]
    good = last_accepted(steps)
    assert good is steps[6]
    assert np.flatnonzero(~good.heads).tolist() == list(range(8)), "the least important heads went"
    assert np.flatnonzero(~good.mlps).tolist() == [0, 1]


def test_what_is_looked_at_is_what_is_reported() -> None:
    looks = Looks([1.0, 0.95, 0.89, 0.91, 0.90, 0.5, 0.93, 0.1])
    for step, (heads, mlps) in zip(run(looks), looks.asked, strict=True):
        assert np.array_equal(step.heads, heads)
        assert np.array_equal(step.mlps, mlps)


def test_the_floor_is_a_share_of_the_full_score_and_reaching_it_is_enough() -> None:
    assert counts(run(Looks([0.5, 0.45, 0.44, 0.44, 0.44])))[1:] == [
        ("heads and MLPs", 36, 3, True),
        ("heads and MLPs", 32, 2, False),
        ("heads", 34, 3, False),
        ("MLPs", 36, 2, False),
    ]
    assert [step.accepted for step in run(Looks([0.5, 0.4, 0.4, 0.4]), floor=0.81)] == [
        True,
        False,
        False,
        False,
    ]
    assert run(Looks([0.5, 0.4, 0.1, 0.1, 0.1]), floor=0.8)[1].accepted


def test_later_phases_start_from_the_accepted_mask_and_its_importance() -> None:
    def importance(number: int) -> Importance:
        """Of the first accepted candidate (look 1), the last heads and MLPs matter least; those of the
        rejected one (look 2) would name others."""
        orders = {0: (HEADS, MLPS), 1: (-HEADS, -MLPS), 2: (np.roll(HEADS, 20), np.roll(MLPS, 2))}
        heads, mlps = orders.get(number, orders[2])
        return Importance(heads, mlps)

    steps = run(Looks([1.0, 0.95, 0.1, 0.1, 0.1], importance))
    removed = [np.flatnonzero(~step.heads).tolist() for step in steps]
    assert removed[1] == [0, 1, 2, 3]
    assert removed[2] == [0, 1, 2, 3, 36, 37, 38, 39]
    assert removed[3] == [0, 1, 2, 3, 38, 39], "from the accepted mask, by the accepted look's importance"
    assert [np.flatnonzero(~step.mlps).tolist() for step in steps] == [[], [0], [0, 3], [0], [0, 3]]


def test_where_nothing_can_be_pruned_the_full_model_is_good() -> None:
    steps = run(Looks([1.0, 0.0, 0.0, 0.0]))
    assert counts(steps)[1:] == [
        ("heads and MLPs", 36, 3, False),
        ("heads", 38, 4, False),
        ("MLPs", 40, 3, False),
    ]
    assert last_accepted(steps) is steps[0]


def test_where_everything_can_be_pruned_the_search_ends_with_nothing() -> None:
    steps = run(Looks([1.0] * 100))
    assert all(step.accepted for step in steps)
    assert counts(steps)[-1][1:3] == (0, 0)
    # MLPs run out first, then heads go on alone in the same phase
    assert counts(steps)[4:6] == [("heads and MLPs", 24, 0, True), ("heads and MLPs", 20, 0, True)]
    assert {step.phase for step in steps} == {"full", "heads and MLPs"}


@pytest.mark.parametrize("full", [0.0, -0.2])
def test_a_model_that_learned_nothing_is_searched_too(full: float) -> None:
    # a classifier that says one class has a Matthews correlation of 0; a poor one may have less
    steps = run(Looks([full] * 100))
    assert last_accepted(steps).accepted
    assert len(steps) < 100


@SETTINGS
@given(
    st.integers(1, 5),
    st.integers(1, 12),
    st.sampled_from([0.01, 0.1, 0.25, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_every_structured_search_shrinks_by_its_steps(
    layers: int, width: int, step: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)

    def look(heads: np.ndarray, mlps: np.ndarray) -> Scored:
        return Scored(rng.uniform(0.85, 1.0), Importance(rng.random((layers, width)), rng.random(layers)))

    steps = structured(look, (layers, width), Structured(step), 0.9)
    count = max(1, int(layers * width * step))
    removes = {"heads and MLPs": (count, 1), "heads": (max(1, count // 2), 0), "MLPs": (0, 1)}
    accepted = steps[0]
    for candidate in steps[1:]:
        n_heads, n_mlps = removes[candidate.phase]
        assert not (candidate.heads & ~accepted.heads).any()
        assert not (candidate.mlps & ~accepted.mlps).any()
        assert candidate.heads.sum() == max(0, accepted.heads.sum() - n_heads)
        assert candidate.mlps.sum() == max(0, accepted.mlps.sum() - n_mlps)
        importance = accepted.scored.importance.heads
        gone, left = accepted.heads & ~candidate.heads, candidate.heads
        assert not gone.any() or not left.any() or importance[gone].max() <= importance[left].min()
        assert candidate.accepted == (candidate.scored.score >= 0.9 * steps[0].scored.score)
        accepted = candidate if candidate.accepted else accepted
    assert last_accepted(steps) is accepted
    phases = [candidate.phase for candidate in steps]
    assert phases == sorted(phases, key=["full", *removes].index)


def test_ties_in_importance_go_by_position() -> None:
    kept = search.without_least(np.ones((2, 3), bool), np.zeros((2, 3)), 2)
    assert kept.tolist() == [[False, False, True], [True, True, True]]
    assert not search.without_least(kept, np.zeros((2, 3)), 9).any()


def removals(total: int, step: float) -> list[int]:
    """Sizes by repeated torch pruning of a module with `total` weights."""
    module = torch.nn.Linear(total, 1, bias=False)
    sizes: list[int] = []
    while True:
        prune.global_unstructured([(module, "weight")], prune.L1Unstructured, amount=step)
        left = int(module.weight_mask.sum())  # type: ignore[operator]
        if sizes and left == sizes[-1]:
            return sizes
        sizes.append(left)


@pytest.mark.parametrize("total", [100, 4095, 25_000])
@pytest.mark.parametrize("step", [0.1, 0.05, 0.37])
def test_sizes_follow_torchs_rounding(total: int, step: float) -> None:
    magnitudes = np.random.default_rng(0).random(total).astype(np.float32)
    steps, good = magnitude(magnitudes, lambda mask: 1.0, Magnitude(step), 0.9)
    found = [step.kept for step in steps[1:]]
    by_torch = removals(total, step)
    assert found[: len(by_torch)] == by_torch
    # where torch's rounding removes nothing any more, one weight goes at a time
    assert found[len(by_torch) :] == list(range(by_torch[-1] - 1, -1, -1))
    assert not good.any()


@pytest.mark.parametrize("decimals", [8, 2, 1], ids=["distinct", "some ties", "mostly ties"])
def test_masks_are_those_of_torchs_global_pruning(decimals: int) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(17, 23), torch.nn.Linear(23, 5))
    names = [(layer, name) for layer in module for name in ("weight", "bias")]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.round(parameter, decimals=decimals))
    flat = torch.cat([getattr(*name).detach().flatten() for name in names]).abs().numpy()
    asked: list[np.ndarray] = []

    def look(mask: np.ndarray) -> float:
        asked.append(mask.copy())
        return 1.0

    magnitude(flat, look, Magnitude(0.1), 0.9)
    for mask in asked[1:30]:
        prune.global_unstructured(names, prune.L1Unstructured, amount=0.1)
        theirs = torch.cat([getattr(layer, f"{name}_mask").flatten() for layer, name in names]).bool().numpy()
        assert mask.sum() == theirs.sum()
        # which of equal weights stay is torch's chance; which magnitudes stay is not
        assert np.array_equal(np.sort(flat[mask]), np.sort(flat[theirs]))
        if decimals == 8:
            assert np.array_equal(mask, theirs)


WEIGHTS = hnp.arrays(
    np.float32,
    st.integers(1, 200),
    elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 2, width=32),
)


@SETTINGS
@given(WEIGHTS, st.sampled_from([0.05, 0.1, 0.5]), st.integers(1, 40))
def test_magnitude_masks_are_nested_and_follow_from_their_thresholds(
    weights: np.ndarray, step: float, passes: int
) -> None:
    asked: list[np.ndarray] = []

    def look(mask: np.ndarray) -> float:
        asked.append(mask.copy())
        return 1.0 if len(asked) <= passes else 0.5

    steps, good = magnitude(weights, look, Magnitude(step), 0.9)
    assert len(steps) == len(asked)
    assert asked[0].all()
    for number, (found, mask) in enumerate(zip(steps, asked, strict=True)):
        assert mask.sum() == found.kept
        assert found.accepted == (number < passes)
        if number:
            assert found.kept < steps[number - 1].kept
            assert not (mask & ~asked[number - 1]).any()
        if found.kept and number:
            assert np.array_equal(mask, largest(weights, found.kept, found.threshold))
            assert weights[mask].min() == found.threshold
            assert found.kept == weights.size or weights[~mask].max() <= found.threshold
    assert np.array_equal(good, asked[min(passes, len(asked)) - 1])
    assert [s.accepted for s in steps].count(False) <= 1


def test_of_equal_weights_the_first_are_kept() -> None:
    weights = np.array([0.5, 1.0, 0.5, 0.5, 0.5], np.float32)
    assert largest(weights, 3, 0.5).tolist() == [True, True, True, False, False]
    assert largest(weights, 1, 1.0).tolist() == [False, True, False, False, False]


def test_a_magnitude_search_that_loses_everything_can_be_recorded() -> None:
    # a classifier that says one class scores 0 with any mask, and a record holds no infinities
    steps, _ = magnitude(np.ones(10, np.float32), lambda mask: 0.0, Magnitude(0.1), 0.9)
    assert steps[-1].kept == 0
    json.dumps([dataclasses.asdict(step) for step in steps], allow_nan=False)


# As released


RELEASED = Structured(later_phases="released")


def test_as_released_later_phases_start_from_the_rejected_candidates_scores() -> None:
    def importance(number: int) -> Importance:
        """Of the accepted candidate (look 1) the last components matter least; of the rejected one (look
        2) those from place 20, and MLP 2."""
        orders = {0: (HEADS, MLPS), 1: (-HEADS, -MLPS)}
        heads, mlps = orders.get(number, (np.roll(HEADS, 20), np.roll(MLPS, 2)))
        return Importance(heads, mlps)

    looks = Looks([1.0, 0.95, 0.1, 0.1, 0.1], importance)
    steps = structured(looks, (LAYERS, WIDTH), RELEASED, 0.9)
    removed = [np.flatnonzero(~step.heads).tolist() for step in steps]
    assert removed[:3] == [[], [0, 1, 2, 3], [0, 1, 2, 3, 36, 37, 38, 39]]
    assert removed[3] == [0, 1, 2, 3, 20, 21], "the accepted mask, by the rejected look's importance"
    assert [np.flatnonzero(~step.mlps).tolist() for step in steps] == [[], [0], [0, 3], [0], [0, 2]]


def test_as_released_mlps_fall_a_step_behind_where_all_heads_go() -> None:
    """Protocol 2.2: find_head_mlp_masks.py:196 leaves the loop before it saves the MLPs (WNLI)."""
    every = Looks([0.3] * 100)
    assert counts(structured(every, (LAYERS, WIDTH), replace(RELEASED, step=0.5), 0.9)) == [
        ("full", 40, 4, True),
        ("heads and MLPs", 20, 3, True),
        ("heads and MLPs", 0, 2, True),
        ("MLPs of the step before", 0, 3, True),
        ("MLPs", 0, 2, True),
        ("MLPs", 0, 1, True),
        ("MLPs", 0, 0, True),
    ]
    stuck = Looks([0.3, 0.3, 0.3, 0.3, 0.1])
    steps = structured(stuck, (LAYERS, WIDTH), replace(RELEASED, step=0.5), 0.9)
    assert counts(steps)[-2:] == [("MLPs of the step before", 0, 3, True), ("MLPs", 0, 2, False)]
    assert int(last_accepted(steps).mlps.sum()) == 3


def test_as_released_the_first_phase_ends_where_mlps_run_out() -> None:
    released = structured(Looks([1.0] * 100), (LAYERS, WIDTH), RELEASED, 0.9)
    assert [int(step.heads.sum()) for step in released[:8]] == [40, 36, 32, 28, 24, 22, 20, 18]
    sound = structured(Looks([1.0] * 100), (LAYERS, WIDTH), Structured(), 0.9)
    assert [int(step.heads.sum()) for step in sound[:8]] == [40, 36, 32, 28, 24, 20, 16, 12]


@pytest.mark.parametrize(
    ("components", "expected"),
    [
        ("heads", [("full", 40, 4, True), ("heads", 36, 4, True), ("heads", 32, 4, False)]),
        ("mlps", [("full", 40, 4, True), ("MLPs", 40, 3, True), ("MLPs", 40, 2, False)]),
    ],
)
def test_heads_alone_and_mlps_alone(
    components: Components, expected: list[tuple[str, int, int, bool]]
) -> None:
    looks = Looks([1.0, 0.95, 0.1])
    assert counts(structured(looks, (LAYERS, WIDTH), Structured(components=components), 0.9)) == expected


def test_heads_alone_as_released_keep_the_last_of_a_layer() -> None:
    """Protocol 2.3: WNLI stops where every layer has one head left."""
    method = Structured(components="heads", last_head="kept")
    steps = structured(Looks([1.0] * 100), (LAYERS, WIDTH), method, 0.9)
    pruned = [40 - int(step.heads.sum()) for step in steps]
    assert pruned == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert (steps[-1].heads.sum(axis=1) == 1).all()
    assert (steps[-1].heads[:, -1]).all(), "the most important one of each"


# Past the floor, and sizes


def test_past_the_floor_nothing_is_accepted_and_the_first_phase_goes_on() -> None:
    scores = [1.0, 0.95, 0.5, 0.6, 0.7, 0.99, 0.99, 0.99]
    steps = structured(Looks(scores), (LAYERS, WIDTH), Structured(), 0.9, down_to=0.5)
    assert counts(steps) == [
        ("full", 40, 4, True),
        ("heads and MLPs", 36, 3, True),
        ("heads and MLPs", 32, 2, False),
        ("heads", 34, 3, False),
        ("MLPs", 36, 2, False),
        ("heads and MLPs", 28, 1, False),
        ("heads and MLPs", 24, 0, False),
        ("heads and MLPs", 20, 0, False),
    ]
    assert search.path([step.phase for step in steps]) == [0, 1, 2, 5, 6, 7]
    assert last_accepted(steps) is steps[1]


@pytest.mark.parametrize("method", [Structured(), RELEASED])
@pytest.mark.parametrize("shape", [(6, 12), (3, 8), (2, 4)])
def test_every_search_goes_down_to_what_was_asked(method: Structured, shape: tuple[int, int]) -> None:
    def look(heads: np.ndarray, mlps: np.ndarray) -> Scored:
        return Scored(float(heads.all()), Importance(np.ones(shape), np.ones(shape[0])))

    steps = structured(look, shape, method, 0.9, down_to=0.3)
    last = steps[search.path([step.phase for step in steps])[-1]]
    assert max(last.heads.mean(), last.mlps.mean()) <= 0.3


def test_a_size_keeps_the_last_head_where_the_search_did() -> None:
    full, rng = np.ones((4, 10), bool), np.random.default_rng(0)
    importance = rng.random((4, 10)) + np.arange(4)[:, None]
    assert (search.at_share([full], [importance], 0.2).sum(axis=1) == 0).any()
    kept = search.at_share([full], [importance], 0.2, "kept")
    assert kept.sum() == 8
    assert (kept.sum(axis=1) >= 1).all()


@SETTINGS
@given(
    layers=st.integers(1, 6),
    width=st.integers(1, 8),
    share=st.floats(0.3, 1.0),
    seed=st.integers(0, 99),
    floor=st.floats(0.1, 1.0),
)
def test_any_size_can_be_read_from_a_search(
    layers: int, width: int, share: float, seed: int, floor: float
) -> None:
    """Exactly, between the states around it, and smaller sizes within larger ones."""
    rng = np.random.default_rng(seed)

    def look(heads: np.ndarray, mlps: np.ndarray) -> Scored:
        return Scored(float(rng.random()), Importance(rng.random(heads.shape), rng.random(mlps.shape)))

    steps = structured(look, (layers, width), Structured(), floor, down_to=0.3)
    path = [steps[number] for number in search.path([step.phase for step in steps])]
    kept, scores = [step.heads for step in path], [step.scored.importance.heads for step in path]
    assert all(np.array_equal(small & large, small) for large, small in pairwise(kept))
    found = search.at_share(kept, scores, share)
    assert found.sum() == round(share * layers * width)
    larger = search.at_share(kept, scores, min(1.0, share + 0.1))
    assert not (found & ~larger).any()
    for state in kept:
        within = state & ~found if state.sum() <= found.sum() else found & ~state
        assert not within.any()


def test_as_run_the_last_magnitude_step_is_looked_at_and_not_kept() -> None:
    weights = np.arange(1, 101, dtype=np.float32)
    looks: list[int] = []

    def look(mask: np.ndarray) -> float:
        looks.append(int(mask.sum()))
        return 1.0

    steps, good = magnitude(weights, look, Magnitude(0.1, max_steps=3), 0.9)
    assert [step.kept for step in steps] == looks == [100, 90, 81, 73]
    assert [step.accepted for step in steps] == [True, True, True, False]
    assert good.sum() == 81


def test_a_magnitude_search_goes_on_past_the_floor() -> None:
    weights = np.arange(1, 101, dtype=np.float32)
    scores = iter([1.0, 0.95, 0.5, 0.99, 0.99, 0.99, 0.99, 0.99])
    steps, good = magnitude(weights, lambda mask: next(scores), Magnitude(0.1), 0.9, down_to=0.6)
    assert [step.kept for step in steps] == [100, 90, 81, 73, 66, 59]
    assert [step.accepted for step in steps] == [True, True, False, False, False, False]
    assert good.sum() == 90


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=st.integers(0, 5)), st.floats(0, 1))
def test_the_largest_weights_are_counted_exactly(weights: np.ndarray, share: float) -> None:
    count = round(share * weights.size)
    kept = search.largest_of(weights, count)
    assert kept.sum() == count
    assert not count or count == weights.size or weights[kept].min() >= weights[~kept].max()
