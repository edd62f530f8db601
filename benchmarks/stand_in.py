"""A sweep whose trials sleep: real nodes, GraphSearcher, Ray Tune, warm processes and records.

Run by the benchmarks beside it, each sweep with a driver process of its own.
"""

import io
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lottery_ray.experiment.graph import Node, key
from lottery_ray.experiment.nodes import Pretrain
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.study import Site, Study
from lottery_ray.scheduling.progress import SweepProgress
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.store import Store


@dataclass(frozen=True)
class Sweep:
    """What a sweep of stand-ins cost.

    begin: when all slots were warm; spans: {process: (begin, end) of the work of each of its nodes}; in
    seconds of the clock. cpu: CPU seconds of the driver for the whole sweep, ramp-up included; memory: its
    peak resident set in bytes.
    """

    begin: float
    spans: dict[str, list[tuple[float, float]]]
    cpu: float
    memory: int

    @property
    def makespan(self) -> float:
        """Seconds from warm slots to the last node's end."""
        return max(spans[-1][1] for spans in self.spans.values()) - self.begin


def nodes(count: int) -> tuple[Node, ...]:
    """So many nodes of the paper's grid, with as many seeds as that takes; parents first."""
    seeds = -(-count // len(plan(Study(seeds=(1,))).nodes))
    return plan(Study(seeds=tuple(range(seeds)))).nodes[:count]


def sweep(work: Sequence[Node], seconds: Mapping[Node, float], slots: int) -> Sweep:
    """Run nodes that take so many seconds each in so many slots of this machine, once all are warm."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_drive, tuple(work), dict(seconds), slots).result()


def _drive(work: tuple[Node, ...], seconds: dict[Node, float], slots: int) -> Sweep:
    from lottery_ray.executors.on_ray import run_plan

    # longer than anything else, so they are handed out first, one to each slot
    warm_up = tuple(Pretrain(seed=seed, steps=10**9) for seed in range(slots))
    trial = partial(_stand_in, {key(node): seconds[node] for node in work}, slots)
    # sleeping needs no core: each slot has a share of one, rounded down to what Ray counts in
    share = (os.cpu_count() or 1) * 10_000 // slots / 10_000
    with tempfile.TemporaryDirectory(prefix="lottery_ray_stand_in_") as root:
        store = Store.open(root, create=True)
        progress = SweepProgress(warm_up + work, set(), Console(file=io.StringIO()))
        before = time.process_time()
        run_plan(Plan(warm_up + work), Site(root, share, 0.0), progress, run=trial)
        cpu = time.process_time() - before
        assert not progress.failures, progress.failures
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        records = {record.key: record.provenance for record in store.records()}
    begin = max(span(records.pop(key(node)))[1] for node in warm_up)
    spans: dict[str, list[tuple[float, float]]] = {}
    for record in records.values():
        spans.setdefault(record["process"], []).append(span(record))
    return Sweep(begin, {name: sorted(found) for name, found in spans.items()}, cpu, memory)


def span(provenance: dict[str, Any]) -> tuple[float, float]:
    """Begin and end of a node's work, in seconds of the clock."""
    begin = provenance["started"]
    return begin, begin + provenance["seconds"]


def _stand_in(seconds: dict[str, float], slots: int, node: Node, root: str, *_: Any, **__: Any) -> None:
    """Stands in for `run_node`."""
    started = time.time()
    if isinstance(node, Pretrain):
        wait_for_all(Path(root) / "warm", slots)
    else:
        time.sleep(seconds[key(node)])
    spent = {"started": started, "seconds": time.time() - started, "process": str(os.getpid())}
    store = Store.open(root)
    begin(store, node).publish({}, spent, store.inputs(node))


def wait_for_all(folder: Path, slots: int) -> None:
    """Until a process of every slot has called this. The folder has a file for each."""
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < slots:
        time.sleep(0.1)
