"""Criteria of users' own (`extending`): what they are given, and the refusal of what cannot rank."""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from lottery_ray.experiment.extensions import CRITERIA, WEIGHT_CRITERIA, added
from lottery_ray.experiment.search import Importance
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import Task
from lottery_ray.networks.batches import batches_by_length, pack
from lottery_ray.networks.network import Network
from lottery_ray.networks.pruning import prunable
from lottery_ray.training.micro_batches import MicroBatch, each_once
from lottery_ray.training.scoring import SCORED_TOGETHER, example_losses


@dataclass(frozen=True)
class Look:
    """What a criterion of heads and MLPs is given at each step of a search, for a network of that mask.

    network: fine-tuned and whole, on its device: it is pruned by gates (`full_gates`). encoded: the
    n examples that score the search. heads: bool (layers, heads); mlps: bool (layers,): what is left.
    head_gradients: float32 (n, layers, heads), mlp_gradients: float32 (n, layers): of every example's loss by
    every gate, those of masked ones too. rng: a stream of the search's own.
    """

    network: Network
    encoded: Encoded
    task: Task
    heads: np.ndarray
    mlps: np.ndarray
    head_gradients: np.ndarray
    mlp_gradients: np.ndarray
    accelerator: Accelerator
    rng: np.random.Generator


@dataclass(frozen=True)
class WeightLook:
    """What a criterion of weights is given, once in a search, of the fine-tuned network.

    network: on its device. encoded: the n examples that score the search. rng: a stream of the search's own.
    micro_batch: what fits into memory, as far as it is known.
    """

    network: Network
    encoded: Encoded
    task: Task
    accelerator: Accelerator
    rng: np.random.Generator
    micro_batch: MicroBatch

    @property
    def weights(self) -> np.ndarray:
        """float32 (weights,): the prunable ones, tensor after tensor as `pruning.prunable` has them."""
        return _flat([parameter.detach() for parameter in prunable(self.network).values()])

    def gradients(self) -> np.ndarray:
        """float32 (weights,): of the examples' mean loss, in the same order, without dropout."""
        parameters = list(prunable(self.network).values())
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        self.network.eval().requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        for rows in batches_by_length(self.encoded, SCORED_TOGETHER):
            each_once(rows, self.micro_batch, self._add, parameters, sums)
        return _flat(sums) / len(self.encoded)

    def _add(self, rows: np.ndarray, parameters: list[nn.Parameter], sums: list[torch.Tensor]) -> None:
        batch = pack(self.encoded, rows).to(self.accelerator.device)
        loss = example_losses(self.network(batch), batch.labels, self.task).sum()
        for total, gradient in zip(sums, torch.autograd.grad(loss, parameters), strict=True):
            total += gradient


def _flat(tensors: list[torch.Tensor]) -> np.ndarray:
    found: np.ndarray = torch.cat([tensor.flatten().float() for tensor in tensors]).cpu().numpy()
    return found


def own_importance(name: str, sha256: str | None, look: Look) -> Importance:
    """By a user's own criterion. Raises ValueError, in words, if what it returns cannot rank."""
    found = added(CRITERIA, name, sha256).function(look)
    if not isinstance(found, Importance):
        raise ValueError(f"The criterion {name} returned {type(found).__name__}; it must return Importance.")
    return Importance(
        *(
            _checked(f"{part} by the criterion {name}", values, kept.shape)
            for part, values, kept in (("heads", found.heads, look.heads), ("mlps", found.mlps, look.mlps))
        )
    )


def own_weight_scores(name: str, sha256: str | None, look: WeightLook) -> np.ndarray:
    """float32 (weights,), by a user's own criterion. Raises ValueError, in words, if what it returns cannot
    rank."""
    found = added(WEIGHT_CRITERIA, name, sha256).function(look)
    scores = _checked(f"weights by the criterion {name}", found, look.weights.shape, np.float32)
    look.network.zero_grad()
    look.network.eval().requires_grad_(False)
    return scores


def _checked(what: str, values: object, shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
    found = np.asarray(values)
    if found.shape != shape or not np.issubdtype(found.dtype, np.number):
        raise ValueError(f"The scores of {what} are {found.dtype} {found.shape}; they must be float {shape}.")
    found = found.astype(dtype)
    if not np.isfinite(found).all():
        count = np.count_nonzero(~np.isfinite(found))
        raise ValueError(f"The scores of {what} are not finite, {count} of them.")
    return found
