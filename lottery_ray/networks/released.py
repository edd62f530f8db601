"""What the paper's released code did to structured tickets beyond pruning them, as a choice with a name."""

import numpy as np
import torch

from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import Mask
from lottery_ray.networks.network import Network, linears


def lose_output_bias(network: Network, mask: Mask) -> None:
    """A layer without heads loses the bias of its output projection for good (protocol 2.4)."""
    _lose_output(network, masks.heads(mask).sum(axis=1) == 0)


def reload(network: Network, mask: Mask) -> None:
    """Re-loading a retrained network lost the whole attention of layers with exactly half of their heads
    pruned (protocol 6.2)."""
    heads = masks.heads(mask)
    _lose_output(network, 2 * heads.sum(axis=1) == heads.shape[1])


@torch.no_grad()
def _lose_output(network: Network, layers: np.ndarray) -> None:
    """layers: bool (layers,)."""
    for number in np.flatnonzero(layers):
        layer = network.layers[number]
        (output,) = linears(layer, (network.adapter.attention_output,)).values()
        for parameter in output.parameters():
            parameter.zero_().requires_grad_(False)
