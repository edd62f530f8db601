"""The released scripts' side of the benchmark of one (task, seed) does the same work as ours. No times."""

from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer

from benchmarks import as_released, measurement, whole
from lottery_ray.criteria.gradient import normalised, predict_with_importance
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import Mask
from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.encoding import encode
from lottery_ray.inputs.tables import data_files
from lottery_ray.networks.pruning import prunable, prune, weight_mask
from lottery_ray.networks.weights import initial_network
from lottery_ray.training.scoring import predict
from lottery_ray.trial.process import prepare
from tests.folders import data_folder, model_folder

LAYERS, HEADS = 3, 4
SOME_HEADS = np.array([[1, 1, 0, 1], [0, 1, 0, 0], [1, 1, 1, 1]], bool)
SOME_MLPS = np.array([1, 0, 1], bool)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return model_folder(tmp_path / "model")


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    return data_files(data_folder(tmp_path / "data", "mrpc"), whole.TASK)["validation"]


@pytest.mark.slow
def test_it_runs_and_both_sides_look_at_the_same(
    model: Path, dev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[measurement.Ratio] = []
    monkeypatch.setattr(measurement, "keep", kept.extend)
    # theirs asserts that its magnitude search ends where ours did
    with mock.patch.object(as_released, "importance", wraps=as_released.importance) as importance:
        whole.main(dev.parents[1], model, share=0.5, number=1)
    assert importance.call_count == 3 * len(whole.SCORES["structured"])
    assert [row.at_least for row in kept] == [2.7, 4.5]
    assert all(row.ratio > 0 for row in kept)


def some_mask(model: Path, component: str) -> Mask:
    if component == "heads":
        return masks.structured_mask(SOME_HEADS, SOME_MLPS)
    network = initial_network(model, whole.TASK, 1, "pretrained")
    weights = sum(parameter.numel() for parameter in prunable(network).values())
    return weight_mask(network, np.random.default_rng(0).random(weights) < 0.5)


def test_importance_is_the_cumulative_one(model: Path, dev: Path) -> None:
    tokenizer, rows = AutoTokenizer.from_pretrained(model), pq.read_table(dev)
    theirs = as_released.loaded(model)
    gates = [torch.tensor(kept, dtype=torch.float32, requires_grad=True) for kept in (SOME_HEADS, SOME_MLPS)]
    as_released.gate(theirs, *gates)
    heads, mlps = as_released.importance(theirs, as_released.features(rows, whole.TASK, tokenizer), gates)
    _, ours = predict_with_importance(
        initial_network(model, whole.TASK, 1, "pretrained"),
        encode(rows, whole.TASK, tokenizer, as_released.LENGTH),
        whole.TASK,
        SOME_HEADS,
        SOME_MLPS,
        prepare(Recipe(), cpu=True),
        Structured(importance="cumulative"),
    )
    np.testing.assert_allclose(mlps, ours.mlps * len(rows), rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(normalised(heads.numpy(), np.ones_like(SOME_HEADS)), ours.heads, rtol=1e-3)


@pytest.mark.parametrize("component", ["heads", "weight"])
def test_a_pruned_network_is_the_same_on_both_sides(model: Path, dev: Path, component: str) -> None:
    mask, accelerator = some_mask(model, component), prepare(Recipe(), cpu=True)
    ours = initial_network(model, whole.TASK, 1, "pretrained")
    prune(ours, mask)
    theirs = as_released.loaded(model)
    as_released.prune_to(theirs, mask)
    tokenizer, rows = AutoTokenizer.from_pretrained(model), pq.read_table(dev)
    encoded = encode(rows, whole.TASK, tokenizer, as_released.LENGTH)
    ids, types, filled, _ = as_released.features(rows, whole.TASK, tokenizer).tensors
    logits = theirs(input_ids=ids, token_type_ids=types, attention_mask=filled).logits
    np.testing.assert_allclose(logits.detach(), predict(ours, encoded, accelerator), atol=1e-5)


def test_a_layer_without_heads_keeps_its_norm(model: Path) -> None:
    theirs = as_released.loaded(model)
    as_released.cut(theirs, np.zeros((LAYERS, HEADS), bool), np.zeros(LAYERS, bool))
    hidden = torch.randn(2, 5, 32)
    layer = theirs.bert.encoder.layer[0]
    expected = layer.output.norm(layer.attention.output.norm(hidden))
    torch.testing.assert_close(layer(hidden), expected)


def test_drawn_rows_are_of_all_lengths(dev: Path, tmp_path: Path) -> None:
    shares = whole.draw(dev.parents[1], tmp_path / "drawn", 0.5)
    drawn = pq.read_table(data_files(tmp_path / "drawn", whole.TASK)["validation"])
    assert shares == {"train": 0.5, "validation": 0.5}
    assert len(drawn) == 6
    assert len(set(drawn["idx"].to_pylist())) == 6
