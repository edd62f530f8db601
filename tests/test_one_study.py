"""One study chosen of several in a root."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis import analyse
from lottery_ray.errors import InputError
from lottery_ray.study import PRESETS
from tests.planted import Planted

STUDY = replace(
    PRESETS["demo"].study, tasks=("acceptability",), seeds=(1, 2), kinds=("good", "random"), baselines=()
)
LONGER = replace(STUDY, recipe=replace(STUDY.recipe, epochs=7), seeds=(1, 2, 3))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("two studies")
    Planted(folder).fill(STUDY)
    return Planted(folder, keep=lambda node: type(node).__name__ != "Pretrain").fill(LONGER)


def test_the_refusal_says_how_to_choose(two: str) -> None:
    with pytest.raises(InputError) as refusal:
        analyse(two)
    for epochs in (STUDY.recipe.epochs, 7):
        assert f"--only recipe.epochs={epochs}" in str(refusal.value)


def test_a_choice_leaves_one_study(two: str, tmp_path: Path) -> None:
    chosen, alone = analyse(two, ["recipe.epochs=7"]), analyse(Planted(tmp_path).fill(LONGER))
    assert set(chosen.scores["seed"]) == {1, 2, 3}
    assert chosen.scores.equals(alone.scores)
    assert chosen.overlap_pairs.equals(alone.overlap_pairs)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("recipe.epochs", "FIELD=VALUE"),
        ("recipe.epochs=9", f"its values are {STUDY.recipe.epochs}, 7"),
        ("epoch=7", "no record has such a field"),
    ],
)
def test_a_choice_of_nothing_is_refused(two: str, choice: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        analyse(two, [choice])


def test_tickets_retrained_otherwise_belong_to_their_study(tmp_path: Path) -> None:
    longer = replace(STUDY, kinds=("good", "bad"), baselines=("longer_bad",))
    root = Planted(tmp_path).fill(longer)
    chosen = analyse(root, [f"recipe.epochs={STUDY.recipe.epochs}"])
    assert chosen.scores.equals(analyse(root).scores)
