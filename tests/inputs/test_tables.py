"""Held-out rows, training subsets and limits: who sees which rows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lottery_ray.inputs import language
from lottery_ray.inputs.tables import held_out, train_subset
from lottery_ray.inputs.tasks import TASKS

MRPC, STSB = TASKS["mrpc"], TASKS["stsb"]


def rows(labels: list[float]) -> pa.Table:
    count = len(labels)
    return pa.table(
        {
            "sentence1": [f"one {number}" for number in range(count)],
            "sentence2": [f"two {number}" for number in range(count)],
            "label": labels,
            "idx": pa.array(range(count), pa.int32()),
        }
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=200), st.floats(0, 0.9), st.randoms())
def test_a_share_of_every_class_is_held_out_whatever_the_order(
    labels: list[int], share: float, random: object
) -> None:
    table = rows([float(label) for label in labels])
    chosen = held_out(table, MRPC, share)
    for label in set(labels):
        members = np.array(labels) == label
        assert chosen[members].sum() == round(share * members.sum())
    order = np.random.default_rng(len(labels)).permutation(len(labels))
    assert np.array_equal(held_out(table.take(order), MRPC, share), chosen[order])


def test_a_regression_is_stratified_by_quintiles() -> None:
    labels = np.random.default_rng(0).uniform(0, 5, 1000).tolist()
    chosen = held_out(rows(labels), STSB, 0.1)
    assert chosen.sum() == 100
    quintile = np.digitize(labels, np.quantile(labels, [0.2, 0.4, 0.6, 0.8]))
    assert np.bincount(quintile[chosen]).tolist() == [20] * 5


def test_the_hash_of_the_text_decides_not_its_place() -> None:
    table = language.table(language.Language(), "similarity", "train")
    task = TASKS["similarity"]
    first = held_out(table, task, 0.2)
    places = np.flatnonzero(first)
    assert 0.4 < places.mean() / table.num_rows < 0.6
    again = held_out(table.slice(500), task, 0.2)
    # dropping half of the rows leaves most of the others' fate as it was
    assert (again == first[500:]).mean() > 0.9


@pytest.mark.parametrize("size", [10, 5_000])
def test_a_training_subset_is_drawn_per_seed(size: int) -> None:
    table = rows([0.0, 1.0] * 50)
    first, again, other = (train_subset(table, MRPC, seed, size)["idx"].to_pylist() for seed in (1, 1, 2))
    assert first == again
    assert len(set(first)) == min(size, 100)
    assert (first == other) == (size > 100)
