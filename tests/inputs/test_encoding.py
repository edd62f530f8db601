"""Tokenised data is made once on a machine, by real files, processes and disks that are full."""

import multiprocessing
import resource
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lottery_ray.experiment.nodes import Finetune
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.data import GLUE_DATA
from lottery_ray.inputs.encoding import Encoded, tokenised_once
from lottery_ray.inputs.models import BERT_BASE
from lottery_ray.trial.work import encoded_name

NODE = Finetune("mrpc", 1, BERT_BASE, GLUE_DATA)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    return tmp_path / "a cache" / "lottery_ray" / "tokenised"


@pytest.fixture
def counted(encoded: Encoded, tmp_path: Path) -> Callable[[], Encoded]:
    return partial(count, encoded, tmp_path / "calls")


def count(encoded: Encoded, calls: Path) -> Encoded:
    with calls.open("a") as file:
        file.write("made\n")
    return encoded


def made(tmp_path: Path) -> int:
    return len((tmp_path / "calls").read_text().splitlines())


def assert_same(found: Encoded, expected: Encoded) -> None:
    for name in ("input_ids", "segments", "ends", "idx", "labels"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype, name
        assert np.array_equal(ours, theirs), name


def test_it_is_made_once_and_then_mapped(
    own_cache: Path, counted: Callable[[], Encoded], encoded: Encoded, tmp_path: Path
) -> None:
    for _ in range(2):
        found = tokenised_once("a", counted)
        assert_same(found, encoded)
    assert made(tmp_path) == 1
    # views of the file, which nobody can write into
    assert not found.input_ids.flags.owndata
    assert not found.input_ids.flags.writeable
    tokenised_once("b", counted)
    assert made(tmp_path) == 2


def test_of_processes_at_once_one_makes_it(
    own_cache: Path, counted: Callable[[], Encoded], encoded: Encoded, tmp_path: Path
) -> None:
    # not forked: the threads of libraries that other tests use do not live on in a child
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for found in pool.starmap(tokenised_once, [("a", counted)] * 8):
            assert_same(found, encoded)
    assert made(tmp_path) == 1


def test_without_a_place_for_it_everybody_makes_it(
    counted: Callable[[], Encoded], encoded: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    for _ in range(2):
        assert_same(tokenised_once("a", counted), encoded)
    assert made(tmp_path) == 2


def on_a_full_disk(make: Callable[[], Encoded], expected: Encoded) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
    assert_same(tokenised_once("a", make), expected)


def test_a_full_disk_leaves_nothing_half_written(
    own_cache: Path, counted: Callable[[], Encoded], encoded: Encoded, tmp_path: Path
) -> None:
    # in a process of its own, for the limit holds for the test run's output, too
    child = multiprocessing.get_context("spawn").Process(target=on_a_full_disk, args=(counted, encoded))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert made(tmp_path) == 1
    assert own_cache.exists()
    assert not list(own_cache.rglob("*.arrow"))


def test_its_name_is_of_all_that_changes_it() -> None:
    def name(rows: str = "train", recipe: Recipe = NODE.recipe, **other: object) -> str:
        return encoded_name(replace(NODE, **other), rows, recipe)  # type: ignore[arg-type]

    same = name()
    assert same == name(seed=2) == name(recipe=Recipe(epochs=9, learning_rate=1.0))
    assert name(rows="train_subset") != name(rows="train_subset", seed=2)
    others = [
        name(rows="dev"),
        name(task="rte"),
        name(train_limit=100),
        name(held_out=0.1),
        name(recipe=Recipe(max_length=64)),
        name(model=replace(BERT_BASE, commit="another")),
        name(data=replace(GLUE_DATA, commit="another")),
    ]
    assert len({same, *others}) == 1 + len(others)
