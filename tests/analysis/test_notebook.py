"""What a notebook gets: words in every table, and all that the documentation says can be done with them."""

import pickle
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from analysis import Analysis, analyse, compare, draw, tidy
from analysis.records.network_names import RANDOM
from lottery_ray.experiment.study import PRESETS
from tests.planted import Planted

STUDY = replace(PRESETS["demo"].study, tasks=("similarity",), seeds=(1, 2), kinds=("good", "random"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(Planted(tmp_path_factory.mktemp("notebook")).fill(STUDY))


def test_tables_hold_words_and_facts_stand_behind_them(found: Analysis) -> None:
    columns = ["task", "measure", "mean", "low", "high", "p", "p_least"]
    random = found.gaps.query("versus == 'random'")[columns]
    assert len(random) == (found.facts.gaps["versus"] == RANDOM).sum() == 2 * 2
    for field in fields(found.facts):
        table = getattr(found, field.name)
        assert field.name in dir(found)
        if isinstance(table, pd.DataFrame):
            assert not table.map(is_dataclass).any(axis=None), field.name
    assert set(found.gaps["verdict"]) <= {
        "good higher",
        "good lower",
        "full higher",
        "full lower",
        "undecided",
    }


def test_it_can_be_compared_drawn_and_kept(found: Analysis, tmp_path: Path) -> None:
    assert (compare(found, found).scores["network"] == "random").any()
    assert {drawing.group for drawing in draw(found)} >= {"scores", "gaps"}
    tidy(found).to_parquet(tmp_path / "numbers.parquet")
    found.gaps.to_parquet(tmp_path / "gaps.parquet")
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(found)).gaps, found.gaps)
