"""One small trial of a model and task, before all others: does it load, train and score, and how fast?

Its two steps of training are on the task's longest examples, which shows whether they fit into memory. It
leaves no record.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import Accelerator
from transformers import AutoTokenizer

from lottery_ray.criteria.gradient import predict_with_importance
from lottery_ray.experiment.extensions import load_planned
from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.nodes import Finetune, Pretrain
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.data import split_table
from lottery_ray.inputs.encoding import Encoded, encode
from lottery_ray.inputs.models import pre_trained
from lottery_ray.inputs.tables import SPLITS, check_rows, limited
from lottery_ray.inputs.tasks import Task
from lottery_ray.networks.network import Network
from lottery_ray.networks.weights import initial_network
from lottery_ray.scheduling.costs import Calibration
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.store import Store
from lottery_ray.streams import generator
from lottery_ray.training.loop import train
from lottery_ray.training.scoring import SCORED_TOGETHER, predict
from lottery_ray.trial.process import device_name, free_memory, memory_taken, prepare
from lottery_ray.trial.settings import TrialSettings

BATCHES = 6
"""That are timed, of each kind: two, and the rest if those took less than SECONDS."""
SECONDS = 2.0


def run_canary(node: Finetune, settings: TrialSettings) -> Calibration:
    """Measure, as a run of this node that ends early: a failure leaves its traceback there, and is raised."""
    attempt = begin(Store.open(settings.root), node)
    try:
        measured = measure(node, settings)
    except Exception as error:
        attempt.fail(error)
        raise
    shutil.rmtree(attempt.folder)
    return measured


def measure(node: Finetune, settings: TrialSettings) -> Calibration:
    """Train and score with a few examples of this node's task, without a root.

    Raises InputError if the data cannot be used, and FloatingPointError if the logits are not finite.
    """
    try:
        load_planned(settings.extensions)
        return _measured(node, settings)
    finally:
        free_memory()


@dataclass(frozen=True)
class _Trial:
    """What the canary trains and scores."""

    network: Network
    tokenizer: Any
    task: Task
    seed: int
    recipe: Recipe
    accelerator: Accelerator

    def encoded(self, table: pa.Table) -> Encoded:
        return encode(table, self.task, self.tokenizer, self.recipe.max_length)

    def train(self, examples: Encoded) -> None:
        train(self.network, examples, self.task, self.seed, self.recipe, self.accelerator)
        predict(self.network, _part(examples, slice(1)), self.accelerator)

    def score(self, examples: Encoded) -> None:
        predict(self.network, examples, self.accelerator)

    def weigh(self, examples: Encoded) -> None:
        """From here on the weights are frozen."""
        heads = np.ones(self.network.shape, bool)
        method = Structured()
        predict_with_importance(
            self.network, examples, self.task, heads, heads[:, 0], self.accelerator, method
        )


def _measured(node: Finetune, settings: TrialSettings) -> Calibration:
    task, recipe = node.definition, replace(node.recipe, epochs=1)
    accelerator = prepare(recipe, cpu=settings.cpu)
    rows, dev = _tables(node, settings.folders)
    assert not isinstance(node.model, Pretrain)
    folder = pre_trained(node.model, settings.folders)
    network, load = _loaded(node, folder, accelerator)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trial = _Trial(network, tokenizer, task, node.seed, recipe, accelerator)
    longest = trial.encoded(_longest(dev, task, SCORED_TOGETHER))
    try:
        trial.score(longest)
    except FloatingPointError:
        raise FloatingPointError("The model's logits are not finite before any training.") from None
    trial.train(trial.encoded(_longest(rows, task, 2 * recipe.batch_size)))
    begun = time.perf_counter()
    drawn_rows = trial.encoded(_drawn(rows, task, recipe.batch_size))
    drawn_dev = trial.encoded(_drawn(dev, task, SCORED_TOGETHER))
    encode_seconds = (time.perf_counter() - begun) / (len(drawn_rows) + len(drawn_dev))
    train_seconds = _timed(trial.train, drawn_rows, recipe.batch_size)
    trial.weigh(longest)
    return Calibration(
        len(rows) * (1 - node.held_out),
        len(dev),
        load,
        encode_seconds,
        train_seconds,
        _timed(trial.score, drawn_dev, SCORED_TOGETHER),
        _timed(trial.weigh, drawn_dev, SCORED_TOGETHER),
        device_name(accelerator),
        **memory_taken(accelerator),
    )


def _loaded(node: Finetune, folder: Path, accelerator: Accelerator) -> tuple[Network, float]:
    """The network, and how many seconds that took."""
    # the first one imports what it needs
    for _ in range(2):
        begun = time.perf_counter()
        made = initial_network(
            folder, node.definition, node.seed, "random" if node.start == "random" else "pretrained"
        )
        network = accelerator.prepare(made)
    return network, time.perf_counter() - begun


def _tables(node: Finetune, folders: dict[str, str]) -> tuple[pa.Table, pa.Table]:
    """The rows that its trials read, of which none may be unusable."""
    task = node.definition
    rows, dev = (split_table(node.data, task, split, folders) for split in SPLITS)
    for split, table in (("training", rows), ("dev", dev)):
        check_rows(f"The {split} data of {task.title}", table, task)
    return limited(rows, task, node.train_limit), dev


def _longest(table: pa.Table, task: Task, count: int) -> pa.Table:
    """The rows of the most characters, which are those of about the most tokens."""
    characters = sum(pc.utf8_length(table[name]).to_numpy() for name in task.text)
    return table.take(np.argsort(-characters, kind="stable")[:count])


def _drawn(table: pa.Table, task: Task, batch: int) -> pa.Table:
    order = generator("canary", task.name).permutation(len(table))
    return table.take(order[: BATCHES * batch])


def _part(encoded: Encoded, rows: slice) -> Encoded:
    """Some examples of a split, one after the other."""
    ends = encoded.ends[rows]
    start = int(ends[0] - encoded.lengths[rows][0])
    return Encoded(
        encoded.input_ids[start : ends[-1]],
        encoded.segments[start : ends[-1]],
        ends - start,
        encoded.idx[rows],
        encoded.labels[rows],
    )


def _timed(work: Callable[[Encoded], None], encoded: Encoded, batch: int) -> float:
    """Seconds per example."""
    begun, done = time.perf_counter(), 0
    for count in (2, BATCHES - 2):
        if done < len(encoded) and time.perf_counter() - begun < SECONDS:
            part = _part(encoded, slice(done, done + count * batch))
            work(part)
            done += len(part)
    return (time.perf_counter() - begun) / done
