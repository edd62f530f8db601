"""Null distributions of overlaps, against enumeration and simulation."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.masks import chance

SETTINGS = settings(max_examples=40, deadline=None)
STRATUM = st.integers(0, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n)))


@SETTINGS
@given(st.lists(STRATUM, min_size=1, max_size=3))
def test_what_two_masks_share_is_enumerated(strata: list[tuple[int, int, int]]) -> None:
    """The first mask may stay where it is, as all second ones are tried, in every stratum."""
    totals = np.array([0])
    for n, a, b in strata:
        found = [len(set(other) & set(range(a))) for other in combinations(range(n), b)]
        totals = np.add.outer(totals, found).ravel()
    n, a, b = np.array(strata).T
    shared = chance.shared(n, a, b)
    expected = [(totals == value).mean() for value in shared.values]
    np.testing.assert_allclose(shared.probabilities, expected, atol=1e-12)
    assert shared.probabilities.sum() == pytest.approx(1)
    pair, union = chance.pair(n, a, b), a.sum() + b.sum() - totals
    assert pair.both == pytest.approx(totals.mean())
    if union.all():
        assert pair.jaccard == pytest.approx((totals / union).mean())
        inside = (totals / union >= pair.low - 1e-12) & (totals / union <= pair.high + 1e-12)
        assert inside.mean() > 0.95 - 1e-12
    else:
        assert np.isnan([pair.jaccard, pair.low, pair.high]).all()


@pytest.mark.parametrize("strata", [1, 8])
def test_the_normal_one_of_many_components_is_the_exact_one_nearly(
    monkeypatch: pytest.MonkeyPatch, strata: int
) -> None:
    n = np.full(strata, 96_000 // strata)
    a, b = n * np.linspace(0.2, 0.5, strata), n * 0.4
    exact = chance.pair(n, a, b)
    monkeypatch.setattr(chance, "EXACT_UP_TO", 10)
    assert vars(chance.pair(n, a, b)) == pytest.approx(vars(exact), rel=5e-4)


def drawn(rng: np.random.Generator, n: list[int], sizes: np.ndarray) -> np.ndarray:
    """int (k, k): what random masks of these sizes in every stratum share."""
    masks = [
        np.concatenate([rng.permutation(width) < size for width, size in zip(n, kept, strict=True)])
        for kept in sizes
    ]
    both: np.ndarray = np.stack(masks).astype(int) @ np.stack(masks).T.astype(int)
    return both


NULLS = {
    "one stratum": ([40], np.array([[10], [25], [18], [30]])),
    "layers": ([12, 12, 12], np.array([[3, 8, 12], [0, 6, 9], [5, 5, 5]])),
}


@pytest.mark.parametrize("name", NULLS)
def test_means_of_random_masks_lie_where_they_should(name: str) -> None:
    n, sizes = NULLS[name]
    rng = np.random.default_rng(7)
    found = [drawn(rng, n, sizes) for _ in range(400)]
    nulls = [chance.mean(n, sizes, both) for both in found]
    upper = np.triu_indices(len(sizes), 1)
    overlaps = np.array([both[upper].mean() for both in found])
    jaccards = np.array(
        [chance.jaccard(both[upper], np.add(*sizes.sum(1)[np.array(upper)])).mean() for both in found]
    )
    assert nulls[0].both == pytest.approx(overlaps.mean(), abs=4 * overlaps.std() / 400**0.5)
    assert nulls[0].jaccard == pytest.approx(jaccards.mean(), abs=4 * jaccards.std() / 400**0.5)
    assert ((nulls[0].low <= jaccards) & (jaccards <= nulls[0].high)).mean() == pytest.approx(0.95, abs=0.025)
    for null, overlap, index in zip(nulls, overlaps, jaccards, strict=True):
        assert null.both_p == pytest.approx((overlaps >= overlap - 1e-9).mean(), abs=0.1)
        assert null.p == pytest.approx((jaccards >= index - 1e-9).mean(), abs=0.1)


def test_overlaps_of_pairs_are_pairwise_uncorrelated() -> None:
    """So that the variance of their mean is exact."""
    n, sizes = NULLS["one stratum"]
    shared = chance.simulated(np.array(n), sizes)
    correlations = np.corrcoef(shared) - np.eye(len(shared))
    assert np.abs(correlations).max() < 4.5 / chance.DRAWS**0.5
    _, variances = chance.moments(
        np.array(n), *map(np.concatenate, zip(*combinations(sizes, 2), strict=True))
    )
    assert shared.mean(axis=0).var() == pytest.approx(variances.sum() / len(shared) ** 2, rel=0.06)


def test_the_normal_mean_is_the_simulated_one_nearly(monkeypatch: pytest.MonkeyPatch) -> None:
    n, sizes = [250, 250], np.array([[100, 90], [120, 60], [80, 140], [100, 100]])
    both = drawn(np.random.default_rng(1), n, sizes)
    simulated = chance.mean(n, sizes, both)
    monkeypatch.setattr(chance, "SIMULATED_UP_TO", 10)
    normal = chance.mean(n, sizes, both)
    for name, within in {
        "both": 1e-9,
        "jaccard": 1e-9,
        "low": 2e-3,
        "high": 2e-3,
        "p": 0.03,
        "both_p": 0.03,
    }.items():
        assert getattr(normal, name) == pytest.approx(getattr(simulated, name), abs=within)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(("sizes", "expected"), [([0, 0, 0], np.nan), ([20, 20, 20], 1.0), ([0, 0, 20], 0.0)])
def test_empty_and_full_masks(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], expected: float, many: bool
) -> None:
    if many:
        monkeypatch.setattr(chance, "SIMULATED_UP_TO", 10)
    both = np.minimum.outer(sizes, sizes)
    found = chance.mean([20], np.array(sizes)[:, None], both)
    assert [found.jaccard, found.low, found.high] == pytest.approx([expected] * 3, nan_ok=True)
    assert found.p == pytest.approx(np.nan if np.isnan(expected) else 1, nan_ok=True)
    assert found.both_p == 1


def test_one_mask_has_no_pairs() -> None:
    assert np.isnan(list(vars(chance.mean([20], np.array([[5]]), np.array([[5]]))).values())).all()


def test_millions_of_weights_take_no_time_and_no_memory() -> None:
    n = np.full(12, 7_084_800)
    sizes = np.full((5, 12), 3_000_000)
    expected = 12 * 3_000_000**2 / 7_084_800
    both = np.full((5, 5), round(expected)) + np.eye(5, dtype=int) * (36_000_000 - round(expected))
    found = chance.mean(n, sizes, both)
    assert found.both == pytest.approx(expected)
    assert found.jaccard == pytest.approx(expected / (72_000_000 - expected))
    assert found.both_p == pytest.approx(0.5, abs=0.01)
    assert 0 < found.high - found.low < 1e-4
