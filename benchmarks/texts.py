"""Examples of tasks: real ones from a folder, or random ones of given lengths."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from benchmarks import compaction
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.data import FolderData, data_sha256, split_table
from lottery_ray.inputs.encoding import Encoded, encode
from lottery_ray.inputs.tables import data_files
from lottery_ray.inputs.tasks import GLUE, Task


@dataclass(frozen=True)
class Text:
    """Some examples of a task. encode: seconds that tokenising one of them took; 0 of random ones."""

    task: Task
    encoded: Encoded
    encode: float = 0.0


def drawn(lengths: Mapping[str, float], number: int) -> dict[str, Text]:
    """Random ones. lengths: {task: mean tokens}."""
    return {name: Text(GLUE[name], compaction.examples(number, mean)) for name, mean in lengths.items()}


def real(folder: Path, model: Path, number: int) -> dict[str, Text]:
    """Of every task that the folder has, in the tokens of this model."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer("what the first call makes ready")
    tasks = [
        task for task in GLUE.values() if all(path.exists() for path in data_files(folder, task).values())
    ]
    return {task.name: _real(folder, task, tokenizer, number) for task in tasks}


def _real(folder: Path, task: Task, tokenizer: object, number: int) -> Text:
    sha256 = data_sha256(folder, task)
    table = split_table(FolderData(sha256), task, "train", {sha256: str(folder)})
    rows = table.take(np.random.default_rng(1).permutation(len(table))[:number])
    begun = time.perf_counter()
    encoded = encode(rows, task, tokenizer, Recipe.max_length)
    return Text(task, encoded, (time.perf_counter() - begun) / len(rows))
