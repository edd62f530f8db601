"""Dropout's own draws have its distribution, and every network draws them so."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lottery_ray.inputs.encoding import Encoded
from lottery_ray.networks.batches import pack
from lottery_ray.networks.dropout import Dropout, dropout
from lottery_ray.networks.network import Network


@pytest.mark.parametrize("p", [0.1, 0.5, 0.0001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_elements_are_zero_with_its_probability_and_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    count = 3_000_001
    found = dropout(torch.ones(count, dtype=dtype), p)
    zeros = int((found == 0).sum())
    assert stats.binomtest(zeros, count, p).pvalue > 0.01
    expected = torch.tensor(1 / (1 - p), dtype=dtype)
    assert (found[found != 0] - expected).abs().max() <= torch.finfo(dtype).eps * expected


def test_neighbours_are_independent() -> None:
    # two of them come from one number of the generator
    torch.manual_seed(1)
    zero = (dropout(torch.ones(2_000_000), 0.3) == 0).numpy().reshape(-1, 2)
    table = [
        [int(((zero[:, 0] == a) & (zero[:, 1] == b)).sum()) for b in (False, True)] for a in (False, True)
    ]
    assert stats.chi2_contingency(np.array(table)).pvalue > 0.01


def test_a_seed_names_its_draws_and_shapes_may_be_any() -> None:
    x = torch.randn(3, 5, 7)
    draws = []
    for number in (1, 1, 2):
        torch.manual_seed(number)
        draws.append(dropout(x, 0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(dropout(x, 0.0), x)
    assert not dropout(x, 1.0).any()
    assert dropout(x.transpose(0, 2), 0.5).shape == (7, 5, 3)


def test_gradients_flow_through_what_is_left() -> None:
    x = torch.ones(1000, requires_grad=True)
    found = dropout(x, 0.25)
    found.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, found.detach())


def test_all_of_a_network_draws_so_and_only_in_training(
    tiny_bert: Callable[..., Network], encoded: Encoded
) -> None:
    network = tiny_bert(dropout=0.5)
    kinds = {type(module) for module in network.modules() if isinstance(module, nn.Dropout)}
    assert kinds == {Dropout}
    batch = pack(encoded, np.arange(7))
    assert torch.equal(network(batch), network(batch))
    network.train()
    assert not torch.equal(network(batch), network(batch))
