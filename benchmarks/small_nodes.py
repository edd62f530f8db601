"""A whole study of small nodes through Ray: what share of its slots' time is work.

python -m benchmarks.small_nodes

The embedded study cut to 40 nodes of a few seconds each: two tasks, two seeds, both searches, tickets. Its
model is made before. Real nodes, searcher, Tune, processes and records, a slot per core.

Efficiency: the sum of the nodes' own seconds, which their records have, over slots times the wall time from
the moment when every slot is warm to the end of the last node. A slot is warm when its process has run one
small fine-tuning, which counts on neither side. The slots that wait for the last node count as lost, too.
A node's own seconds are those beside the other slots' work, which makes them longer than alone.
"""

import io
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from benchmarks import measurement
from benchmarks.stand_in import span, wait_for_all
from lottery_ray.experiment.graph import Node, key
from lottery_ray.experiment.nodes import Finetune, Pretrain
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.study import PRESETS, Site
from lottery_ray.scheduling.progress import SweepProgress
from lottery_ray.storage.store import Store
from lottery_ray.trial.node import run_node
from lottery_ray.trial.settings import TrialSettings

STUDY = replace(
    PRESETS["demo"].study, seeds=(1, 2), kinds=("good", "random", "bad", "pretrained"), baselines=()
)


@dataclass(frozen=True)
class Shares:
    """Of the slots' time: own, that of nodes; between, from the end of a node to the next one's start in the
    same slot; tail, from the end of a slot's last node to the end of the sweep's last."""

    own: float
    between: float
    tail: float


def prepared(root: str) -> Plan:
    """The study's plan, in a new root that has its model."""

    planned = plan(STUDY)
    Store.open(root, create=True)
    for node in planned.nodes:
        if isinstance(node, Pretrain):
            run_node(node, TrialSettings(root, {}, cpu=True))
    return planned


def swept(planned: Plan, root: str, slots: int) -> Shares:
    """Run what is missing."""
    from lottery_ray.executors.on_ray import run_plan

    store = Store.open(root)
    done = {node for node in planned.nodes if store.read(key(node))}
    progress = SweepProgress(planned.nodes, set(done), Console(file=io.StringIO()))
    run_plan(planned, Site(root, (os.cpu_count() or 1) / slots, 0.0), progress, run=partial(_trial, slots))
    assert not progress.failures, progress.failures
    spans: dict[str, list[tuple[float, float]]] = {}
    for node in set(planned.nodes) - done:
        record = store.read(key(node))
        assert record is not None
        process = (Path(root) / "processes" / record.key).read_text()
        spans.setdefault(process, []).append(span(record.provenance))
    warm = max(path.stat().st_mtime for path in (Path(root) / "warm").iterdir())
    return shares(warm, [sorted(found) for found in spans.values()])


def shares(begin: float, slots: list[list[tuple[float, float]]]) -> Shares:
    """slots: begin and end of each one's nodes. begin: when all slots were warm."""
    end = max(found[-1][1] for found in slots)
    whole = (end - begin) * len(slots)
    own = sum(after - before for found in slots for before, after in found) / whole
    tail = sum(end - found[-1][1] for found in slots) / whole
    return Shares(own, 1 - own - tail, tail)


def _trial(slots: int, node: Node, root: str, folders: dict[str, str], **options: Any) -> None:
    """`run_node` in a process that is warm."""

    warm = Path(root) / "warm"
    if not (warm / str(os.getpid())).exists():
        assert isinstance(node, Finetune)
        run_node(replace(node, seed=os.getpid(), train_limit=64), TrialSettings(root, folders, **options))
        wait_for_all(warm, slots)
    record = run_node(node, TrialSettings(root, folders, **options))
    processes = Path(root) / "processes"
    processes.mkdir(exist_ok=True)
    (processes / record.key).write_text(str(os.getpid()))


def main(slots: int = os.cpu_count() or 1, number: int = 1) -> None:
    """Time a study.

    Args:
        slots: How many nodes run at once.
        number: How many rounds.
    """
    with tempfile.TemporaryDirectory(prefix="lottery_ray_small_nodes_") as folder:
        planned = prepared(f"{folder}/model")
        found = []
        for turn in range(number):
            root = shutil.copytree(f"{folder}/model", f"{folder}/{turn}")
            found.append(swept(planned, root, slots))
    row = measurement.of_rounds(
        f"a study of {len(planned.nodes) - 1} small nodes through Ray",
        "the sum of its nodes' own times over the slots",
        np.array([each.own for each in found]),
        0.9,
    )
    measurement.show("Small nodes", [row])
    for each in found:
        Console().print(f"between nodes {each.between:.1%}, slots idle at the end {each.tail:.1%}")
    measurement.keep([row])


if __name__ == "__main__":
    tyro.cli(main)
