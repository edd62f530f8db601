"""Does bf16 find as good a model as fp32? Scores on the dev sets of real tasks, paired by seed.

python -m benchmarks.precision --data FOLDER --root ROOT

Fine-tunes each task with each seed in both precisions, by the paper's recipe, as a sweep on this machine (an
hour or more on two cores; what is done is kept in the root). The two runs of a seed share classifier, data
order and dropout. A row is the mean score in bf16 as a share of that in fp32; low and high: the 95% interval
of the mean difference over seeds (Student's t), as such shares.
"""

from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from scipy import stats

from benchmarks import measurement
from benchmarks.finetuning import MODEL
from lottery_ray.experiment.graph import key, labels
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.recipe import Precision, Recipe
from lottery_ray.experiment.study import Site, Study
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.scheduling.progress import SweepProgress
from lottery_ray.storage.store import Store

MARGIN = 0.98
"""Of the score in fp32, that bf16 has to keep."""


def finetunings(study: Study) -> Plan:
    found = plan(study)
    return Plan(tuple(node for node in found.nodes if isinstance(node, Finetune)), found.folders)


def run(plans: list[Plan], root: Path) -> dict[str, float]:
    """{node's key: its dev score}, run where it is missing."""
    from lottery_ray.executors.on_ray import run_plan

    store = Store.open(str(root), create=True)
    nodes = tuple(node for found in plans for node in found.nodes)
    done = store.recorded()
    progress = SweepProgress(nodes, {node for node in nodes if key(node) in done}, Console())
    if len(progress.done) < len(nodes):
        with progress:
            run_plan(Plan(nodes, plans[0].folders), Site(str(root), gpus_per_trial=0), progress)
    assert not progress.failures, progress.failures
    return {record.key: record.result["score"] for record in store.records()}


def interval(bf16: np.ndarray, fp32: np.ndarray) -> tuple[float, float, float]:
    """Of the mean difference, and its 95% interval: shares of the mean score in fp32. Both (seeds,)."""
    found = stats.ttest_1samp(bf16 - fp32, 0.0).confidence_interval()
    middle, low, high = (1 + value / fp32.mean() for value in ((bf16 - fp32).mean(), found.low, found.high))
    return float(middle), float(low), float(high)


def main(
    data: Path,
    root: Path,
    model: Path = MODEL,
    tasks: tuple[str, ...] = ("mrpc", "stsb"),
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5),
    train_limit: int | None = None,
    learning_rate: float = Recipe.learning_rate,
) -> None:
    """Compare the precisions.

    Args:
        data: A folder of <task>/{train,validation}.parquet, as a study reads it.
        root: Where the records go.
        model: A folder with a pre-trained model.
        tasks: Which tasks.
        seeds: Which seeds.
        train_limit: So many training rows of each task; None: all.
        learning_rate: The highest; few rows learn little at the paper's.
    """
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    plans = [
        finetunings(
            Study(
                *(str(model), str(data), tasks, seeds),
                recipe=Recipe(precision=precision, learning_rate=learning_rate),
                train_limit=train_limit,
            )
        )
        for precision in precisions
    ]
    scores = run(plans, root)
    rows = []
    for task in tasks:
        fp32, bf16 = (
            np.array([scores[key(node)] for node in found.nodes if labels(node)["task"] == task])
            for found in plans
        )
        title = TASKS[task].title
        spread = f"sd over seeds {fp32.std(ddof=1):.4f} and {bf16.std(ddof=1):.4f}"
        Console().print(f"{title}: fp32 {fp32.round(4)}, bf16 {bf16.round(4)}; {spread}", highlight=False)
        rows.append(
            measurement.Ratio(
                f"score of {title} in bf16",
                f"fp32, {len(seeds)} seeds, {train_limit or 'all'} training rows, {learning_rate:g}",
                *interval(bf16, fp32),
                MARGIN,
                measurement.machine(),
            )
        )
    measurement.show("Precision", rows)
    measurement.keep(rows)


if __name__ == "__main__":
    tyro.cli(main)
