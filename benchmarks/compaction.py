"""Retraining a compacted structured ticket, against the same ticket gated.

python -m benchmarks.compaction

A network of BERT-base's shape with random weights, half of its heads and of its MLPs pruned at random,
trained on random tokens in examples of MRPC's lengths. The promise is the ratio of the two trainings' FLOPs,
as torch counts them; the result is the share of it that the measured ratio keeps.
"""

from collections.abc import Callable

import numpy as np
import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification

from benchmarks import measurement
from benchmarks.words import all_words
from lottery_ray.experiment import masks
from lottery_ray.experiment.recipe import Layout, Recipe
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks.network import Network
from lottery_ray.networks.packing import PACKED
from lottery_ray.networks.pruning import prune
from lottery_ray.training.loop import train
from lottery_ray.trial.process import prepare

TASK = TASKS["mrpc"]
MEAN, SD = 53, 14
"""Tokens of MRPC's examples."""


def examples(number: int, mean: float = MEAN) -> Encoded:
    rng = np.random.default_rng(1)
    lengths = rng.normal(mean, SD * mean / MEAN, number).clip(4, 128).astype(np.int64)
    tokens = rng.integers(1000, 30_000, lengths.sum())
    return Encoded(
        tokens, np.zeros_like(tokens), lengths.cumsum(), np.arange(number), rng.integers(0, 2, number) * 1.0
    )


def half() -> masks.Mask:
    """Half of the heads and half of the MLPs."""
    rng = np.random.default_rng(1)
    heads, mlps = np.arange(144) % 2 == 0, np.arange(12) % 2 == 0
    return masks.structured_mask(rng.permutation(heads).reshape(12, 12), rng.permutation(mlps))


def training(layout: Layout, encoded: Encoded, batch_size: int) -> Callable[[], None]:
    """One epoch with the ticket in this layout, ready to run."""
    torch.manual_seed(1)
    accelerator = prepare(Recipe(), cpu=not torch.cuda.is_available())
    model = BertForSequenceClassification._from_config(BertConfig(), attn_implementation=PACKED)
    network = Network(model)
    prune(network, half(), layout)
    recipe = Recipe(epochs=1, batch_size=batch_size)
    prepared = accelerator.prepare(network)

    def run() -> None:
        with all_words():
            train(prepared, encoded, TASK, 1, recipe, accelerator)

    return run


def flops(run: Callable[[], None]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def main(steps: int = 2, batch_size: int = 32, number: int = 3) -> None:
    """Time retraining.

    Args:
        steps: Of each training.
        batch_size: Examples per step.
        number: How many rounds.
    """
    torch.set_num_threads(1)
    encoded = examples(steps * batch_size)
    layouts: tuple[Layout, Layout] = ("compacted", "gated")
    compacted, gated = (flops(training(layout, encoded, batch_size)) for layout in layouts)
    promise = gated / compacted
    works = [
        lambda layout=layout: measurement.cpu_seconds(training(layout, encoded, batch_size))
        for layout in layouts
    ]
    ours, theirs = measurement.rounds(works, number).T
    kept = measurement.ratio(
        f"retraining a compacted ticket, share of its FLOPs' {promise:.2f} times",
        "gated",
        ours * promise,
        theirs,
        0.95,
    )
    measurement.show("Compaction", [kept])
    measurement.keep([kept])


if __name__ == "__main__":
    tyro.cli(main)
