"""What a sweep costs beside its trials: time between nodes, and CPU time and memory of the driver.

python -m benchmarks.sweep_overhead

The nodes are those of the paper's grid with more seeds; searcher, Tune, warm processes, callbacks, progress
lines and records are a sweep's; the trials sleep, so that this machine can have more slots than cores.

1. Nodes of a few seconds. Once warm (a process for every slot, each of which has run a node), the time from
   the end of a node's work to the start of the next one's in the same process: its record, Tune's two round
   trips, the next node's way. Target: 0.15 s. The driver's peak memory; target: 400 MB.
2. Nodes of no seconds, more and more of them: the driver is what they wait for. Seconds and CPU seconds per
   node, memory.
3. What is not Tune: planning, the schedule, listing the records of a root on this machine's disk.
"""

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks import measurement, stand_in
from lottery_ray.experiment.graph import Node
from lottery_ray.scheduling.schedule import Schedule, remaining_path
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.store import Store

Row = dict[str, Any]
"""name; value with low and high; at_most, where there is a target; against: what it is measured against."""


def overhead(work: tuple[Node, ...], slots: int, seconds: float) -> list[Row]:
    """Part 1."""
    sweep = stand_in.sweep(work, dict.fromkeys(work, seconds), slots)
    gaps = [after[0] - before[1] for spans in sweep.spans.values() for before, after in pairwise(spans)]
    low, high = np.quantile(gaps, [0.05, 0.95])
    against = f"{len(work)} nodes of {seconds:g} s, {slots} slots"
    ideal = len(work) * seconds / slots
    return [
        row("seconds between two nodes of a slot", float(np.mean(gaps)), against, low, high, at_most=0.15),
        row("times the ideal makespan", sweep.makespan / ideal, against, at_most=1 + 0.15 / seconds),
        row("CPU seconds of the driver per node", sweep.cpu / len(work), against, at_most=0.15),
        row("MB of the driver at its peak", sweep.memory / 1e6, against, at_most=400),
    ]


def saturated(work: tuple[Node, ...], slots: int) -> list[Row]:
    """Part 2."""
    sweep = stand_in.sweep(work, dict.fromkeys(work, 0.0), slots)
    against = f"{len(work)} nodes of 0 s, {slots} slots"
    return [
        row("seconds of the sweep per node", sweep.makespan / len(work), against, at_most=0.15),
        row("CPU seconds of the driver per node", sweep.cpu / len(work), against, at_most=0.15),
        row("MB of the driver at its peak", sweep.memory / 1e6, against),
    ]


def apart(count: int) -> list[Row]:
    """Part 3."""
    begun = time.process_time()
    work = stand_in.nodes(count)
    planned = time.process_time()
    schedule = Schedule(work, set(), remaining_path(work))
    while not schedule.ended:
        node = schedule.next()
        assert node is not None
        schedule.finished(node)
    scheduled = time.process_time()
    with tempfile.TemporaryDirectory(prefix="lottery_ray_overhead_") as root:
        store = Store.open(root, create=True)
        for node in work:
            begin(store, node).publish({}, {}, {})
        written = time.process_time()
        assert len(list(store.records())) == count
        listed = time.process_time()
    against = f"{count} nodes"
    return [
        row("CPU seconds to plan", planned - begun, against),
        row("CPU seconds to schedule", scheduled - planned, against),
        row("CPU seconds to list all records on a local disk", listed - written, against),
    ]


def row(
    name: str,
    value: float,
    against: str,
    low: float | None = None,
    high: float | None = None,
    **target: float,
) -> Row:
    ends = {"low": float(value if low is None else low), "high": float(value if high is None else high)}
    return {"name": name, "against": against, "value": value, **ends, **target}


def show(console: Console, title: str, rows: list[Row]) -> None:
    table = Table("", "", title=title, title_justify="left")
    for heading in ("value", "low", "high", "at most"):
        table.add_column(heading, justify="right")
    for found in rows:
        limits = (found["low"], found["high"]) if found["low"] != found["high"] else ("", "")
        numbers = (found["value"], *limits, found.get("at_most", ""))
        table.add_row(found["name"], found["against"], *(f"{n:.3g}" if n != "" else "" for n in numbers))
    console.print(table)


def keep(rows: list[Row], path: Path) -> None:
    """Those that have a target."""
    measurement.keep(
        [
            measurement.within(
                f"{found['name']}: {found['against']}",
                *(found[number] for number in ("at_most", "value", "low", "high")),
            )
            for found in rows
            if "at_most" in found
        ],
        path,
    )


def main(
    nodes: int = 1000,
    slots: tuple[int, ...] = (8, 16),
    seconds: float = 2.0,
    sizes: tuple[int, ...] = (1000, 3000),
    output: Path = measurement.RESULTS,
) -> None:
    """Time a sweep of trials that sleep.

    Args:
        nodes: How many nodes part 1 has.
        slots: How many trials run at once, one sweep each.
        seconds: How long a node of part 1 takes.
        sizes: How many nodes parts 2 and 3 have; part 2 has the fewest slots.
        output: Where the numbers that have a target go as JSON.
    """
    console = Console()
    work = stand_in.nodes(nodes)
    first = [found for count in slots for found in overhead(work, count, seconds)]
    show(console, "1. Once warm", first)
    rest: list[Row] = []
    for size in sizes:
        found = saturated(stand_in.nodes(size), min(slots)) + apart(size)
        show(console, f"2. and 3. {size} trials of no time; without Tune", found)
        rest += found
    keep(first + rest, output)


if __name__ == "__main__":
    tyro.cli(main)
