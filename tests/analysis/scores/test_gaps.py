"""Gaps: their tests against SciPy and statsmodels, and simulations of what they promise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from analysis.formats import rows
from analysis.levels import CONFIDENCE
from analysis.records import root as records
from analysis.records.method_names import MAGNITUDE
from analysis.records.network_names import BAD, GOOD, RANDOM, STOPPING, NetworkName
from analysis.records.root import Root
from analysis.scores import dev_sets as devset
from analysis.scores.gaps import COMPARISON, GAP, INDEPENDENT, gaps, unpaired_gaps
from analysis.scores.paired_tests import (
    DRAWS,
    EXACT,
    MOST_SEEDS,
    POWER,
    effect,
    holm,
    least,
    seeds_needed,
    sign_flips,
    t_test,
)
from analysis.scores.scores import scores
from analysis.scores.statistics import UNDECIDED, summary, t_interval
from lottery_ray import streams
from lottery_ray.experiment.study import PRESETS
from lottery_ray.storage.store import Store
from tests.planted import DEV, Planted

ROUNDS = 3000
NEAR = 4 * np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / ROUNDS)
"""Four binomial standard errors of a coverage of 95%: .016."""


def simulated(*name: str | int, n: int, mean: float = 0.0) -> np.ndarray:
    """float (ROUNDS, n): normal differences with sd 1."""
    return streams.generator(*name).normal(mean, 1.0, (ROUNDS, n))


# What intervals promise


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_t_interval_covers_as_often_as_it_says(n: int) -> None:
    values = simulated("t coverage", n, n=n)
    covered = [interval.low <= 0 <= interval.high for interval in map(t_interval, values)]
    assert np.mean(covered) == pytest.approx(CONFIDENCE, abs=NEAR)


def test_a_percentile_bootstrap_of_five_seeds_covers_84_percent() -> None:
    """Asked for 95%. This is why no interval here is bootstrapped."""
    values = simulated("bootstrap coverage", n=5)
    boot = stats.bootstrap(
        (values,), np.mean, axis=1, method="percentile", n_resamples=499, rng=streams.generator("resamples")
    )
    low, high = boot.confidence_interval
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(0.84, abs=0.03)


@pytest.mark.parametrize("true", [0.0, 0.8, 4.0])
@pytest.mark.parametrize("n", [2, 5])
def test_the_interval_of_an_effect_covers_the_true_effect(n: int, true: float) -> None:
    intervals = [effect(t_interval(values)) for values in simulated("effect", n, str(true), n=n, mean=true)]
    covered = [low <= true <= high for _, low, high in intervals]
    assert np.mean(covered) == pytest.approx(CONFIDENCE, abs=NEAR)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_effect_is_unbiased_and_mean_over_sd_is_not(n: int) -> None:
    found = [t_interval(values) for values in simulated("bias", n, n=n, mean=1.0)]
    effects = np.array([effect(gap)[0] for gap in found])
    assert effects.mean() == pytest.approx(1.0, abs=4 * effects.std() / np.sqrt(ROUNDS))
    if n < 10:
        assert np.mean([gap.mean / gap.sd for gap in found]) > 1.15


@pytest.mark.parametrize(
    "correlation", [-1.0, 0.0, *(pytest.param(more, marks=pytest.mark.slow) for more in (0.9, 1.0))]
)
def test_the_unpaired_interval_covers_whatever_the_pairing(correlation: float) -> None:
    one, other = simulated("one", n=5), simulated("other", n=5)
    other = 1 + 0.3 * (correlation * one + np.sqrt(1 - correlation**2) * other)
    table = pd.DataFrame(
        {
            "task": np.repeat(np.arange(ROUNDS).astype(str), 2),
            **{"method": [MAGNITUDE] * (2 * ROUNDS), "size": [STOPPING] * (2 * ROUNDS)},
            **{"measure": "retrained", "n": 5},
            "network": [GOOD, BAD] * ROUNDS,
            "mean": np.stack([one.mean(1), other.mean(1)], axis=1).ravel(),
            "sd": np.stack([one.std(1, ddof=1), other.std(1, ddof=1)], axis=1).ravel(),
        }
    )
    found = unpaired_gaps(table)
    covered = ((found["low"] <= -1) & (found["high"] >= -1)).mean()
    assert covered >= CONFIDENCE - NEAR
    if correlation == -1.0:
        assert covered == pytest.approx(CONFIDENCE, abs=NEAR)  # as narrow as it can be
    independent = ((found["independent_low"] <= -1) & (found["independent_high"] >= -1)).mean()
    if correlation == 0.0:
        assert independent == pytest.approx(CONFIDENCE, abs=NEAR)
    assert (independent < CONFIDENCE - NEAR) == (correlation == -1.0)


# The sign-flip test


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_sign_flip_p_is_scipys(n: int) -> None:
    for values in simulated("flips", n, n=n, mean=0.5)[:50]:
        expected = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=2**n)
        assert sign_flips(values) == pytest.approx(expected.pvalue)


def test_the_sign_flip_p_is_uniform_under_the_null() -> None:
    """Over the values that it can take: 2, 4, ... of 2^n; so it rejects at most as often as asked."""
    found = np.array([sign_flips(values) for values in simulated("null", n=5)])
    assert found.min() == least(5) == 0.0625
    for level in np.arange(1, 17) / 16:
        assert (found <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(0.25 / ROUNDS))


def test_many_pairs_are_drawn_and_give_the_same_p_every_time() -> None:
    values = streams.generator("many").normal(0.3, 1, EXACT + 5)
    expected = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=DRAWS, rng=streams.generator("scipy")
    )
    assert sign_flips(values) == sign_flips(values) == pytest.approx(expected.pvalue, abs=0.01)
    assert sign_flips(np.ones(EXACT + 5)) == least(EXACT + 5) == 1 / (1 + DRAWS)


def test_ties_on_the_lattice_of_scores_count_as_ties() -> None:
    """0.1 + 0.2 - 0.3 is not 0 in floating point."""
    assert sign_flips(np.array([0.1, 0.2, -0.3])) == 1.0
    assert sign_flips(np.zeros(5)) == 1.0


# Properties

counts = st.lists(st.integers(-200, 200), min_size=2, max_size=8).map(lambda counts: np.array(counts) / 872)


@given(counts)
def test_swapping_the_networks_mirrors_everything(values: np.ndarray) -> None:
    one, other = t_interval(values), t_interval(-values)
    assert sign_flips(values) == sign_flips(-values)
    assert t_test(one) == pytest.approx(t_test(other), nan_ok=True)
    assert seeds_needed(one) == pytest.approx(seeds_needed(other), nan_ok=True)
    estimate, low, high = effect(one)
    assert effect(other) == pytest.approx((-estimate, -high, -low), nan_ok=True, rel=1e-4, abs=1e-6)


@given(counts, st.sampled_from([0.01, 2.0, 100.0]))
def test_the_unit_of_the_score_changes_no_test(values: np.ndarray, unit: float) -> None:
    one, other = t_interval(values), t_interval(unit * values)
    assert sign_flips(values) == sign_flips(unit * values)
    assert effect(one) == pytest.approx(effect(other), nan_ok=True, rel=1e-4, abs=1e-6)
    assert t_test(one) == pytest.approx(t_test(other), nan_ok=True)


@given(counts)
def test_p_effect_and_seeds_needed_agree_with_the_interval(values: np.ndarray) -> None:
    gap = t_interval(values)
    decided = gap.low > 0 or gap.high < 0
    _, low, high = effect(gap)
    if gap.sd > 1e-9:
        assert decided == (t_test(gap) < 1 - CONFIDENCE)
        assert decided == (low > 0 or high < 0)
        assert decided == np.isnan(seeds_needed(gap))
    assert sign_flips(values) >= least(gap.n)


@given(st.floats(0.05, 3.0), st.integers(2, 12))
def test_seeds_needed_reach_the_power_and_one_less_does_not(size: float, n: int) -> None:
    """For gaps of exactly this mean over sd."""
    values = stats.zscore(np.arange(n, dtype=float), ddof=1) + size
    gap = t_interval(values)
    needed = seeds_needed(gap)
    if gap.low > 0 or needed == MOST_SEEDS:
        return

    def power(seeds: float) -> float:
        return float(TTestPower().power(size, seeds, 1 - CONFIDENCE))

    assert needed > n
    assert power(needed) >= POWER > power(needed - 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[0.3], [0.2, 0.2, 0.2], [0.0, 0.0], [0.1, 0.1 + 1e-17], [0.1, 0.1001]])
def test_what_is_not_defined_is_nan(values: list[float]) -> None:
    gap = t_interval(np.array(values))
    constant = np.ptp(values) < 1e-12
    assert np.isnan(effect(gap)[0])
    assert np.isnan(effect(gap)[1]) == constant
    assert np.isnan(seeds_needed(gap))
    assert np.isnan(t_test(gap)) == constant
    assert np.isnan(sign_flips(np.array(values))) == (len(values) == 1)


# The table


STUDY = replace(
    PRESETS["demo"].study,
    kinds=("good", "random", "bad"),
    methods=("structured", "magnitude"),
    random_draws=2,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    store = Store.open(Planted(tmp_path_factory.mktemp("gaps")).fill(STUDY))
    return records.read_root(store, Path())


@pytest.fixture(scope="module")
def found(root: Root) -> pd.DataFrame:
    return gaps(scores(root), root)


def test_every_comparison_is_tested(found: pd.DataFrame) -> None:
    assert list(found) == GAP
    assert len(found) == 2 * 2 * 2 * 3  # tasks, methods, measures; random, bad, full
    assert found["paired"].all()
    assert (found["n"] == 3).all()
    assert (found["p"] >= found["p_least"]).all()
    assert (found["p_least"] == 0.25).all()
    assert (found["p_holm_least"] == 0.5).all()  # of two tasks
    assert (found["p_holm"] >= found["p_holm_least"]).all()
    assert found[INDEPENDENT].isna().all(axis=None)
    tests = ["effect", "effect_low", "effect_high", "t_p", "t_p_holm", "p", "p_holm", "dev_se"]
    assert found[tests].notna().all(axis=None)
    assert ((found["verdict"] == UNDECIDED) == found["seeds_needed"].notna()).all()


def test_tests_are_corrected_over_the_tasks_of_a_comparison(found: pd.DataFrame) -> None:
    """Of two tasks, the smaller p is doubled, and the larger one is at least that."""
    for _, group in found.groupby(COMPARISON):
        for name in ("t_p", "p"):
            small, large = sorted(group[name])
            expected = [min(1, 2 * small), min(1, max(2 * small, large))]
            assert sorted(group[f"{name}_holm"]) == pytest.approx(expected)


def test_holm_by_hand() -> None:
    assert list(holm(np.array([0.01, 0.04, 0.03, 0.005]))) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(max_examples=20)
@given(st.lists(st.sampled_from([0.001, 0.0625, 0.125, 0.3, 1.0]), min_size=1, max_size=9))
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    assert list(holm(np.array(p))) == pytest.approx(list(multipletests(p, method="holm")[1]))


def test_the_dev_error_of_a_gap_is_by_leaving_each_example_out(root: Root, found: pd.DataFrame) -> None:
    """Recomputed from the predictions themselves, one score at a time."""
    table = scores(root)
    records = {record.key: record for record in root.records}
    [row] = rows(
        found[
            (found["method"] == MAGNITUDE) & (found["measure"] == "pruned") & (found["versus"] == RANDOM)
        ].head(1)
    )
    place = table[(table["method"] == MAGNITUDE) & (table["measure"] == "pruned")]
    place = place[place["task"] == row["task"]]

    def without_each(network: NetworkName) -> np.ndarray:
        seeds = []
        for _, nodes in place[place["network"] == network].groupby("seed"):
            draws = []
            for key, metric in zip(nodes["node"], nodes["metric"], strict=True):
                known = devset.read_predictions(root.artifact(records[key], "pruned.arrow"), metric)
                draws.append(
                    [
                        devset.dev_score(
                            metric,
                            devset.Predictions(*(np.delete(x, i) for x in (known.labels, known.predicted))),
                        )
                        for i in range(DEV)
                    ]
                )
            seeds.append(np.mean(draws, axis=0))
        return np.asarray(np.mean(seeds, axis=0))

    left_out = without_each(GOOD) - without_each(RANDOM)
    assert row["dev_se"] == pytest.approx(devset.jackknife(left_out))


def test_gaps_of_means_hold_the_paired_ones(root: Root, found: pd.DataFrame) -> None:
    """The same comparisons in the same order, with wider intervals around the same means."""
    known = unpaired_gaps(summary(scores(root)))
    assert list(known) == GAP
    labels = ["task", *COMPARISON, "n"]
    pd.testing.assert_frame_equal(known[labels], found[labels])
    assert known["mean"].to_numpy() == pytest.approx(found["mean"].to_numpy())
    assert (known["half"] >= found["half"]).all()
    assert not known["paired"].any()
    assert (known["independent_high"] - known["independent_low"] <= 2 * known["half"] + 1e-12).all()
    assert known[["effect", "t_p", "p", "p_holm", "dev_se", "seeds_needed"]].isna().all(axis=None)


@pytest.mark.filterwarnings("error")
def test_one_seed_and_nothing_at_all(root: Root) -> None:
    table = scores(root)
    one = gaps(table[table["seed"] == 1], root)
    assert one[["sd", "half", "effect", "t_p", "p", "p_holm", "seeds_needed"]].isna().all(axis=None)
    assert (one["p_least"] == 1).all()
    assert one["dev_se"].gt(0).all()
    assert unpaired_gaps(summary(table[table["seed"] == 1]))["half"].isna().all()
    for nothing in (gaps(table.head(0), root), unpaired_gaps(summary(table).head(0))):
        assert nothing.empty
        assert list(nothing) == GAP
        pd.testing.assert_frame_equal(pd.concat([one, nothing], ignore_index=True), one)
