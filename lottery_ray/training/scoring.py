"""Scoring a network: its losses, its logits on a split, its dev score."""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn import functional as F

from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import Task, task_score
from lottery_ray.networks.batches import batches_by_length, pack
from lottery_ray.networks.network import Gates, Network
from lottery_ray.training.micro_batches import MicroBatch, each_once

SCORED_TOGETHER = 64
"""Examples of a batch."""

ByRows = list[tuple[np.ndarray, torch.Tensor]]
"""[(rows, float (b, ...))], on the device until all are there, so that no batch waits for a copy."""


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
    logits: ByRows = []
    micro_batch = micro_batch or MicroBatch()
    for rows in batches_by_length(encoded, SCORED_TOGETHER):
        each_once(rows, micro_batch, _predict, network, encoded, accelerator.device, gates, logits)
    return by_row(logits)


def _predict(
    rows: np.ndarray,
    network: Network,
    encoded: Encoded,
    device: torch.device,
    gates: Gates | None,
    logits: ByRows,
) -> None:
    batch = pack(encoded, rows).to(device)
    logits.append((rows, network(batch, gates).float()))


def by_row(found: ByRows) -> np.ndarray:
    """(n, ...), by row. Raises FloatingPointError if training has diverged."""
    order = np.argsort(np.concatenate([rows for rows, _ in found]))
    ordered: np.ndarray = torch.cat([of_rows for _, of_rows in found]).cpu().numpy()[order]
    if not np.isfinite(ordered).all():
        raise FloatingPointError("The network's logits are not finite: its training has diverged.")
    return ordered


@dataclass(frozen=True)
class DevSet:
    """What a network in training is scored on, and how."""

    encoded: Encoded
    task: Task
    accelerator: Accelerator
    micro_batch: MicroBatch

    def logits(self, network: Network, gates: Gates | None = None) -> np.ndarray:
        """See `predict`."""
        return predict(network, self.encoded, self.accelerator, gates, self.micro_batch)

    def score(self, logits: np.ndarray) -> float:
        """The reported score of logits, (n, classes)."""
        return task_score(self.task.metric, self.encoded.labels, logits)
