"""Evaluation on the dev set: logits, and the importance of heads and MLPs in the same pass.

Importance is the expected magnitude of the loss's derivative by a component's gate (section 3.2 of the
paper): I = E_x |dL(x)/dgate|, over examples x. Gates have a row per example, so one backward pass with
all weights frozen gives every example's own derivative, exactly.

The paper's released code took the derivative of a batch's mean loss and did not reset it between batches,
which gives sum_t |sum_{i<=t} g_i| over batches of 64 in the order of the file: the protocol "cumulative".
"""

from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn import functional as F

from lottery_ray.experiment.nodes import Structured
from lottery_ray.extending import Importance
from lottery_ray.inputs.tasks import Task
from lottery_ray.networks.batches import Encoded, Packed, batches_by_length, pack
from lottery_ray.networks.weights import Gates, Network, full_gates
from lottery_ray.training.micro_batches import MicroBatch, each_once

BATCH = 64

Logits = list[tuple[np.ndarray, torch.Tensor]]
"""[(rows, float (b, classes))], on the device until all are there, so that no batch waits for a copy."""


Gradients = tuple[torch.Tensor, torch.Tensor]
"""Of a loss by the gates of heads and of MLPs."""


def example_losses(logits: torch.Tensor, labels: torch.Tensor, task: Task) -> torch.Tensor:
    """(B,): cross-entropy, or the squared error of a regression. logits: (B, classes); labels: (B,)."""
    logits = logits.float()
    if task.is_regression:
        return (logits[:, 0] - labels.float()) ** 2
    return F.cross_entropy(logits, labels.long(), reduction="none")


@torch.no_grad()
def predict(
    network: Network,
    encoded: Encoded,
    accelerator: Accelerator,
    gates: Gates | None = None,
    micro_batch: MicroBatch | None = None,
) -> np.ndarray:
    """Logits float32 (n, classes), in the order of `encoded`. network: on its device. gates: in place of the
    network's own. micro_batch: what fits into memory, as far as it is known."""
    network.eval()
    logits: Logits = []

    def evaluate(rows: np.ndarray) -> None:
        batch = pack(encoded, rows).to(accelerator.device)
        logits.append((rows, network(batch, gates).float()))

    micro_batch = micro_batch or MicroBatch()
    for rows in batches_by_length(encoded, BATCH):
        each_once(rows, micro_batch, evaluate)
    return _in_order(logits)


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
    network.eval().requires_grad_(False)
    mask = full_gates(heads, mlps, accelerator.device)
    cumulative = method.importance == "cumulative"
    batches = _in_file_order(encoded) if cumulative else batches_by_length(encoded, BATCH)
    totals = [torch.zeros_like(gate[0], dtype=torch.float64) for gate in (mask.heads, mask.mlps)]
    sums = [torch.zeros_like(total) for total in totals]
    logits: Logits = []

    def evaluate(size: int, rows: np.ndarray) -> None:
        batch = pack(encoded, rows).to(accelerator.device)
        count = 1 if cumulative else len(rows)
        batch_logits, gradients = _by_gates(network, batch, mask, task, count, size if cumulative else 1)
        for number, gradient in enumerate(gradients):
            if cumulative:
                sums[number] += gradient.double()[0]
            else:
                totals[number] += gradient.double().abs().sum(0)
        logits.append((rows, batch_logits))

    micro_batch = micro_batch or MicroBatch()
    for rows in batches:
        each_once(rows, micro_batch, partial(evaluate, len(rows)))
        for total, gradients in zip(totals, sums, strict=True):
            total += gradients.abs()
    head_scores, mlp_scores = ((total / len(encoded)).cpu().numpy() for total in totals)
    over = heads if method.layer_norm == "survivors" else np.ones_like(heads)
    return _in_order(logits), Importance(normalised(head_scores, over), mlp_scores)


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
    network.eval().requires_grad_(False)
    mask = full_gates(heads, mlps, accelerator.device)
    micro_batch = micro_batch or MicroBatch()
    found: tuple[Logits, Logits, Logits] = [], [], []

    def evaluate(rows: np.ndarray) -> None:
        batch = pack(encoded, rows).to(accelerator.device)
        logits, gradients = _by_gates(network, batch, mask, task, len(rows), 1)
        for seen, of_rows in zip(found, (logits, *gradients), strict=True):
            seen.append((rows, of_rows.float()))

    for rows in batches_by_length(encoded, BATCH):
        each_once(rows, micro_batch, evaluate)
    logits, by_heads, by_mlps = map(_in_order, found)
    return logits, by_heads, by_mlps


def _by_gates(
    network: Network, batch: Packed, mask: Gates, task: Task, count: int, size: int
) -> tuple[torch.Tensor, Gradients]:
    """Logits float (B, classes), and the derivatives of the sum of the losses, over `size`, by gates with
    `count` rows: one for each example, or one for all."""
    gates = Gates(
        mask.heads.repeat(count, 1, 1).requires_grad_(), mask.mlps.repeat(count, 1).requires_grad_()
    )
    logits = network(batch, gates)
    loss = example_losses(logits, batch.labels, task).sum() / size
    by_heads, by_mlps = torch.autograd.grad(loss, (gates.heads, gates.mlps))
    return logits.detach().float(), (by_heads, by_mlps)


def _in_file_order(encoded: Encoded) -> list[np.ndarray]:
    return [np.arange(start, min(start + BATCH, len(encoded))) for start in range(0, len(encoded), BATCH)]


def _in_order(logits: Logits) -> np.ndarray:
    """(n, classes), by row. Raises FloatingPointError if training has diverged."""
    order = np.argsort(np.concatenate([rows for rows, _ in logits]))
    ordered: np.ndarray = torch.cat([of_rows for _, of_rows in logits]).cpu().numpy()[order]
    if not np.isfinite(ordered).all():
        raise FloatingPointError("The network's logits are not finite: its training has diverged.")
    return ordered


def normalised(head_scores: np.ndarray, over: np.ndarray) -> np.ndarray:
    """(layers, heads), each layer divided by its l2 norm over these of its heads. over: bool, of the same
    shape; over survivors only, a layer's last head always scores 1, the highest."""
    norms = np.linalg.norm(head_scores * over, axis=1, keepdims=True)
    scaled: np.ndarray = head_scores / (norms + 1e-20)
    return scaled
