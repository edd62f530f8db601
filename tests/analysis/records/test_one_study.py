"""One study chosen of several in a root."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis import analyse
from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node
from lottery_ray.experiment.nodes import Pretrain
from lottery_ray.experiment.study import PRESETS
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.published import Published
from lottery_ray.storage.store import Store
from tests.planted import Planted

STUDY = replace(
    PRESETS["demo"].study, tasks=("acceptability",), seeds=(1, 2), kinds=("good", "random"), baselines=()
)
LONGER = replace(STUDY, recipe=replace(STUDY.recipe, epochs=7), seeds=(1, 2, 3))


def first(node: Node) -> bool:
    return True


def later(node: Node) -> bool:
    """The model is there already."""
    return not isinstance(node, Pretrain)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("two studies")
    Planted(folder).fill(STUDY)
    return Planted(folder, keep=later).fill(LONGER)


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
        ("recipe.epochs=9", f"recipe.epochs=9: its values are {STUDY.recipe.epochs}, 7"),
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


def test_a_second_choice_is_said_with_the_first(tmp_path: Path) -> None:
    """What the refusal says to type can be typed."""
    apart = replace(LONGER, recipe=replace(LONGER.recipe, learning_rate=0.5))
    for study in (STUDY, LONGER, apart):
        Planted(tmp_path, keep=first if study is STUDY else later).fill(study)
    with pytest.raises(InputError) as refusal:
        analyse(str(tmp_path), ["recipe.epochs=7"])
    assert "--only recipe.epochs=7 recipe.learning_rate=0.5" in str(refusal.value)
    assert set(analyse(str(tmp_path), ["recipe.epochs=7", "recipe.learning_rate=0.5"]).scores["seed"]) == {
        1,
        2,
        3,
    }


def test_tasks_of_different_recipes_are_refused(tmp_path: Path) -> None:
    Planted(tmp_path).fill(STUDY)
    other = replace(LONGER, tasks=("similarity",))
    root = Planted(tmp_path, keep=later).fill(other)
    with pytest.raises(InputError, match=r"of different tasks differ in recipe\.epochs"):
        analyse(root)


def test_published_records_among_a_studys_own_are_refused(tmp_path: Path) -> None:
    root = Planted(tmp_path).fill(STUDY)
    store = Store.open(root)
    node = Published("0" * 64, "no_mask", "acceptability", None, "", "full")
    begin(store, node).publish({"measure": "fine-tuned", "mean": 0.5, "sd": 0.1, "n": 5}, {}, {})
    with pytest.raises(InputError, match="a root of their own"):
        analyse(root)
