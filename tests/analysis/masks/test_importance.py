"""Importance of heads and MLPs, from searches and from published masks, and whether seeds agree on it."""

import dataclasses
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from analysis.masks import importance
from analysis.records import root as records
from analysis.records.method_names import STRUCTURED
from lottery_ray.experiment import masks
from lottery_ray.experiment.graph import key
from lottery_ray.experiment.masks import read_masks, write_masks
from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.nodes import Search
from lottery_ray.experiment.study import PRESETS
from lottery_ray.storage.published import import_published
from lottery_ray.storage.store import Store
from lottery_ray.streams import generator
from tests import picked, released
from tests.planted import Planted

STUDY = dataclasses.replace(PRESETS["demo"].study, kinds=("good",))


@dataclass(frozen=True)
class WithStates(Planted):
    """Structured searches leave the two states that they looked at, each with its scores."""

    def _search(self, node: Search, folder: Path) -> dict[str, object]:
        if isinstance(node.method, Structured):
            whole = np.ones((self.layers, self.heads), bool), np.ones(self.layers, bool)
            tables = []
            for step in (0, 1):
                rng = generator("scores", key(node), step)
                scores = (
                    rng.random((self.layers, self.heads), np.float32),
                    rng.random(self.layers, np.float32),
                )
                table = masks.to_table(
                    masks.structured_mask(*whole, *scores), key(node), dict.fromkeys(masks.IDENTITY)
                )
                tables.append(table.append_column("step", pa.array([step] * len(table), pa.int32())))
            write_masks(pa.concat_tables(tables), folder / "states.arrow")
        return super()._search(node, folder)


def test_scores_are_those_that_the_search_first_saw(tmp_path: Path) -> None:
    root = records.read_root(Store.open(WithStates(tmp_path / "root").fill(STUDY)), tmp_path)
    found = importance.importances(root)
    searches = [r for r in root.of(Search) if r.labels["method"] == "structured"]
    assert len(found) == len(searches) * 3 * 9
    for record in searches:
        own = picked.rows(found, task=record.labels["task"], seed=record.labels["seed"])
        rng = generator("scores", record.key, 0)
        good = masks.from_table(read_masks(root.artifact(record, "mask.arrow")))
        for component, kept in (("heads", masks.heads(good)), ("mlp", masks.mlps(good)[:, None])):
            cells = picked.rows(own, component=component)
            np.testing.assert_array_equal(cells["score"], rng.random(kept.shape, np.float32).ravel())
            np.testing.assert_array_equal(cells["kept"], kept.ravel())
    assert set(found["method"]) == {STRUCTURED}
    assert set(importance.importance_agreement(found)["seeds"]) == {3}


def test_published_masks_have_the_scores_that_are_beside_them(tmp_path: Path) -> None:
    frame = released.frame()
    import_published(released.PAPER / "masks.parquet", str(tmp_path / "root"))
    found = importance.importances(records.read_root(Store.open(str(tmp_path / "root")), tmp_path))
    scored = frame[(frame["family"] == "heads_mlps") & frame["importance"].notna()]
    assert len(found) == len(scored)
    rte = picked.rows(found, task="rte", seed=86, component="heads")
    expected = picked.rows(scored, task="RTE", seed=86, component="head").sort_values(["layer", "index"])
    np.testing.assert_array_equal(rte["score"], expected["importance"])
    np.testing.assert_array_equal(rte["kept"], expected["kept"])


def test_seeds_that_rank_alike_agree() -> None:
    rng = np.random.default_rng(2)
    truth, rows = rng.permutation(20), []
    for task, noise in (("cola", 0.0), ("rte", 1.0), ("wnli", 1e6)):
        for seed in range(4):
            scores = truth + noise * rng.normal(size=20)
            rows += [(task, "heads", seed, "heads", i // 4, i % 4, scores[i], True) for i in range(20)]
    table = pd.DataFrame(rows, columns=importance.COLUMNS)
    found = importance.importance_agreement(table)
    cola, rte, wnli = (picked.row(found, task=task) for task in ("cola", "rte", "wnli"))
    assert (cola["spearman"], cola["kendall_w"]) == pytest.approx((1, 1))
    assert found["kendall_w"].is_monotonic_decreasing
    ranks = stats.rankdata(picked.rows(table, task="rte")["score"].to_numpy().reshape(4, 20), axis=1)
    concordance = 12 * ((ranks.sum(axis=0) - 42) ** 2).sum() / (16 * (20**3 - 20))
    assert rte["kendall_w"] == pytest.approx(concordance)
    # W and the mean Spearman are one: Kendall and Babington Smith 1939
    assert rte["spearman"] == pytest.approx((4 * concordance - 1) / 3)
    assert rte["p"] == 1 / (1 + importance.DRAWS)
    assert wnli["p"] > 1e-3


def ranked(scores: np.ndarray) -> pd.DataFrame:
    """Of one task each. scores: float (tasks, seeds, n)."""
    tasks, seeds, n = (index.ravel() for index in np.indices(scores.shape))
    table = pd.DataFrame({"task": tasks.astype(str), "method": "heads", "seed": seeds, "component": "heads"})
    return table.assign(layer=0, index=n, score=scores.ravel(), kept=True)


def test_the_p_of_concordance_is_that_of_all_rankings() -> None:
    scores = np.array([[[1.0, 2, 3, 4], [1, 3, 2, 4]], [[1, 2, 3, 4], [2, 2, 1, 4]]])
    for (one, other), found in zip(scores, importance.importance_agreement(ranked(scores))["p"], strict=True):
        every = [stats.spearmanr(one, order).statistic for order in permutations(other)]
        expected = np.mean(np.array(every) >= stats.spearmanr(one, other).statistic - 1e-9)
        assert found == pytest.approx(expected, abs=4 * np.sqrt(0.25 / importance.DRAWS))


def test_seeds_that_rank_at_random_agree_as_often_as_asked() -> None:
    """Which chi-squared's p does not: with two seeds it calls almost none of them agreed."""
    scores = generator("random ranks").random((400, 2, 12))
    found = (importance.importance_agreement(ranked(scores))["p"] <= 0.05).mean()
    assert found == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 400))
    asymptotic = [stats.friedmanchisquare(*seeds.T).pvalue for seeds in scores]
    assert np.mean(np.array(asymptotic) <= 0.05) < 0.02
