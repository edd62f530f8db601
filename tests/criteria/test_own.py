"""Criteria and kinds of ticket of users' own: what they are given, and what they may return."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification

from lottery_ray.criteria.gradient import normalised, predict_with_gradients, predict_with_importance
from lottery_ray.criteria.own import Look, WeightLook, own_importance, own_weight_scores
from lottery_ray.errors import InputError
from lottery_ray.experiment import masks
from lottery_ray.experiment.draws import drawn_by_user
from lottery_ray.experiment.extensions import CRITERIA, OWN_KINDS, WEIGHT_CRITERIA, Added
from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.nodes import Ticket
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.extending import Importance, add_kind
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import Task
from lottery_ray.networks.batches import pack
from lottery_ray.networks.network import Network, full_gates
from lottery_ray.networks.pruning import prunable
from lottery_ray.networks.weights import initial_network
from lottery_ray.training.micro_batches import MicroBatch
from lottery_ray.training.scoring import example_losses, predict
from lottery_ray.trial.process import prepare
from tests.extensions import MRPC, planned
from tests.folders import bert_config

pytestmark = pytest.mark.usefixtures("nothing_added")


@pytest.fixture
def network(tiny_bert: Callable[..., Network]) -> Network:
    return tiny_bert()


HEADS, MLPS = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool), np.array([1, 0, 1], bool)


def look(network: Network, encoded: Encoded) -> Look:
    accelerator = prepare(Recipe(), cpu=True)
    seen = network, encoded, MRPC, HEADS, MLPS
    _, by_heads, by_mlps = predict_with_gradients(*seen, accelerator)
    return Look(*seen, by_heads, by_mlps, accelerator, np.random.default_rng(0))


def test_a_criterion_gets_every_examples_own_gradients(network: Network, encoded: Encoded) -> None:
    given = look(network, encoded)
    accelerator = prepare(Recipe(), cpu=True)
    logits, expected = predict_with_importance(network, encoded, MRPC, HEADS, MLPS, accelerator, Structured())
    assert given.head_gradients.shape == (7, 3, 4)
    assert given.mlp_gradients.shape == (7, 3)
    heads, mlps = (np.abs(g).mean(axis=0) for g in (given.head_gradients, given.mlp_gradients))
    np.testing.assert_allclose(normalised(heads, np.ones_like(HEADS)), expected.heads, rtol=1e-5)
    np.testing.assert_allclose(mlps, expected.mlps, rtol=1e-5)
    # in the order of the rows
    for row in range(7):
        gates = full_gates(HEADS, MLPS, torch.device("cpu"))
        gates.heads.requires_grad_()
        batch = pack(encoded, np.array([row]))
        (own,) = torch.autograd.grad(
            example_losses(network(batch, gates), batch.labels, MRPC).sum(), gates.heads
        )
        np.testing.assert_allclose(given.head_gradients[row], own[0], rtol=1e-3, atol=1e-5)
    again = predict_with_gradients(network, encoded, MRPC, HEADS, MLPS, accelerator, MicroBatch(2))
    np.testing.assert_allclose(again[0], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(again[1], given.head_gradients, rtol=1e-3, atol=1e-5)


def test_the_gradients_by_weights_are_those_of_the_mean_loss(network: Network, encoded: Encoded) -> None:
    accelerator = prepare(Recipe(), cpu=True)
    rng = np.random.default_rng(0)
    given = WeightLook(network, encoded, MRPC, accelerator, rng, MicroBatch(3))
    found = given.gradients()
    network.requires_grad_(True)
    batch = pack(encoded, np.arange(7))
    example_losses(network(batch), batch.labels, MRPC).mean().backward()
    pool = prunable(network).values()
    expected = torch.cat([p.grad.flatten() for p in pool if p.grad is not None]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(given.weights, torch.cat([p.detach().flatten() for p in pool]).numpy())


def by_activation(given: Look) -> Importance:
    """The mean magnitude of what a head or an MLP adds, where the rest of the mask is gone."""
    network, adapter = given.network, given.network.adapter
    heads, mlps = np.zeros(given.heads.shape), np.zeros(given.mlps.shape)
    width = given.heads.shape[1]
    handles = []
    for number, layer in enumerate(network.layers):

        def head(module: Any, inputs: tuple[Any, ...], output: Any, number: int = number) -> None:
            by_head = inputs[0].abs().unflatten(-1, (width, -1))
            heads[number] += by_head.sum(dim=(0, 1, 3)).numpy()

        def mlp(module: Any, inputs: Any, output: Any, number: int = number) -> None:
            mlps[number] += float(output.abs().sum())

        handles.append(layer.get_submodule(adapter.attention_output).register_forward_hook(head))
        handles.append(layer.get_submodule(adapter.mlp_output).register_forward_hook(mlp))
    gates = full_gates(given.heads, given.mlps, given.accelerator.device)
    predict(network, given.encoded, given.accelerator, gates)
    for handle in handles:
        handle.remove()
    return Importance(heads, mlps)


def by_norm(given: Look) -> Importance:
    """The l2 norm of the output projection's columns of a head, and of an MLP's last matrix."""
    layers: list[Any] = given.network.layers
    adapter = given.network.adapter
    outputs = torch.stack([layer.get_submodule(adapter.attention_output).weight for layer in layers])
    mlps = torch.stack([layer.get_submodule(adapter.mlp_output).weight for layer in layers])
    by_head = outputs.unflatten(-1, (given.heads.shape[1], -1))
    return Importance(by_head.norm(dim=(1, 3)).numpy(), mlps.norm(dim=(1, 2)).numpy())


def at_random(given: Look) -> Importance:
    return Importance(given.rng.random(given.heads.shape), given.rng.random(given.mlps.shape))


@pytest.mark.parametrize("function", [by_activation, by_norm, at_random])
def test_criteria_of_many_sorts_can_be_written(
    network: Network, encoded: Encoded, function: Callable[[Look], Importance]
) -> None:
    CRITERIA["own"] = Added(function, "ab", "here")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found, again = (own_importance("own", "ab", look(network, encoded)) for _ in range(2))
    np.testing.assert_array_equal(found.heads, again.heads)
    assert len(np.unique(found.mlps)) > 1
    if function is by_activation:
        assert (found.heads[~HEADS] == 0).all()
        assert (found.heads[HEADS] > 0).all()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def with_nan(like: np.ndarray) -> np.ndarray:
    found = np.ones(like.shape)
    found.flat[0] = np.nan
    return found


BAD_SCORES: dict[str, tuple[Callable[[Look], Any], str]] = {
    "shape": (lambda look: Importance(look.mlps * 1.0, look.mlps * 1.0), "of heads by the criterion bad are"),
    "NaN": (lambda look: Importance(with_nan(look.heads), look.mlps * 1.0), "are not finite, 1 of them"),
    "no Importance": (lambda look: look.heads, "returned ndarray; it must return Importance"),
}


@pytest.mark.parametrize("what", BAD_SCORES)
def test_scores_that_cannot_rank_are_refused(network: Network, encoded: Encoded, what: str) -> None:
    function, expected = BAD_SCORES[what]
    CRITERIA["bad"] = Added(function, "ab", "here")
    with pytest.raises(ValueError, match=expected):
        own_importance("bad", "ab", look(network, encoded))
    with pytest.raises(InputError, match="not what the study was planned with"):
        own_importance("bad", "cd", look(network, encoded))


def test_scores_of_weights_that_cannot_rank_are_refused(network: Network, encoded: Encoded) -> None:
    accelerator = prepare(Recipe(), cpu=True)
    given = WeightLook(network, encoded, MRPC, accelerator, np.random.default_rng(0), MicroBatch())
    WEIGHT_CRITERIA["bad"] = Added(lambda look: look.weights[1:], "ab", "here")
    with pytest.raises(ValueError, match=r"of weights by the criterion bad are float32 \(\d+,\); they"):
        own_weight_scores("bad", "ab", given)


def test_a_kind_keeps_what_good_keeps_unless_it_says_otherwise() -> None:
    good = masks.structured_mask(HEADS, MLPS)

    def every(goods: Any, rng: Any) -> masks.Mask:
        return tuple(replace(part, kept=np.ones_like(part.kept)) for part in goods[0])

    def draw(function: Any, **options: bool) -> masks.Mask:
        added = Added(function, "ab", "here", **options)
        OWN_KINDS["own"] = added
        return drawn_by_user("own", "ab", (good,), good, np.random.default_rng(0))

    with pytest.raises(ValueError, match=r"keeps 12 of 12 \(heads\), 3 of 3 \(mlp\); good keeps 5 of 12"):
        draw(every)
    assert masks.sizes(draw(every, any_size=True))["heads"] == {"kept": 12, "of": 12}
    with pytest.raises(ValueError, match="of other parts than good's"):
        draw(lambda goods, rng: goods[0][1:], any_size=True)
    with pytest.raises(ValueError, match="returned ndarray; it must return a mask"):
        draw(lambda goods, rng: HEADS)


def test_a_kind_of_every_seed_is_drawn_from_all(place: Path) -> None:
    add_kind("all", every_seed=True)(lambda goods, rng: goods[0])
    with pytest.raises(InputError, match="--kinds all: needs at least two --seeds"):
        planned(place, kinds=("all",))
    found = planned(place, kinds=("all",), seeds=(1, 2)).nodes[-1]
    assert isinstance(found, Ticket)
    assert len(found.sources) == 2


def test_a_classifier_for_other_labels_is_refused_in_words(tmp_path: Path) -> None:
    BertForSequenceClassification(bert_config(labels=2)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"for another number of labels than 3\. Save it without"):
        initial_network(tmp_path, Task("t", "T", ("text",), 3, "accuracy", (0, 2)), 1, "pretrained")
