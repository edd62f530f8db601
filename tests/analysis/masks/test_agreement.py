"""Agreement and overlap of the masks of several seeds: against other packages, brute force, and the paper."""

from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import cochrans_q
from statsmodels.stats.inter_rater import fleiss_kappa

from analysis.formats import table_in_words
from analysis.masks import agreement, overlap
from analysis.masks import groups as mask_groups
from analysis.masks.agreement import sums
from analysis.records.method_names import MethodName
from lottery_ray import streams
from tests import picked, released

SETTINGS = settings(max_examples=60, deadline=None)
FLAGS = st.tuples(st.integers(2, 7), st.integers(2, 40), st.floats(0.1, 0.9), st.integers(0, 2**32 - 1))


def drawn(k: int, n: int, share: float, seed: int) -> np.ndarray:
    """int (k, n), masks that keep neither all nor nothing."""
    rng = np.random.default_rng(seed)
    kept = (rng.random((k, n)) < share).astype(int)
    kept[0, :2] = 0, 1
    return kept


@SETTINGS
@given(FLAGS)
def test_coefficients_are_those_of_other_packages(flags: tuple[int, int, float, int]) -> None:
    kept = drawn(*flags)
    of = sums(kept.shape[1], kept @ kept.T)
    ratings = np.stack([len(kept) - kept.sum(axis=0), kept.sum(axis=0)], axis=1)
    assert agreement.fleiss_kappa(of) == pytest.approx(fleiss_kappa(ratings), abs=1e-12)
    alpha = krippendorff.alpha(kept, level_of_measurement="nominal")
    assert agreement.krippendorff_alpha(of) == pytest.approx(alpha, abs=1e-12)


@SETTINGS
@given(FLAGS)
def test_both_cochrans_are_those_of_statsmodels(flags: tuple[int, int, float, int]) -> None:
    kept = drawn(*flags)
    of = sums(kept.shape[1], kept @ kept.T)
    for masks_are_columns, (statistic, df) in (
        (True, agreement.sizes_q(of)[:2]),
        (False, agreement.components_q(of)),
    ):
        table = kept.T if masks_are_columns else kept
        if (table == table[:, :1]).all():
            assert np.isnan(statistic)
            continue
        expected = cochrans_q(table)
        assert statistic == pytest.approx(expected.statistic, abs=1e-9)
        assert df == expected.df
    if not np.isnan(agreement.sizes_q(of)[0]):
        assert agreement.sizes_q(of)[2] == pytest.approx(cochrans_q(kept.T).pvalue)


@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_masks_agree_in_nothing_that_can_be_measured(value: int) -> None:
    kept = np.full((3, 10), value)
    of = sums(10, kept @ kept.T)
    found = [agreement.fleiss_kappa(of), agreement.krippendorff_alpha(of), agreement.sizes_q(of)[0]]
    assert np.isnan([*found, agreement.components_q(of)[0]]).all()
    assert agreement.not_rejected(10, kept @ kept.T) == 0


@pytest.mark.parametrize("agreeing", [0.0, 0.5])
@pytest.mark.parametrize("k", [3, 5])
def test_the_interval_of_kappa_covers_what_endless_seeds_would_have(k: int, agreeing: float) -> None:
    """Seeds keep each of 144 heads with a probability of its own, which varies or is the same for all."""
    rng, rounds = streams.generator("kappa coverage", k, str(agreeing)), 400
    likely = 0.6 + agreeing * np.where(np.arange(144) < 58, -0.6, 0.4)
    kept = (rng.random((rounds, k, 144)) < likely).astype(int)
    true = likely.var() / (likely.mean() * (1 - likely.mean()))
    ends = np.array([agreement.jackknife(agreement.fleiss_kappa, 144, one @ one.T)[1:] for one in kept])
    covered = ((ends[:, 0] <= true) & (ends[:, 1] >= true)).mean()
    assert 0.95 - 4 * np.sqrt(0.05 * 0.95 / rounds) <= covered


def test_the_standard_error_of_kappa_is_that_of_leaving_seeds_out() -> None:
    kept = drawn(5, 30, 0.6, 3)
    found = agreement.jackknife(agreement.fleiss_kappa, 30, kept @ kept.T)
    without = [
        fleiss_kappa(np.stack([4 - rest.sum(0), rest.sum(0)], axis=1))
        for rest in (np.delete(kept, seed, axis=0) for seed in range(5))
    ]
    se = np.sqrt(4 / 5 * ((without - np.mean(without)) ** 2).sum())
    whole = fleiss_kappa(np.stack([5 - kept.sum(0), kept.sum(0)], axis=1))
    ends = stats.t.interval(0.95, 4, whole, se)
    assert found == pytest.approx((se, *ends))
    assert agreement.jackknife(agreement.fleiss_kappa, 30, kept[:3] @ kept[:3].T)[1:] <= (1, 1)
    assert np.isnan(agreement.jackknife(agreement.krippendorff_alpha, 30, kept[:2] @ kept[:2].T)).all()
    assert agreement.jackknife(agreement.fleiss_kappa, 30, np.full((4, 4), 10)) == (0, 1, 1)


