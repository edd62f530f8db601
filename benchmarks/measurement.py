"""Ratios measured in one run, and how they are kept.

A claim about speed is a ratio of two things that were timed one after the other, several times over, in
one run on one machine: what else the machine does meets both. CPU time is taken, which waiting for a core
does not change, unless a script says that it takes wall time.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Ratio:
    """How many times as fast `name` is as `against`: the median of the rounds; low and high: the lowest and
    highest round. at_least: the target; 0 where there is none."""

    name: str
    against: str
    ratio: float
    low: float
    high: float
    at_least: float
    machine: str


def machine(gpu: str = "") -> str:
    """The processor and its number of cores, after the GPU that did the work, if one did."""
    return f"{gpu}, " * bool(gpu) + f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of all threads of this process."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def rounds(works: Sequence[Callable[[], float]], number: int) -> np.ndarray:
    """float (number, works): each work's seconds, one after the other in every round. A first round, not
    counted, warms up."""
    for work in works:
        work()
    return np.array([[work() for work in works] for _ in range(number)])


def ratio(
    name: str, against: str, ours: np.ndarray, theirs: np.ndarray, at_least: float, gpu: str = ""
) -> Ratio:
    """ours, theirs: seconds (rounds,). gpu: the name of the one that did the work, if one did."""
    return of_rounds(name, against, theirs / ours, at_least, gpu)


def of_rounds(name: str, against: str, each: np.ndarray, at_least: float, gpu: str = "") -> Ratio:
    """each: (rounds,), the ratio that each of them found."""
    return Ratio(
        name, against, float(np.median(each)), float(each.min()), float(each.max()), at_least, machine(gpu)
    )


def within(name: str, at_most: float, value: float, low: float, high: float) -> Ratio:
    """What has a limit: how many times the value could grow before it is reached."""
    each = at_most / np.array([high, value, low])
    return Ratio(name, f"at most {at_most:.3g}", each[1], each[0], each[2], 1.0, machine())


def show(title: str, found: Sequence[Ratio]) -> None:
    """Print the ratios as a table."""
    table = Table(title=title, title_justify="left")
    for heading in ("", "against", "times", "lowest", "highest", "at least"):
        table.add_column(heading, justify="left" if heading in ("", "against") else "right")
    for row in found:
        numbers = [f"{value:.2f}" for value in (row.ratio, row.low, row.high, row.at_least)]
        table.add_row(row.name, row.against, *numbers)
    Console().print(table)


def keep(found: Sequence[Ratio], path: Path = RESULTS) -> None:
    """Put the ratios into a JSON file, in place of older ones of the same names and machine."""
    rows = json.loads(path.read_text()) if path.exists() else []
    of = {_identity(row): row for row in [*rows, *map(asdict, found)]}
    draft = path.with_suffix(".partial")
    draft.write_text(json.dumps(list(of.values()), indent=1) + "\n")
    draft.replace(path)
    Console().print(f"{path} has these numbers.", highlight=False)


def _identity(row: dict[str, Any]) -> tuple[str, ...]:
    return row["name"], row["against"], row["machine"]
