"""The training loop: the paper's recipe, on packed batches."""

import numpy as np
import torch
from accelerate import Accelerator
from transformers import get_linear_schedule_with_warmup

from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import Task
from lottery_ray.networks.batches import pack
from lottery_ray.networks.network import Network
from lottery_ray.streams import generator, seed
from lottery_ray.training.checkpoints import Checkpoints
from lottery_ray.training.curves import Curves
from lottery_ray.training.micro_batches import MicroBatch, all_or_none
from lottery_ray.training.scoring import example_losses
from lottery_ray.training.vocabulary import only_what_occurs


def train(
    network: Network,
    encoded: Encoded,
    task: Task,
    node_seed: int,
    recipe: Recipe,
    accelerator: Accelerator,
    checkpoints: Checkpoints | None = None,
    curves: Curves | None = None,
) -> None:
    """Train in place by the recipe; every batch is a uniform draw from what is left of the epoch.

    Data order and dropout come from (task, seed, stream, step), so that a network and its tickets see
    the same. network: on its device. checkpoints: where to go on from, and to leave some. curves: who is told
    how it goes.

    A step's batch may be cut into micro-batches, from where memory has run out. The gradient is that of the
    whole batch, to rounding. Dropout is drawn by the place in the batch that a part begins at; with dropout,
    a batch cut otherwise is thus another draw of the same training.
    """
    with only_what_occurs(network, encoded, recipe) as vocabulary:
        encoded = vocabulary.encoded
        per_epoch = -(-len(encoded) // recipe.batch_size)
        steps = per_epoch * recipe.epochs
        adamw = _adamw(network, recipe)
        optimizer = accelerator.prepare(adamw)
        start = checkpoints.restore(network, optimizer) if checkpoints else 0
        micro_batch = checkpoints.micro_batch if checkpoints else MicroBatch()
        schedule = get_linear_schedule_with_warmup(adamw, round(recipe.warmup * steps), steps, start - 1)
        masked = [(network.get_parameter(name), kept) for name, kept in network.weight_masks.items()]
        network.train()
        for step in range(start, steps):
            if checkpoints and step > start:
                checkpoints.keep(step, network, optimizer)
            epoch, number = divmod(step, per_epoch)
            if number == 0 or step == start:
                order = generator(task.name, node_seed, "order", epoch).permutation(len(encoded))
            rows = order[number * recipe.batch_size : (number + 1) * recipe.batch_size]
            stream = (task.name, node_seed, "dropout", step)
            batch = network, encoded, rows, task, stream, accelerator, curves
            all_or_none(np.arange(len(rows)), micro_batch, optimizer.zero_grad, _backward, *batch)
            for parameter, kept in masked:
                # before the clip, as torch.nn.utils.prune does, so that pruned weights do not count in it
                assert parameter.grad is not None
                parameter.grad.mul_(kept)
            accelerator.clip_grad_norm_(network.parameters(), recipe.clip)
            optimizer.step()
            if curves:
                curves.after(step, steps, schedule.get_last_lr()[0])
            schedule.step()
            optimizer.zero_grad()
            if curves and curves.scores_epochs and number + 1 == per_epoch and step + 1 < steps:
                with vocabulary.whole():
                    curves.after_epoch(network)
                network.train()


def _adamw(network: Network, recipe: Recipe) -> torch.optim.AdamW:
    # a layer without heads leaves an empty weight
    trained = [p for p in network.parameters() if p.requires_grad and p.numel()]
    return torch.optim.AdamW(
        [{"params": trained, "initial_lr": recipe.learning_rate}],
        recipe.learning_rate,
        eps=1e-8,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def _backward(
    places: np.ndarray,
    network: Network,
    encoded: Encoded,
    rows: np.ndarray,
    task: Task,
    stream: tuple[str | int, ...],
    accelerator: Accelerator,
    curves: Curves | None,
) -> None:
    """Add the gradient of a part of a batch to that of its weights.

    places: int64 (n,), which of the batch's rows. rows: int64 (B,). stream: that dropout is drawn from.
    """
    first = int(places[0])
    _seed_dropout(seed(*stream, *([first] if first else [])), accelerator.device)
    batch = pack(encoded, rows[places]).to(accelerator.device)
    losses = example_losses(network(batch), batch.labels, task)
    accelerator.backward(losses.sum() / len(rows))
    if curves:
        curves.add(losses)


def _seed_dropout(value: int, device: torch.device) -> None:
    """torch.manual_seed seeds all devices, and where CUDA was not used yet it keeps a traceback of every call
    until it is."""
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
    else:
        torch.default_generator.manual_seed(value)