def test_sums_of_millions_of_weights_do_not_overflow() -> None:
    n, size, both = 85_000_000, 50_000_000, 40_000_000
    found = np.full((5, 5), both, np.int64) + np.eye(5, dtype=np.int64) * (size - both)
    small = agreement.sums(n // 10**6, found // 10**6)
    assert agreement.fleiss_kappa(sums(n, found)) == pytest.approx(agreement.fleiss_kappa(small))
    statistic, df = agreement.components_q(sums(n, found))
    assert statistic / df == pytest.approx((n * found.sum() - (5 * size) ** 2) / (n * 5 * size - 5 * size**2))


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> list[mask_groups.Group]:
    return mask_groups.groups_of_seeds(released.files(released.frame(), tmp_path_factory.mktemp("masks")))


@pytest.fixture(scope="module")
def agreed(groups: list[mask_groups.Group]) -> pd.DataFrame:
    return table_in_words(agreement.agreement(groups))


COMPONENTS = [("heads", "heads_mlps, heads:"), ("mlp", "heads_mlps, MLPs:")]


def number(cell: str) -> Any:
    """A printed number, to the digits that are printed."""
    mantissa, _, power = cell.partition("e")
    half = 0.5 * 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2])) if cell != "nan" else 0
    return pytest.approx(float(cell), abs=max(half, 1e-12) * 1.001, nan_ok=True)


@pytest.mark.parametrize(
    ("component", "words"), [("heads", "heads_mlps, heads:"), ("mlp", "heads_mlps, MLPs:")]
)
@pytest.mark.parametrize("task", released.TASKS)
def test_agreement_of_the_papers_masks(agreed: pd.DataFrame, component: str, words: str, task: str) -> None:
    """protocol.md, section 8.2."""
    golden = released.printed(words)[task]
    row = picked.row(agreed, task=task, network="good", component=component)
    for column, name in {
        "kept": "mean",
        "share": "frac",
        "every": "super(5/5)",
        "never": "never(0/5)",
        "fleiss_kappa": "fleiss_kappa",
        "krippendorff_alpha": "kripp_alpha",
        "sizes_q": "cochran_Q",
        "sizes_p": "cochran_p",
        "sizes_pairs_not_rejected": "pairs_not_rejected/10",
    }.items():
        assert row[column] == number(golden[name]), column


def test_super_survivors_keep_what_every_seed_keeps(agreed: pd.DataFrame) -> None:
    kept = agreed.pivot(index=["task", "component"], columns="network", values=["kept", "every"])
    assert (kept["every", "good"] == kept["kept", "super"]).all()
    assert (kept["every", "super"] == kept["kept", "super"]).all()


@pytest.mark.parametrize(
    ("component", "words"), [("heads", "heads_mlps, heads:"), ("mlp", "heads_mlps, MLPs:")]
)
def test_overlap_of_the_papers_masks_and_its_chance(
    groups: list[mask_groups.Group], component: str, words: str
) -> None:
    """protocol.md, section 8.2; its expectation is a ratio of expected overlaps."""
    table, pairs = (
        table_in_words(made) for made in (overlap.overlap_of_seeds(groups), overlap.overlap_of_pairs(groups))
    )
    golden = released.printed(words)
    for task in released.TASKS[:-1]:
        row = picked.row(table, task=task, network="good", component=component)
        assert row["jaccard"] == number(golden[task]["mean_pairwise_jaccard"])
        of = picked.rows(pairs, task=task, network="good", component=component)
        ratio = of["chance_both"] / (of["kept"] + of["other_kept"] - of["chance_both"])
        assert ratio.mean() == number(golden[task]["expected_jaccard_same_sizes"])
        assert row["chance"] == pytest.approx(of["chance"].mean())
        assert row["chance_low"] < row["chance"] < row["chance_high"]
        layers = overlap.overlap_of_layers([group for group in groups if group.place[0] == task])
        assert len(layers) == 4 * 12
        assert set(layers["n"]) == {12}


def test_random_masks_of_the_paper_overlap_like_chance(groups: list[mask_groups.Group]) -> None:
    table = overlap.overlap_of_seeds(groups)
    heads = picked.rows(table[table["task"] != "WNLI"], component="heads")
    assert (picked.rows(heads, network="random")["chance_p"] > 0.001).all()
    assert (picked.rows(heads, network="good")["chance_p"] < 0.001).all()
    assert (picked.rows(heads, network="super")["jaccard"] == 1).all()


def test_other_families_are_read_the_same_way(tmp_path: Path) -> None:
    """Only heads, only MLPs, and a task that no one has heard of."""
    frame = released.frame()
    frame = frame[(frame["family"] == "heads_mlps") & (frame["task"] == "MNLI")]
    for component, method, n in (("head", MethodName("heads"), 144), ("mlp", MethodName("mlps"), 12)):
        table = frame[frame["component"] == component].assign(task="HANS", family="good")
        groups = mask_groups.groups_of_seeds(released.files(table, tmp_path, method))
        (row,) = agreement.agreement(groups).to_dict("records")
        assert (row["task"], row["method"], row["n"], row["seeds"]) == ("HANS", method, n, 5)
        assert len(overlap.overlap_of_pairs(groups)) == 10
