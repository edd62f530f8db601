"""Leaving out embeddings of words that do not occur changes nothing but time."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks.network import Network
from lottery_ray.training import loop as training
from lottery_ray.training.loop import train
from lottery_ray.training.vocabulary import Vocabulary, only_what_occurs
from lottery_ray.trial.process import prepare

RECIPE = Recipe(epochs=4, batch_size=3, learning_rate=1e-3)


def everything(network: Network, encoded: Encoded, recipe: Recipe) -> Any:
    embedding = network.model.get_input_embeddings()  # type: ignore[operator]
    every = embedding.weight, embedding.padding_idx
    return nullcontext(Vocabulary(encoded, embedding, every, every, None))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_training_ends_at_the_same_weights(
    weight_decay: float,
    tiny_bert: Callable[..., Network],
    encoded: Encoded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(RECIPE, weight_decay=weight_decay)
    accelerator = prepare(Recipe(), cpu=True)
    found = []
    for way in (only_what_occurs, everything):
        monkeypatch.setattr(training, "only_what_occurs", way)
        network = tiny_bert(dropout=0.1)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        train(network, encoded, TASKS["mrpc"], 1, recipe, accelerator)
        found.append(network.state_dict())
    ours, theirs = found
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.shape == theirs[name].shape == before[name].shape
        assert torch.allclose(value, theirs[name], atol=1e-6, rtol=0), name
    words = "model.bert.embeddings.word_embeddings.weight"
    moved = (ours[words] != before[words]).any(1)
    occurs = torch.zeros(len(moved), dtype=torch.bool)
    occurs[torch.from_numpy(encoded.input_ids).long()] = True
    assert not occurs.all()
    # what decays moves, whether it occurs or not
    assert torch.equal(moved, occurs) == (weight_decay == 0)


def test_within_training_there_are_no_others(tiny_bert: Callable[..., Network], encoded: Encoded) -> None:
    network = tiny_bert()
    embedding = network.model.get_input_embeddings()  # type: ignore[operator]
    whole, padding = embedding.weight, embedding.padding_idx
    with only_what_occurs(network, encoded, RECIPE) as vocabulary:
        assert len(embedding.weight) == len(set(encoded.input_ids.tolist())) < len(whole)
        assert torch.equal(
            embedding.weight[torch.from_numpy(vocabulary.encoded.input_ids).long()],
            whole[torch.from_numpy(encoded.input_ids).long()],
        )
    assert embedding.weight is whole
    assert embedding.padding_idx == padding


def test_a_padding_token_that_occurs_still_learns_nothing(
    tiny_bert: Callable[..., Network], encoded: Encoded
) -> None:
    network = tiny_bert()
    padding = network.model.get_input_embeddings().padding_idx  # type: ignore[operator]
    ids = encoded.input_ids.copy()
    ids[1] = padding
    before = network.model.get_input_embeddings().weight.detach().clone()  # type: ignore[operator]
    accelerator = prepare(Recipe(), cpu=True)
    train(network, replace(encoded, input_ids=ids), TASKS["mrpc"], 1, RECIPE, accelerator)
    after = network.model.get_input_embeddings().weight  # type: ignore[operator]
    assert torch.equal(after[padding], before[padding])
    assert not torch.equal(after, before)
