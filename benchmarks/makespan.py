"""The paper's 405 nodes on 8 to 128 GPUs: makespan against what no order of the nodes can beat.

python -m benchmarks.makespan

Durations are in the proportions of one NVIDIA H200 by arithmetic (`SHARES`), scaled down, so that overheads
weigh more than they would: at 16 slots the whole is 3 minutes instead of some 20.

1. 8 and 16 slots of this machine: a real sweep (`stand_in`) once warm, its trials asleep.
2. 24 to 128 slots: the sweep's own searcher driven in a discrete-event simulation, with `--between` seconds
   (which sweep_overhead.py measures) from the end of a node to the next start in its slot. 8 and 16 as well,
   beside the real ones; and `forecast.makespan`, which must say the same.

The lower bound is the larger of total work over slots and of the longest chain. Where it cannot be reached,
the interval bound says so (`interval_bound`). Target: within 3% of the lower bound.
"""

import heapq
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console

from benchmarks import measurement, stand_in
from benchmarks.sweep_overhead import Row, keep, row, show
from lottery_ray.experiment.graph import Node, parents
from lottery_ray.experiment.methods import Magnitude
from lottery_ray.experiment.nodes import Search
from lottery_ray.experiment.plan import Plan
from lottery_ray.experiment.study import Site
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.scheduling.costs import cost, full_model
from lottery_ray.scheduling.forecast import lower_bound, makespan
from lottery_ray.scheduling.progress import SweepProgress
from lottery_ray.scheduling.schedule import Schedule, remaining_path
from lottery_ray.storage.store import Store

SHARES = {
    "qqp": (46, 23, 30),
    "mnli": (56, 5, 39),
    "qnli": (53, 11, 36),
    "sst2": (61, 4, 35),
    "stsb": (35, 44, 21),
    "cola": (44, 20, 36),
    "mrpc": (46, 20, 33),
    "rte": (46, 24, 31),
    # not known; another small task of pairs
    "wnli": (46, 24, 31),
}
"""{task: operations of fine-tuning, of the structured search, and of retraining its compacted ticket}, padded
to 128 tokens, as percentages of their sum; by arithmetic from the released masks' sizes and steps."""
SCORED_ONLY = 0.5
"""Of the structured search's time the magnitude one takes: it needs no gradients."""


def durations(nodes: Sequence[Node], total: float) -> dict[Node, float]:
    """Seconds of every node, in those proportions. Fine-tuning follows the rows of the training set; a
    magnitude ticket, whose zeros are computed with, trains as long as the full model. total: their sum."""
    found = {node: _relative(node) for node in nodes}
    scale = total / sum(found.values())
    return {node: seconds * scale for node, seconds in found.items()}


def _relative(node: Node) -> float:
    full = full_model(node)
    assert full
    finetune, search, ticket = SHARES[full.task]
    whole = float(TASKS[full.task].train_size)
    if node is full:
        return whole
    assert isinstance(node.search, Search)
    magnitude = isinstance(node.search.method, Magnitude)
    if node is node.search:
        return whole * search / finetune * (SCORED_ONLY if magnitude else 1)
    return whole if magnitude else whole * ticket / finetune


def simulate(
    nodes: Sequence[Node],
    seconds: Mapping[Node, float],
    slots: int,
    between: float,
    *,
    known: Callable[[Node], float] = cost,
) -> float:
    """The makespan of a sweep's searcher on so many slots, in seconds.

    known: the durations that its order goes by; a first sweep has nothing but `cost`.
    """
    from lottery_ray.executors.tune import GraphSearcher, Job, node_of

    with tempfile.TemporaryDirectory(prefix="lottery_ray_makespan_") as root:
        progress = SweepProgress(tuple(nodes), set(), Console(file=io.StringIO()))
        store, site = Store.open(root, create=True), Site(root)
        searcher = GraphSearcher(Plan(tuple(nodes)), store, progress, site, 1.0, with_canaries=False)
    paths: dict[Job, float] = {node: path for node, path in remaining_path(nodes, known).items()}  # noqa: C416
    searcher.schedule = Schedule(nodes, set(), paths)
    running: list[tuple[float, int]] = []
    now, free, asked = 0.0, slots, 0
    while not searcher.schedule.ended:
        while isinstance(searcher.suggest(str(asked)), dict):
            asked += 1
        trial = searcher.most_urgent(searcher.waiting)
        if trial is not None and free:
            node = node_of(searcher.waiting.pop(trial))
            progress.started(node)
            free -= 1
            heapq.heappush(running, (now + seconds[node] + between, int(trial)))
        else:
            now, number = heapq.heappop(running)
            free += 1
            searcher.on_trial_complete(str(number))
    return now - between


