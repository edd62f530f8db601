"""One small trial of a model and task, before all others: does it load, train and score, and how fast?

Its two steps of training are on the task's longest examples, which shows whether they fit into memory. It
leaves no record.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import AutoTokenizer

from lottery_ray.criteria.gradient import BATCH, predict, predict_with_importance
from lottery_ray.experiment.nodes import Finetune, Pretrain, Structured
from lottery_ray.extending import Extension, load_planned
from lottery_ray.inputs.rows import limited
from lottery_ray.inputs.sources import check_rows
from lottery_ray.inputs.tasks import Task
from lottery_ray.networks import batches as data
from lottery_ray.networks import weights as models
from lottery_ray.scheduling.calibration import Calibration
from lottery_ray.storage.store import Store
from lottery_ray.streams import generator
from lottery_ray.training.loop import train
from lottery_ray.trial import node as trial
from lottery_ray.trial.work import pre_trained

BATCHES = 6
"""That are timed, of each kind: two, and the rest if those took less than SECONDS."""
SECONDS = 2.0


def run(
    node: Finetune,
    root: str,
    folders: dict[str, str],
    *,
    cpu: bool,
    extensions: tuple[Extension, ...] = (),
) -> Calibration:
    """Measure, as a run of this node that ends early: a failure leaves its traceback there, and is raised."""
    attempt = Store.open(root).begin(node)
    try:
        measured = measure(node, folders, cpu=cpu, extensions=extensions)
    except Exception as error:
        attempt.fail(error)
        raise
    shutil.rmtree(attempt.folder)
    return measured


def measure(
    node: Finetune, folders: dict[str, str], *, cpu: bool, extensions: tuple[Extension, ...] = ()
) -> Calibration:
    """Train and score with a few examples of this node's task, without a root.

    Raises InputError if the data cannot be used, and FloatingPointError if the logits are not finite.
    """
    try:
        load_planned(extensions)
        return _measure(node, folders, cpu)
    finally:
        trial.free_memory()


def _measure(node: Finetune, folders: dict[str, str], cpu: bool) -> Calibration:
    assert not isinstance(node.model, Pretrain)
    task, recipe = node.definition, replace(node.recipe, epochs=1)
    accelerator = trial.prepare(recipe, cpu=cpu)
    rows, dev = _tables(node, folders)
    folder = pre_trained(node.model, folders)
    # the first one imports what it needs
    for _ in range(2):
        begun = time.perf_counter()
        network = models.initial(
            folder, task, node.seed, "random" if node.start == "random" else "pretrained"
        )
        network = accelerator.prepare(network)
        load = time.perf_counter() - begun
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def encoded(table: pa.Table) -> data.Encoded:
        return data.encode(table, task, tokenizer, recipe.max_length)

    def trained(examples: data.Encoded) -> None:
        train(network, examples, task, node.seed, recipe, accelerator)
        predict(network, _part(examples, slice(1)), accelerator)

    def scored(examples: data.Encoded) -> None:
        predict(network, examples, accelerator)

    def weighed(examples: data.Encoded) -> None:
        whole = np.ones(network.shape, bool)
        predict_with_importance(network, examples, task, whole, whole[:, 0], accelerator, Structured())

    longest = encoded(_longest(dev, task, BATCH))
    try:
        scored(longest)
    except FloatingPointError:
        raise FloatingPointError("The model's logits are not finite before any training.") from None
    trained(encoded(_longest(rows, task, 2 * recipe.batch_size)))
    begun = time.perf_counter()
    drawn = [encoded(_drawn(rows, task, recipe.batch_size)), encoded(_drawn(dev, task, BATCH))]
    encode = (time.perf_counter() - begun) / sum(map(len, drawn))
    train_seconds = _timed(trained, drawn[0], recipe.batch_size)
    # from here on the weights are frozen
    weighed(longest)
    return Calibration(
        len(rows) * (1 - node.held_out),
        len(dev),
        load,
        encode,
        train_seconds,
        _timed(scored, drawn[1], BATCH),
        _timed(weighed, drawn[1], BATCH),
        trial.device_name(accelerator),
        **trial.memory(accelerator),
    )


def _tables(node: Finetune, folders: dict[str, str]) -> tuple[pa.Table, pa.Table]:
    """The rows that its trials read, of which none may be unusable."""
    task = node.definition
    rows, dev = (data.table(node.data, task, split, folders) for split in data.SPLITS)
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


def _part(encoded: data.Encoded, rows: slice) -> data.Encoded:
    """Some examples of a split, one after the other."""
    ends = encoded.ends[rows]
    start = int(ends[0] - encoded.lengths[rows][0])
    return data.Encoded(
        encoded.input_ids[start : ends[-1]],
        encoded.segments[start : ends[-1]],
        ends - start,
        encoded.idx[rows],
        encoded.labels[rows],
    )


def _timed(work: Callable[[data.Encoded], None], encoded: data.Encoded, batch: int) -> float:
    """Seconds per example."""
    begun, done = time.perf_counter(), 0
    for count in (2, BATCHES - 2):
        if done < len(encoded) and time.perf_counter() - begun < SECONDS:
            part = _part(encoded, slice(done, done + count * batch))
            work(part)
            done += len(part)
    return (time.perf_counter() - begun) / done
