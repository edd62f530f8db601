"""Per-example importance against a batch-of-one loop and against finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lottery_ray import masks, models
from lottery_ray.data import Encoded, pack
from lottery_ray.importance import example_losses, normalised, predict, predict_with_importance
from lottery_ray.models import Gates, Network
from lottery_ray.tasks import TASKS

Make = Callable[..., Network]
HEADS = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
MLPS = np.array([1, 0, 1], bool)


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
def test_importance_equals_a_loop_over_single_examples(tiny_bert: Make, encoded: Encoded, task: str) -> None:
    network = tiny_bert(torch.float64, TASKS[task].labels)
    accelerator = models.accelerator("fp32", cpu=True)
    logits, importance = predict_with_importance(network, encoded, TASKS[task], HEADS, MLPS, accelerator)
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
    assert np.allclose(importance.heads, normalised(head_scores), rtol=1e-5)
    assert np.allclose(importance.mlps, mlp_scores, rtol=1e-5)
    assert (importance.heads[~HEADS] > 0).all(), "masked heads have a derivative too"
    models.prune(network, masks.structured_mask(HEADS, MLPS), "gated")
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


def test_layers_are_normalised_over_all_heads() -> None:
    scores = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert np.allclose(normalised(scores), [[0.6, 0.8], [0.0, 0.0]])
