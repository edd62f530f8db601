"""One model over tasks, against statsmodels and in simulations; and where scores vary."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.anova import anova_lm

from analysis.levels import CONFIDENCE
from analysis.scores.across_tasks import COLUMNS, across_tasks, model
from analysis.scores.gaps import COMPARISON
from analysis.scores.statistics import NETWORK_COLUMNS
from analysis.scores.summaries import SPREAD, spread
from lottery_ray import streams

ROUNDS = 2000
NEAR = 4 * np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / ROUNDS)
"""Four binomial standard errors of a coverage of 95%: .019."""
EQUAL = np.ones(8)
UNEQUAL = np.geomspace(0.002, 0.03, 8)
"""Seed sd of eight tasks: of SST-2 and of RTE, say, and between."""


def means(values: np.ndarray) -> pd.DataFrame:
    """Gaps of tasks. values: float (seeds, tasks)."""
    mean, sd = values.mean(0), values.std(0, ddof=1)
    return pd.DataFrame({"n": len(values), "mean": mean, "sd": sd, "paired": True})


def as_gaps(tasks: dict[str, list[float]]) -> pd.DataFrame:
    """A table of gaps of one comparison, from the differences of each task's seeds."""
    names = dict(zip(COMPARISON, ["magnitude", "stopping", "pruned", "good", "bad"], strict=True))
    rows = [
        names
        | {"task": task, "n": len(values), "mean": np.mean(values), "paired": True}
        | {"sd": np.std(values, ddof=1) if len(values) > 1 else np.nan}
        for task, values in tasks.items()
    ]
    return pd.DataFrame(rows)


@given(st.integers(2, 9), st.integers(2, 6), st.integers(0, 1000))
def test_the_model_is_an_analysis_of_variance(tasks: int, seeds: int, number: int) -> None:
    values = streams.generator("anova", number).normal(np.arange(tasks), 1, (seeds, tasks))
    long = pd.DataFrame({"task": np.tile(np.arange(tasks), seeds), "gap": values.ravel()})
    fitted = smf.ols("gap ~ C(task, Sum)", long).fit()
    found = model(means(values))
    assert found["mean"] == pytest.approx(fitted.params["Intercept"])
    assert found["se"] == pytest.approx(fitted.bse["Intercept"])
    assert found["task_f"] == pytest.approx(anova_lm(fitted).loc["C(task, Sum)", "F"])
    assert seeds - 1 <= found["df"] <= fitted.df_resid + 1e-9


def test_tasks_of_equal_spread_have_the_degrees_of_freedom_of_the_residual() -> None:
    found = model(pd.DataFrame({"n": 5, "mean": [0.1, 0.3, 0.2], "sd": 0.2, "paired": True}))
    assert found["df"] == pytest.approx(12)
    expected = stats.t.interval(CONFIDENCE, 12, 0.2, 0.2 / np.sqrt(15))
    assert [found["low"], found["high"]] == pytest.approx(expected)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("sds", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_the_interval_over_these_tasks_covers(sds: np.ndarray, seeds: int) -> None:
    """Where tasks differ in spread, one pooled variance would not do: it covers about 93%."""
    rng = streams.generator("these tasks", seeds, str(sds[0]))
    true = rng.normal(0.05, 0.03, len(sds))
    found = pd.DataFrame([model(means(rng.normal(true, sds, (seeds, len(sds))))) for _ in range(ROUNDS)])
    covered = (found["low"] <= true.mean()) & (found["high"] >= true.mean())
    assert covered.mean() == pytest.approx(CONFIDENCE, abs=NEAR)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(sds) * (seeds - 1)) * found["se"]
    pooled = ((found["mean"] - true.mean()).abs() <= half).mean()
    assert (pooled < CONFIDENCE - 0.01) == (sds is UNEQUAL)


@pytest.mark.parametrize("correlations", [(-1.0, -1.0, -1.0), (1.0, 0.9, -1.0), (0.0, 0.0, 0.0)])
def test_the_interval_of_unknown_pairings_covers_whatever_they_were(
    correlations: tuple[float, ...],
) -> None:
    rng, r = streams.generator("unknown pairings", str(correlations)), np.array(correlations)
    rounds = []
    for _ in range(ROUNDS):
        one, other = rng.normal(0, 1, (2, 3, len(r)))
        other = 0.5 * (r * one + np.sqrt(1 - r**2) * other)
        table = means(one - other).assign(sd=one.std(0, ddof=1) + other.std(0, ddof=1), paired=False)
        rounds.append(model(table))
    found = pd.DataFrame(rounds)
    assert ((found["low"] <= 0) & (found["high"] >= 0)).mean() >= CONFIDENCE - NEAR


def test_a_raised_spread_of_unknown_pairing_never_narrows_the_interval() -> None:
    """With Satterthwaite's degrees of freedom it would: those of one noisy task are few."""
    table = pd.DataFrame({"n": 3, "mean": 0.2, "sd": [0.1, 1.0]})
    raised = table.assign(sd=[0.9, 1.0])
    for paired, narrower in ((True, True), (False, False)):
        low, high = (model(of.assign(paired=paired)) for of in (table, raised))
        assert (high["high"] < low["high"]) == narrower


def test_the_wide_interval_covers_the_mean_of_tasks_drawn_at_random() -> None:
    rng = streams.generator("tasks like these")
    rounds = [rng.normal(rng.normal(0.05, 0.03, 8), UNEQUAL, (5, 8)) for _ in range(ROUNDS)]
    found = pd.DataFrame([model(means(values)) for values in rounds])
    covered = (found["wide_low"] <= 0.05) & (found["wide_high"] >= 0.05)
    assert covered.mean() == pytest.approx(CONFIDENCE, abs=NEAR)
    assert (found["between_sd"] ** 2).mean() == pytest.approx(0.03**2, rel=0.1)
    narrow = (found["low"] <= 0.05) & (found["high"] >= 0.05)
    assert narrow.mean() < 0.8  # about these tasks only


