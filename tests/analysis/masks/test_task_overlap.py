"""What masks of two tasks share, against the paper's Figure 5 and Appendix G."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.formats import in_words
from analysis.masks.task_overlap import task_overlap
from analysis.records.method_names import Method
from analysis.records.network_names import GOOD, STOPPING
from analysis.records.root import MaskFile
from lottery_ray.experiment import masks
from tests import picked, released


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    frame = released.frame()
    good = frame[frame["family"].isin(["heads_mlps", "heads_mlps_random"])]
    return in_words(task_overlap(released.files(good, tmp_path_factory.mktemp("masks"))))


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
            masks.write(masks.to_table(mask, "k", dict.fromkeys(masks.IDENTITY)), path)
            files.append(MaskFile(task, seed, Method("heads"), STOPPING, GOOD, 0, path))
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
