"""Evaluation on the dev set: logits, and the importance of heads and MLPs in the same pass.

Importance is the expected magnitude of the loss's derivative by a component's gate (section 3.2 of the
paper): I = E_x |dL(x)/dgate|, over examples x. Gates have a row per example, so one backward pass with
all weights frozen gives every example's own derivative, exactly. The paper's released code took it per
batch and did not reset it between batches (protocol "cumulative").
"""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn import functional as F

from lottery_ray.data import Encoded, batches_by_length, pack
from lottery_ray.models import Gates, Network, full_gates
from lottery_ray.tasks import Task

BATCH = 64


@dataclass(frozen=True)
class Importance:
    """heads: float64 (layers, heads), each layer divided by its l2 norm over all its heads, masked ones
    included; mlps: float64 (layers,)."""

    heads: np.ndarray
    mlps: np.ndarray


def example_losses(logits: torch.Tensor, labels: torch.Tensor, task: Task) -> torch.Tensor:
    """(B,): cross-entropy, or the squared error of a regression. logits: (B, classes); labels: (B,)."""
    logits = logits.float()
    if task.is_regression:
        return (logits[:, 0] - labels.float()) ** 2
    return F.cross_entropy(logits, labels.long(), reduction="none")


@torch.no_grad()
def predict(network: Network, encoded: Encoded, accelerator: Accelerator) -> np.ndarray:
    """Logits float32 (n, classes), in the order of `encoded`."""
    network = accelerator.prepare(network).eval()
    logits: dict[int, np.ndarray] = {}
    for rows in batches_by_length(encoded, BATCH):
        batch = pack(encoded, rows).to(accelerator.device)
        logits |= dict(zip(rows.tolist(), network(batch).float().cpu().numpy(), strict=True))
    return _in_order(logits)


def predict_with_importance(
    network: Network,
    encoded: Encoded,
    task: Task,
    heads: np.ndarray,
    mlps: np.ndarray,
    accelerator: Accelerator,
) -> tuple[np.ndarray, Importance]:
    """Logits float32 (n, classes) of the network under a mask, and the importance of all components, also
    of masked ones. heads: bool (layers, heads); mlps: bool (layers,)."""
    network = accelerator.prepare(network).eval().requires_grad_(False)
    mask = full_gates(heads, mlps, accelerator.device)
    head_sum = torch.zeros(heads.shape, dtype=torch.float64, device=accelerator.device)
    mlp_sum = torch.zeros(mlps.shape, dtype=torch.float64, device=accelerator.device)
    logits: dict[int, np.ndarray] = {}
    for rows in batches_by_length(encoded, BATCH):
        batch = pack(encoded, rows).to(accelerator.device)
        gates = Gates(
            mask.heads.repeat(len(rows), 1, 1).requires_grad_(),
            mask.mlps.repeat(len(rows), 1).requires_grad_(),
        )
        batch_logits = network(batch, gates)
        loss = example_losses(batch_logits, batch.labels, task).sum()
        by_head, by_mlp = torch.autograd.grad(loss, (gates.heads, gates.mlps))
        head_sum += by_head.double().abs().sum(0)
        mlp_sum += by_mlp.double().abs().sum(0)
        logits |= dict(zip(rows.tolist(), batch_logits.detach().float().cpu().numpy(), strict=True))
    importance = Importance(
        normalised((head_sum / len(encoded)).cpu().numpy()), (mlp_sum / len(encoded)).cpu().numpy()
    )
    return _in_order(logits), importance


def _in_order(logits: dict[int, np.ndarray]) -> np.ndarray:
    """{row: (classes,)} as (n, classes). Raises FloatingPointError if training has diverged."""
    ordered = np.stack([logits[row] for row in range(len(logits))])
    if not np.isfinite(ordered).all():
        raise FloatingPointError("The network's logits are not finite: its training has diverged.")
    return ordered


def normalised(head_scores: np.ndarray) -> np.ndarray:
    """(layers, heads), each layer divided by its l2 norm over all its heads. Over survivors only, a
    layer's last head would always score highest."""
    norms = np.linalg.norm(head_scores, axis=1, keepdims=True)
    scaled: np.ndarray = head_scores / (norms + 1e-20)
    return scaled
