"""Per-example importance against a batch-of-one loop and against finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lottery_ray.criteria import gradient as importance
from lottery_ray.criteria.gradient import normalised, predict_with_importance
from lottery_ray.experiment import masks
from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks.batches import pack
from lottery_ray.networks.network import Gates, Network
from lottery_ray.networks.pruning import prune
from lottery_ray.training.scoring import example_losses, predict
from lottery_ray.trial.process import prepare

Make = Callable[..., Network]
HEADS = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
MLPS = np.array([1, 0, 1], bool)


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
def test_importance_equals_a_loop_over_single_examples(tiny_bert: Make, encoded: Encoded, task: str) -> None:
    network = tiny_bert(torch.float64, TASKS[task].labels)
    accelerator = prepare(Recipe(), cpu=True)
    logits, found = predict_with_importance(
        network, encoded, TASKS[task], HEADS, MLPS, accelerator, Structured()
    )
    head_scores, mlp_scores = np.zeros((3, 4)), np.zeros(3)
    for row in range(len(encoded)):
        batch = pack(encoded, np.array([row]))
        gates = Gates(
            torch.tensor(HEADS[None], dtype=torch.float64, requires_grad=True),
            torch.tensor(MLPS[None], dtype=torch.float64, requires_grad=True),
        )
        example_losses(network(batch, gates), batch.labels, TASKS[task]).sum().backward()
        head_scores += gates.heads.grad[0].abs().numpy() / len(encoded)
        mlp_scores += gates.mlps.grad[0].abs().numpy() / len(encoded)
    # the loss is taken in fp32 whatever the network's precision
    assert np.allclose(found.heads, normalised(head_scores, np.ones_like(HEADS)), rtol=1e-5)
    assert np.allclose(found.mlps, mlp_scores, rtol=1e-5)
    assert (found.heads[~HEADS] > 0).all(), "masked heads have a derivative too"
    prune(network, masks.structured_mask(HEADS, MLPS), "gated")
    assert np.allclose(logits, predict(network, encoded, accelerator), atol=1e-6)


def test_derivatives_equal_finite_differences(tiny_bert: Make, encoded: Encoded) -> None:
    network = tiny_bert(torch.float64)
    batch = pack(encoded, np.arange(7))
    gates = Gates(
        torch.ones(7, 3, 4, dtype=torch.float64, requires_grad=True),
        torch.ones(7, 3, dtype=torch.float64, requires_grad=True),
    )
    labels = batch.labels.long()

    def losses(gates: Gates) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(network(batch, gates), labels, reduction="none")

    losses(gates).sum().backward()
    step = 1e-6
    for layer, head in np.ndindex(3, 4):
        up, down = torch.ones(7, 3, 4, dtype=torch.float64), torch.ones(7, 3, 4, dtype=torch.float64)
        up[:, layer, head] += step
        down[:, layer, head] -= step
        with torch.no_grad():
            slope = (losses(Gates(up, gates.mlps)) - losses(Gates(down, gates.mlps))) / (2 * step)
        assert torch.allclose(slope, gates.heads.grad[:, layer, head], atol=1e-7)
    for layer in range(3):
        up, down = torch.ones(7, 3, dtype=torch.float64), torch.ones(7, 3, dtype=torch.float64)
        up[:, layer] += step
        down[:, layer] -= step
        with torch.no_grad():
            slope = (losses(Gates(gates.heads, up)) - losses(Gates(gates.heads, down))) / (2 * step)
        assert torch.allclose(slope, gates.mlps.grad[:, layer], atol=1e-7)


def test_cumulative_importance_is_the_released_loop(
    tiny_bert: Make, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """find_head_mlp_masks.py:84-108 of the paper's repository: mask.grad is never reset."""
    monkeypatch.setattr(importance, "SCORED_TOGETHER", 3)
    network = tiny_bert(torch.float64)
    masks_as_leaves = Gates(
        torch.tensor(HEADS[None], dtype=torch.float64, requires_grad=True),
        torch.tensor(MLPS[None], dtype=torch.float64, requires_grad=True),
    )
    head_scores, mlp_scores = np.zeros((3, 4)), np.zeros(3)
    for start in range(0, len(encoded), 3):
        batch = pack(encoded, np.arange(start, min(start + 3, 7)))
        example_losses(network(batch, masks_as_leaves), batch.labels, TASKS["mrpc"]).mean().backward()
        head_scores += masks_as_leaves.heads.grad[0].abs().numpy()
        mlp_scores += masks_as_leaves.mlps.grad[0].abs().numpy()
    accelerator = prepare(Recipe(), cpu=True)
    found, exact = (
        predict_with_importance(network, encoded, TASKS["mrpc"], HEADS, MLPS, accelerator, method)
        for method in (Structured(importance="cumulative"), Structured())
    )
    assert np.allclose(found[1].heads, normalised(head_scores, np.ones_like(HEADS)), rtol=1e-5)
    assert np.allclose(found[1].mlps / mlp_scores, found[1].mlps[0] / mlp_scores[0], rtol=1e-5)
    assert np.allclose(found[0], exact[0], atol=1e-5), "the logits do not depend on it"
    assert not np.allclose(found[1].heads, exact[1].heads, rtol=0.01)


def test_layers_are_normalised_over_all_heads_or_over_survivors() -> None:
    scores = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert np.allclose(normalised(scores, np.ones((2, 2), bool)), [[0.6, 0.8], [0.0, 0.0]])
    survivors = np.array([[True, False], [True, True]])
    assert np.allclose(normalised(scores, survivors), [[1.0, 4 / 3], [0.0, 0.0]])
