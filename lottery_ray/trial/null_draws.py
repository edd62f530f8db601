"""The pruned scores of many random masks of a good mask's size, without any training."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lottery_ray.experiment import masks
from lottery_ray.experiment.draws import draw_mask
from lottery_ray.experiment.masks import Mask
from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.nodes import NullDraws
from lottery_ray.networks.network import Network, full_gates
from lottery_ray.networks.pruning import prunable, prune_weights
from lottery_ray.streams import generator
from lottery_ray.training.scoring import DevSet
from lottery_ray.trial.good_masks import good_mask
from lottery_ray.trial.work import Work


def null_draws_node(node: NullDraws, work: Work) -> dict[str, Any]:
    """The result of `NullDraws.columns`; leaves the masks of heads and MLPs."""
    good = good_mask(node.source, node.size, work)
    dev = work.scored_on(node.finetune, "dev", node.finetune.recipe)
    network = work.fine_tuned(node.finetune)
    # a larger number of draws adds to a smaller one
    stream = replace(node, draws=1).key
    drawn: Iterable[Mask] = (
        draw_mask(node.kind, (good,), generator("mask", stream, number)) for number in range(node.draws)
    )
    if isinstance(node.source.method, Structured):
        # masks of weights are large, and follow from their names
        drawn = list(drawn)
        work.write_masks("nulls.arrow", drawn, "number")
    of_good = dev.score(_logits_under(network, good, dev))
    scores = []
    for number, mask in enumerate(drawn):
        scores.append(dev.score(_logits_under(network, mask, dev)))
        work.run.log({"score": scores[-1]}, number)
    return {
        "good": of_good,
        "scores": scores,
        "sizes": masks.sizes(good),
        "dev_examples": len(dev.encoded),
    }


def _logits_under(network: Network, mask: Mask, dev: DevSet) -> np.ndarray:
    """Logits of the network under a mask; it is whole again afterwards."""
    if mask[0].component != "weight":
        gates = full_gates(masks.heads(mask), masks.mlps(mask), dev.accelerator.device)
        return dev.logits(network, gates)
    whole = {name: parameter.detach().clone() for name, parameter in prunable(network).items()}
    prune_weights(network, mask)
    logits = dev.logits(network)
    with torch.no_grad():
        for name, parameter in prunable(network).items():
            parameter.copy_(whole[name])
    return logits
