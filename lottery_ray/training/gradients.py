"""The gradient of a batch that several processes share, each in micro-batches where its memory is short.

Accelerate's own way (DistributedDataParallel) averages over processes, whatever their shares, and sums while
the backward pass runs, so that a process which runs out of memory in it would leave the others waiting. Here
each process finishes its share first. The sum is taken by accelerator.reduce, and is the same bit by bit
in each process, so that their weights stay equal.
"""

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator

from lottery_ray.training.micro_batches import MicroBatch, all_or_none


def whole_gradient(
    trained: list[torch.nn.Parameter],
    examples: int,
    backward: Callable[[np.ndarray], None],
    accelerator: Accelerator,
    micro_batch: MicroBatch,
) -> None:
    """Leave the gradient of a batch of so many examples in the parameters, which have none yet.

    backward: adds what the examples at these places of the batch, int64 (n,), contribute.
    """

    def undo() -> None:
        for parameter in trained:
            parameter.grad = None

    own = np.array_split(np.arange(examples), accelerator.num_processes)[accelerator.process_index]
    # where there are fewer examples than processes, some take one that does not count, since all processes
    # must have gradients of the same parameters
    all_or_none(own if own.size else np.zeros(1, int), micro_batch, backward, undo)
    if accelerator.num_processes > 1:
        _sum_over_processes(trained, accelerator, counts=own.size > 0)


def _sum_over_processes(trained: list[torch.nn.Parameter], accelerator: Accelerator, counts: bool) -> None:
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    own = torch.cat([gradient.flatten() for gradient in gradients]) * counts
    total = accelerator.reduce(own, "sum").split([gradient.numel() for gradient in gradients])
    for gradient, summed in zip(gradients, total, strict=True):
        gradient.copy_(summed.view_as(gradient))
