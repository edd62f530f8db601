"""What masks of two tasks share, against the paper's Figure 5 and Appendix G; good masks against those of the
largest pre-trained weights, and what seeds share beyond them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.formats import table_in_words
from analysis.masks.overlap_of_others import PRETRAINED_COLUMNS, pretrained_overlap, task_overlap
from analysis.records.method_names import MAGNITUDE, MethodName
from analysis.records.network_names import GOOD, PRETRAINED, STOPPING, TicketSize
from analysis.records.root import MaskFile
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import read_masks, write_masks
from tests import picked, released


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    frame = released.frame()
    good = frame[frame["family"].isin(["heads_mlps", "heads_mlps_random"])]
    return table_in_words(task_overlap(released.files(good, tmp_path_factory.mktemp("masks"))))


@pytest.mark.parametrize(("component", "block"), [("heads", 0), ("mlp", 1)])
def test_every_cell_of_the_papers_overlaps(found: pd.DataFrame, component: str, block: int) -> None:
    """protocol.md, section 8.3: 45 means and spreads for heads and for MLPs."""
    golden = released.printed("### 8.3", block)
    cells = 0
    for row in picked.rows(found, network="good", component=component).to_dict("records"):
        pair = row["task"], row["other_task"]
        printed = max(golden[a][b] for a, b in (pair, pair[::-1]))
        assert f"{row['both']:.2f}±{row['both_sd']:.2f}" == printed, pair
        cells += 1
    assert cells == 45


def test_overlaps_are_close_to_chance(found: pd.DataFrame) -> None:
    """Observed over expected is 1.01 to 1.17, 1.09 on average (protocol.md, section 6.9)."""
    heads = found[(found["component"] == "heads") & (found["task"] != found["other_task"])]
    heads = heads[(heads["task"] != "WNLI") & (heads["other_task"] != "WNLI")]
    good = heads[heads["network"] == "good"]["ratio"]
    assert (len(good), round(good.mean(), 2)) == (28, 1.09)
    assert (round(good.min(), 2), round(good.max(), 2)) == (1.01, 1.17)
    random = heads[heads["network"] == "random"]
    inside = random["both"].between(random["chance_both_low"], random["chance_both_high"])
    assert inside.mean() > 0.8


def test_only_seeds_that_have_both_tasks_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    files, kept = [], {}
    for task, seeds in (("sst2", (1, 2, 3)), ("HANS", (2, 3, 4))):
        for seed in seeds:
            heads = rng.random((3, 4)) < 0.5
            mask = masks.structured_mask(heads, np.ones(3, bool))
            path = tmp_path / f"{task} {seed}.arrow"
            write_masks(masks.to_table(mask, "k", dict.fromkeys(masks.IDENTITY)), path)
            files.append(MaskFile(task, seed, MethodName("heads"), STOPPING, GOOD, 0, path))
            kept[task, seed] = heads
    table = task_overlap(files)
    shared = [int((kept["sst2", seed] & kept["HANS", seed]).sum()) for seed in (2, 3)]
    row = picked.row(table, task="sst2", other_task="HANS")
    assert (row["seeds"], row["both"], row["component"]) == (2, np.mean(shared), "heads")
    expected = [kept["sst2", seed].sum() * kept["HANS", seed].sum() / 12 for seed in (2, 3)]
    assert row["chance_both"] == pytest.approx(np.mean(expected))
    own = picked.row(table, task="sst2", other_task="sst2")
    assert (own["seeds"], own["both"]) == (3, np.mean([kept["sst2", seed].sum() for seed in (1, 2, 3)]))
    assert np.isnan(own["ratio"])


# Pre-trained weights

N = 60_000


def largest(values: np.ndarray, size: int) -> np.ndarray:
    kept = np.zeros(values.size, bool)
    kept[np.argsort(-values)[:size]] = True
    return kept


def made(folder: Path, own: float, common: float) -> list[MaskFile]:
    """Weights are the pre-trained ones, moved by noise of each seed's own and by noise common to all."""
    rng = np.random.default_rng(3)
    start, moved = rng.normal(size=(2, N))
    files = []
    for seed, size in ((1, 30_000), (2, 30_000), (3, 24_000)):
        tuned = start + common * moved + own * rng.normal(size=N)
        for network, values in ((GOOD, tuned), (PRETRAINED, start)):
            kept = largest(values, size)
            halves = [
                masks.Part("weight", i, "weight", (N // 2,), part) for i, part in enumerate(np.split(kept, 2))
            ]
            path = folder / f"{network} {seed}.arrow"
            write_masks(masks.to_table(tuple(halves), "k", dict.fromkeys(masks.IDENTITY)), path)
            files.append(MaskFile("sst2", seed, MAGNITUDE, STOPPING, network, 0, path))
    return files


def flags(file: MaskFile) -> np.ndarray:
    return np.concatenate([part.kept for part in masks.from_table(read_masks(file.path))])


@pytest.mark.parametrize("common", [0.0, 1.0])
def test_what_seeds_share_beyond_the_pretrained_mask(tmp_path: Path, common: float) -> None:
    files = made(tmp_path, 0.7, common)
    by_name = {(file.network, file.seed): flags(file) for file in files}
    table = pretrained_overlap(files)
    assert len(table) == 3 + 3
    for seed in (1, 2, 3):
        row = picked.row(table, seed=seed, other="pretrained")
        good, start = by_name[GOOD, seed], by_name[PRETRAINED, seed]
        assert row["jaccard"] == (good & start).sum() / (good | start).sum()
        assert row["jaccard"] > row["chance_high"] > row["chance"]
    for seed, other_seed in ((1, 2), (1, 3), (2, 3)):
        row = picked.row(table, seed=seed, other_seed=other_seed, other="good")
        one, other = by_name[GOOD, seed], by_name[GOOD, other_seed]
        stratum = by_name[PRETRAINED, seed] * 2 + by_name[PRETRAINED, other_seed]
        cells = [(one[stratum == s], other[stratum == s]) for s in np.unique(stratum)]
        expected = sum(a.sum() * b.sum() / a.size for a, b in cells)
        most = sum(min(a.sum(), b.sum()) for a, b in cells)
        assert row["both"] == (one & other).sum()
        assert row["beyond_both"] == pytest.approx(expected)
        assert row["largest"] == most
        assert row["share"] == pytest.approx((row["both"] - expected) / (most - expected))
        assert row["ratio"] == pytest.approx(row["both"] / expected)
        # ranks within a stratum are shared too, so that there is some agreement without any common noise
        assert row["jaccard"] > row["beyond_high"] > row["beyond_chance"] > row["chance_high"]
    shares = picked.rows(table, other="good")["share"]
    assert ((shares > 0.4) == bool(common)).all(), shares


def test_masks_that_are_random_within_the_strata_share_nothing_beyond(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    start, files = rng.random(N), []
    for seed in range(4):
        model = largest(start, 20_000)
        good = np.where(model, rng.random(N) < 0.8, rng.random(N) < 0.1)
        for network, kept in ((GOOD, good), (PRETRAINED, model)):
            path = tmp_path / f"{network} {seed}.arrow"
            part = masks.Part("weight", 0, "weight", (N,), kept)
            write_masks(masks.to_table((part,), "k", dict.fromkeys(masks.IDENTITY)), path)
            files.append(MaskFile("HANS", seed, MAGNITUDE, TicketSize(0.5), network, 0, path))
    pairs = picked.rows(pretrained_overlap(files), other="good")
    assert len(pairs) == 6
    assert pairs["ratio"].between(0.98, 1.02).all()
    assert pairs["share"].abs().max() < 0.03
    assert (pairs["jaccard"].between(pairs["beyond_low"], pairs["beyond_high"])).mean() > 0.5


def test_without_pretrained_masks_there_is_nothing(tmp_path: Path) -> None:
    files = [file for file in made(tmp_path, 1, 0) if file.network == GOOD]
    table = pretrained_overlap(files)
    assert (len(table), list(table.columns)) == (0, PRETRAINED_COLUMNS)