def interval_bound(nodes: Sequence[Node], seconds: Mapping[Node, float], slots: int) -> float:
    """Seconds that no order can beat, at least `lower_bound`: for every interval of time, what has to run
    within it (the parents of a node before, the chain that waits for it after) must fit into the slots
    (Fernandez and Bussell, 1973)."""
    starts: dict[Node, float] = {}
    for node in nodes:
        starts[node] = max((starts[p] + seconds[p] for p in parents(node) if p in starts), default=0.0)
    chains = remaining_path(nodes, seconds.__getitem__)
    rows = np.array([(starts[node], chains[node], seconds[node]) for node in nodes])
    jobs, count = np.unique(rows.round(6), axis=0, return_counts=True)
    low = lower_bound(nodes, seconds, slots)
    if _fits(jobs, count, slots, low):
        return low
    high = 2 * low
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _fits(jobs, count, slots, middle) else (middle, high)
    return low


def _fits(jobs: np.ndarray, count: np.ndarray, slots: int, end: float) -> bool:
    """jobs (n, 3): earliest start, longest chain from its start, length; count (n,): how many are alike."""
    start, chain, length = jobs.T
    latest = end - chain
    points = np.unique([*start, *(start + length), *latest, *(latest + length), 0.0, end])
    for begin in points:
        ends = points[points > begin][:, None]
        within = np.minimum(length, start + length - begin)
        within = np.minimum(within, np.minimum(ends - latest, ends - begin)).clip(0)
        if (within @ count > slots * (ends[:, 0] - begin) * (1 + 1e-9)).any():
            return False
    return True


def real(nodes: Sequence[Node], seconds: Mapping[Node, float], slots: int, between: float) -> list[Row]:
    """Part 1, and what the simulation says of the same."""
    bound = lower_bound(nodes, seconds, slots)
    against = f"{len(nodes)} nodes, {slots} slots"
    sweep = stand_in.sweep(nodes, seconds, slots)
    simulated = simulate(nodes, seconds, slots, between)
    return [
        row("makespan over the lower bound, real", sweep.makespan / bound, against, at_most=1.03),
        row("the same, simulated", simulated / bound, against),
    ]


def simulated(nodes: Sequence[Node], seconds: Mapping[Node, float], slots: int, between: float) -> list[Row]:
    """Part 2."""
    bound = lower_bound(nodes, seconds, slots)
    ours = simulate(nodes, seconds, slots, between)
    true = simulate(nodes, seconds, slots, between, known=seconds.__getitem__)
    against = f"{len(nodes)} nodes, {slots} slots, simulated"
    return [
        row("makespan over the lower bound", ours / bound, against, at_most=1.03),
        row("the same, durations known before", true / bound, against),
        row("the same by forecast.makespan", makespan(nodes, seconds, slots, between) / bound, against),
        row("interval bound over the lower bound", interval_bound(nodes, seconds, slots) / bound, against),
    ]


def main(
    total: float = 2400.0,
    slots: tuple[int, ...] = (8, 16),
    simulate_slots: tuple[int, ...] = (24, 32, 48, 128),
    between: float = 0.05,
    nodes: int = 405,
    output: Path = measurement.RESULTS,
) -> None:
    """Measure and simulate makespans.

    Args:
        total: Seconds of all nodes together.
        slots: How many trials run at once, for real.
        simulate_slots: How many do in the simulation; at least 4.
        between: Seconds between two nodes of a slot, in the simulation.
        nodes: How many nodes; 405 are the paper's.
        output: Where the numbers that have a target go as JSON.
    """
    console = Console()
    work = stand_in.nodes(nodes)
    seconds = durations(work, total)
    chain = max(remaining_path(work, seconds.__getitem__).values())
    first = [row("slots from which the longest chain is the lower bound", total / chain, f"{nodes} nodes")]
    first += [found for count in slots for found in real(work, seconds, count, between)]
    show(console, "1. For real, once warm", first)
    second = [found for count in simulate_slots for found in simulated(work, seconds, count, between)]
    show(console, "2. Simulated", second)
    keep(first + second, output)


if __name__ == "__main__":
    tyro.cli(main)
