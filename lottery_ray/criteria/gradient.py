"""Importance of heads and MLPs by the gradient, in the pass that scores a network.

Importance is the expected magnitude of the loss's derivative by a component's gate (section 3.2 of the
paper): I = E_x |dL(x)/dgate|, over examples x. Gates have a row per example, so one backward pass with
all weights frozen gives every example's own derivative, exactly.

The paper's released code took the derivative of a batch's mean loss and did not reset it between batches,
which gives sum_t |sum_{i<=t} g_i| over batches of 64 in the order of the file: the protocol "cumulative".
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate import Accelerator

from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.search import Importance
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import Task
from lottery_ray.networks.batches import Packed, batches_by_length, pack
from lottery_ray.networks.network import Gates, Network, full_gates
from lottery_ray.training.micro_batches import MicroBatch, each_once
from lottery_ray.training.scoring import SCORED_TOGETHER, ByRows, by_row, example_losses

Gradients = tuple[torch.Tensor, torch.Tensor]
"""Of a loss by the gates of heads and of MLPs."""


@dataclass(frozen=True)
class UnderMask:
    """What examples are scored with: a network on its device, under a mask of gates with one row."""

    network: Network
    encoded: Encoded
    task: Task
    mask: Gates

    @classmethod
    def under(
        cls,
        network: Network,
        encoded: Encoded,
        task: Task,
        heads: np.ndarray,
        mlps: np.ndarray,
        device: torch.device,
    ) -> "UnderMask":
        """heads: bool (layers, heads); mlps: bool (layers,). The network's weights are frozen."""
        network.eval().requires_grad_(False)
        return cls(network, encoded, task, full_gates(heads, mlps, device))

    def batch(self, rows: np.ndarray) -> Packed:
        """Of these rows, on the network's device."""
        return pack(self.encoded, rows).to(self.mask.heads.device)


@dataclass
class _Sums:
    """Over examples. Of heads (layers, heads) and of MLPs (layers,), float64.

    magnitudes: of gradients; gradients: themselves, of which cumulative importance takes the magnitude after
    every batch. logits: as they came.
    """

    magnitudes: list[torch.Tensor]
    gradients: list[torch.Tensor]
    logits: ByRows = field(default_factory=list)


def predict_with_importance(
    network: Network,
    encoded: Encoded,
    task: Task,
    heads: np.ndarray,
    mlps: np.ndarray,
    accelerator: Accelerator,
    method: Structured,
    micro_batch: MicroBatch | None = None,
) -> tuple[np.ndarray, Importance]:
    """Logits float32 (n, classes) of the network under a mask, and the importance of all components, also
    of masked ones. network: on its device. heads: bool (layers, heads); mlps: bool (layers,). method: which
    importance, and what heads are normalised over. micro_batch: what fits into memory, as far as it is known;
    the batches of cumulative importance stay what they are."""
    scored = UnderMask.under(network, encoded, task, heads, mlps, accelerator.device)
    micro_batch = micro_batch or MicroBatch()
    none = [torch.zeros_like(gate[0], dtype=torch.float64) for gate in (scored.mask.heads, scored.mask.mlps)]
    sums = _Sums(none, [total.clone() for total in none])
    if method.importance == "cumulative":
        for rows in _in_file_order(encoded):
            each_once(rows, micro_batch, _add_gradients, scored, sums, len(rows))
            for total, gradient in zip(sums.magnitudes, sums.gradients, strict=True):
                total += gradient.abs()
    else:
        for rows in batches_by_length(encoded, SCORED_TOGETHER):
            each_once(rows, micro_batch, _add_magnitudes, scored, sums)
    head_scores, mlp_scores = ((total / len(encoded)).cpu().numpy() for total in sums.magnitudes)
    over = heads if method.layer_norm == "survivors" else np.ones_like(heads)
    return by_row(sums.logits), Importance(normalised(head_scores, over), mlp_scores)


def _add_magnitudes(rows: np.ndarray, scored: UnderMask, sums: _Sums) -> None:
    """Of every example's own gradient."""
    logits, gradients = _by_gates(scored, scored.batch(rows), len(rows), 1)
    for total, gradient in zip(sums.magnitudes, gradients, strict=True):
        total += gradient.double().abs().sum(0)
    sums.logits.append((rows, logits))


def _add_gradients(rows: np.ndarray, scored: UnderMask, sums: _Sums, size: int) -> None:
    """Of the mean loss of a batch of this size, to which these rows contribute."""
    logits, gradients = _by_gates(scored, scored.batch(rows), 1, size)
    for total, gradient in zip(sums.gradients, gradients, strict=True):
        total += gradient.double()[0]
    sums.logits.append((rows, logits))


def predict_with_gradients(
    network: Network,
    encoded: Encoded,
    task: Task,
    heads: np.ndarray,
    mlps: np.ndarray,
    accelerator: Accelerator,
    micro_batch: MicroBatch | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits float32 (n, classes) of the network under a mask, and the derivatives of every example's loss by
    every gate, those of masked ones too, float32 (n, layers, heads) and (n, layers): all in the order of
    `encoded`."""
    scored = UnderMask.under(network, encoded, task, heads, mlps, accelerator.device)
    micro_batch = micro_batch or MicroBatch()
    found: tuple[ByRows, ByRows, ByRows] = [], [], []
    for rows in batches_by_length(encoded, SCORED_TOGETHER):
        each_once(rows, micro_batch, _add_each, scored, found)
    logits, by_heads, by_mlps = map(by_row, found)
    return logits, by_heads, by_mlps


def _add_each(rows: np.ndarray, scored: UnderMask, found: tuple[ByRows, ByRows, ByRows]) -> None:
    logits, gradients = _by_gates(scored, scored.batch(rows), len(rows), 1)
    for seen, of_rows in zip(found, (logits, *gradients), strict=True):
        seen.append((rows, of_rows.float()))


def _by_gates(scored: UnderMask, batch: Packed, count: int, size: int) -> tuple[torch.Tensor, Gradients]:
    """Logits float (B, classes), and the derivatives of the sum of the losses, over `size`, by gates with
    `count` rows: one for each example, or one for all."""
    gates = Gates(
        scored.mask.heads.repeat(count, 1, 1).requires_grad_(),
        scored.mask.mlps.repeat(count, 1).requires_grad_(),
    )
    logits = scored.network(batch, gates)
    loss = example_losses(logits, batch.labels, scored.task).sum() / size
    by_heads, by_mlps = torch.autograd.grad(loss, (gates.heads, gates.mlps))
    return logits.detach().float(), (by_heads, by_mlps)


def _in_file_order(encoded: Encoded) -> list[np.ndarray]:
    every = np.arange(len(encoded))
    return np.split(every, every[SCORED_TOGETHER::SCORED_TOGETHER])


def normalised(head_scores: np.ndarray, over: np.ndarray) -> np.ndarray:
    """(layers, heads), each layer divided by its l2 norm over these of its heads. over: bool, of the same
    shape; over survivors only, a layer's last head always scores 1, the highest."""
    norms = np.linalg.norm(head_scores * over, axis=1, keepdims=True)
    scaled: np.ndarray = head_scores / (norms + 1e-20)
    return scaled