def test_equal_tasks_are_called_different_no_more_often_than_asked() -> None:
    rng = streams.generator("equal tasks")
    found = [model(means(rng.normal(0.05, UNEQUAL, (5, 8))))["task_p"] for _ in range(ROUNDS)]
    assert np.mean(np.array(found) < 0.05) < 0.05 + NEAR


def test_only_conclusive_tasks_count_and_single_seeds_only_among_themselves() -> None:
    gaps = as_gaps({"rte": [0.1, 0.2], "wnli": [5.0, 6.0], "cola": [0.3, 0.5], "sst2": [0.9]})
    [row] = across_tasks(gaps, {"rte", "cola", "sst2"}).to_dict("records")
    assert (row["tasks"], row["n"]) == (2, 4)
    assert row["mean"] == pytest.approx(0.275)
    [single] = across_tasks(as_gaps({"rte": [0.1], "cola": [0.3]}), {"rte", "cola"}).to_dict("records")
    assert single["mean"] == pytest.approx(0.2)
    assert np.isnan([single["se"], single["low"], single["task_f"], single["between_sd"]]).all()
    assert single["wide_low"] < 0 < single["wide_high"]


@pytest.mark.filterwarnings("error")
def test_tasks_without_spread_one_task_and_none() -> None:
    [same] = across_tasks(as_gaps({"rte": [0.0, 0.0], "cola": [0.0, 0.0]}), ["rte", "cola"]).to_dict(
        "records"
    )
    assert same["se"] == same["wide_low"] == same["wide_high"] == 0
    assert np.isnan([same["df"], same["low"], same["task_p"]]).all()
    [half] = across_tasks(as_gaps({"rte": [0.0, 0.0], "cola": [0.1, 0.3]}), ["rte", "cola"]).to_dict(
        "records"
    )
    assert half["df"] == pytest.approx(1)
    assert np.isfinite([half["low"], half["task_p"]]).all()
    [one] = across_tasks(as_gaps({"rte": [0.1, 0.3]}), ["rte"]).to_dict("records")
    expected = stats.ttest_1samp([0.1, 0.3], 0)
    assert one["p"] == pytest.approx(expected.pvalue)
    assert [one["low"], one["high"]] == pytest.approx(list(expected.confidence_interval(CONFIDENCE)))
    assert np.isnan([one["wide_low"], one["task_f"]]).all()
    empty = across_tasks(as_gaps({"rte": [0.1, 0.3]}), [])
    assert empty.empty
    assert list(empty) == COLUMNS


# Spread


def drawn(values: np.ndarray) -> pd.DataFrame:
    """Scores of one network. values: float (seeds, draws), NaN where a seed has fewer draws."""
    labels = dict(zip(NETWORK_COLUMNS, ["rte", "magnitude", "stopping", "random", "pruned"], strict=True))
    rows = [
        labels | {"seed": seed, "score": score, "se": 0.03}
        for seed, scores in enumerate(values)
        for score in scores[~np.isnan(scores)]
    ]
    return pd.DataFrame(rows, columns=[*NETWORK_COLUMNS, "seed", "score", "se"])


def test_seeds_and_draws_are_separated_as_by_nested_analysis_of_variance() -> None:
    values = streams.generator("nested").normal(0, 1, (6, 4)) + 3 * np.arange(6)[:, None]
    [row] = spread(drawn(values)).to_dict("records")
    fitted = smf.ols("score ~ C(seed)", drawn(values)).fit()
    squares = anova_lm(fitted)["mean_sq"]
    assert row["draw_sd"] ** 2 == pytest.approx(squares["Residual"])
    assert row["seed_sd"] ** 2 == pytest.approx((squares["C(seed)"] - squares["Residual"]) / 4)
    assert row["mean"] == pytest.approx(values.mean())
    assert (row["seeds"], row["draws"], row["dev_se"]) == (6, 4, pytest.approx(0.03))


@pytest.mark.slow
def test_components_are_unbiased_where_seeds_have_different_numbers_of_draws() -> None:
    rng, found = streams.generator("unbalanced"), []
    for _ in range(ROUNDS):
        values = rng.normal(0, 2, (5, 1)) + rng.normal(0, 1, (5, 3))
        values[:2, 1:] = np.nan
        found.append(spread(drawn(values)))
    table = pd.concat(found)
    assert (table["draw_sd"] ** 2).mean() == pytest.approx(1, rel=0.1)
    assert (table["seed_sd"] ** 2).mean() == pytest.approx(4, rel=0.1)


@pytest.mark.filterwarnings("error")
def test_spread_where_it_is_not_defined() -> None:
    [one] = spread(drawn(np.array([[0.1], [0.2], [0.4]]))).to_dict("records")
    assert one["seed_sd"] == pytest.approx(np.std([0.1, 0.2, 0.4], ddof=1))
    assert np.isnan(one["draw_sd"])
    [negative] = spread(drawn(np.array([[0.1, 0.3], [0.3, 0.1]]))).to_dict("records")
    assert negative["seed_sd"] == 0
    for values in ([[0.1, 0.2]], [[0.1]]):
        [seed] = spread(drawn(np.array(values))).to_dict("records")
        assert np.isnan(seed["seed_sd"])
    assert list(spread(drawn(np.zeros((0, 1))))) == SPREAD
