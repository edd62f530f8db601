"""What a study costs before it runs: seconds of its nodes from measured ones, hours and makespan."""

import functools
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lottery_ray.experiment.graph import Node, labels, parents
from lottery_ray.experiment.nodes import Finetune, Model
from lottery_ray.scheduling.costs import Calibration, cost, full_model
from lottery_ray.scheduling.schedule import Schedule, remaining_path
from lottery_ray.storage.recorded import nodes_of
from lottery_ray.storage.store import Record

GPU_CONTEXT = 2.0**30
"""Bytes of a GPU's memory that CUDA and its libraries take in a process, by judgement."""

Group = tuple[str | None, ...]

CANARY_ALONE = 1.5
"""A canary's forecast is taken to be at most so many times too low or too high, by judgement."""
OTHER_TASK = 2.0
"""A task's nodes from the records of other tasks, whose sentences are longer or shorter, are taken to be so
many times too low or too high; benchmarks/forecast_error.py measures it on a root."""


@functools.cache
def groups(node: Node) -> list[Group]:
    """Whose measured times speak for a node, the most specific first."""
    flat = labels(node)
    whole = (flat["task"], flat["stage"], flat["method"], flat["kind"] or flat["start"])
    return [whole, whole[:3], whole[:2], (flat["stage"],), ()]


@dataclass
class Rate:
    """Measured seconds beside expected ones, or beside costs, node by node."""

    seconds: list[float] = field(default_factory=list)
    expected: list[float] = field(default_factory=list)

    def add(self, seconds: float, expected: float) -> None:
        """Of one node."""
        self.seconds.append(seconds)
        self.expected.append(expected)

    @property
    def mean(self) -> float:
        """Seconds for one that was expected."""
        return sum(self.seconds) / sum(self.expected)

    def spread(self) -> tuple[float, float]:
        """The first and the ninth decile, over nodes."""
        low, high = np.quantile(np.divide(self.seconds, self.expected), (0.1, 0.9))
        return float(low), float(high)


@dataclass
class Memory:
    """What a trial has taken at most.

    host: bytes. gpu: of the largest share of a GPU's memory that one has taken; 0 for none.
    """

    host: float = 0.0
    gpu: float = 0.0
    of_gpu: float = 0.0

    def add(self, measured: Mapping[str, Any]) -> None:
        """measured: of a record's provenance, or a canary, in MiB."""
        host, gpu = ((measured.get(f"peak_{name}_mib") or 0.0) * 2**20 for name in ("memory", "gpu_memory"))
        self.host = max(self.host, host)
        of_gpu = (measured.get("gpu_memory_mib") or 0.0) * 2**20
        if of_gpu and gpu * self.of_gpu >= self.gpu * of_gpu:
            self.gpu, self.of_gpu = gpu, of_gpu

    @property
    def trials_per_gpu(self) -> int:
        """How many fit on a GPU; 0 where that was not measured. With a tenth to spare, and what every process
        takes before it has a tensor."""
        return max(1, int(self.of_gpu / (1.1 * self.gpu + GPU_CONTEXT))) if self.of_gpu else 0


@dataclass
class Forecast:
    """Seconds of nodes from those of others, and from canaries.

    calibrations: {(model, task): what its canary measured}. devices: of what was measured. memory: the most
    of all that was measured.
    """

    calibrations: dict[tuple[Model, str], Calibration] = field(default_factory=dict)
    devices: Counter[str] = field(default_factory=Counter)
    memory: Memory = field(default_factory=Memory)
    _rates: dict[tuple[bool, Group], Rate] = field(default_factory=dict)

    @property
    def gpu(self) -> bool:
        """Whether any of it was measured on one."""
        return self.memory.of_gpu > 0

    def calibrate(self, node: Finetune, calibration: Calibration) -> None:
        self.calibrations[node.model, node.task] = calibration
        self.memory.add(asdict(calibration))

    def learn(self, node: Node, seconds: float) -> None:
        """From a node that is done."""
        calibrated = self._calibrated(node)
        for group in groups(node):
            self._rates.setdefault((False, group), Rate()).add(seconds, cost(node))
            if calibrated is not None:
                self._rates.setdefault((True, group), Rate()).add(seconds, calibrated)

    def _calibrated(self, node: Node) -> float | None:
        full = full_model(node)
        found = self.calibrations.get((full.model, full.task)) if full else None
        return found.seconds(node) if found else None

    def _rate(self, node: Node) -> tuple[float, Rate | None, bool]:
        """Expected seconds, or cost; what was measured beside them, if anything; whether of other tasks only,
        though these may have longer sentences."""
        calibrated = self._calibrated(node)
        for level, group in enumerate(groups(node)):
            if rate := self._rates.get((calibrated is not None, group)):
                return calibrated or cost(node), rate, calibrated is None and level > 2
        return calibrated or 0.0, None, False

    def seconds(self, node: Node) -> float | None:
        """None where nothing was measured at all."""
        expected, rate, _ = self._rate(node)
        if rate is None:
            return expected or None
        return expected * rate.mean

    def range(self, node: Node) -> tuple[float, float]:
        """Its seconds if it ran as the fastest or the slowest tenth of those measured; of a node of which
        `seconds` knows something."""
        expected, rate, other_task = self._rate(node)
        low, high = rate.spread() if rate else (1 / CANARY_ALONE, CANARY_ALONE)
        wider = OTHER_TASK if other_task else 1.0
        return expected * low / wider, expected * high * wider

    def basis(self, nodes: Iterable[Node]) -> str:
        """What the seconds of these nodes stand on, in words."""
        said = [
            f"{count} {'record' if count == 1 else 'records'} ({device})"
            for device, count in self.devices.items()
        ]
        tasks = sorted(f"{task} ({found.device})" for (_, task), found in self.calibrations.items())
        said += [f"canaries of {', '.join(tasks)}"] if tasks else []
        if far := sum(self._rate(node)[2] for node in nodes):
            said.append(
                f"{far} {'node' if far == 1 else 'nodes'} by other tasks alone (--calibrate does better)"
            )
        return "; ".join(said)


def from_records(records: Iterable[Record]) -> Forecast:
    """What the records of a root say."""
    forecast = Forecast()
    for node, record in nodes_of(records).items():
        made = record.provenance
        if seconds := made.get("seconds"):
            forecast.learn(node, seconds)
            forecast.devices[made.get("device", "unknown")] += 1
            forecast.memory.add(made)
    return forecast


def makespan(
    nodes: Iterable[Node],
    seconds: Mapping[Node, float],
    slots: int,
    between: float = 0.0,
) -> float:
    """Seconds until the last of these nodes is done, on so many slots, in the order of a sweep.

    nodes: those to run, parents first; what they need beside them is done. seconds: of every one. between:
    from a trial's end until its slot has the next one, and until its children may start.
    """
    order = list(nodes)
    done = {parent for node in order for parent in parents(node)} - set(order)
    schedule = Schedule(order, done, remaining_path(order))
    running: list[tuple[float, int, Node]] = []
    now, started, free = 0.0, 0, slots
    while not schedule.ended:
        while free and (node := schedule.next()):
            free -= 1
            # the number decides between equals, so that nodes are never compared
            heapq.heappush(running, (now + seconds[node] + between, started, node))
            started += 1
        now, _, node = heapq.heappop(running)
        free += 1
        schedule.finished(node)
    return max(0.0, now - between)


def lower_bound(nodes: Iterable[Node], seconds: Mapping[Node, float], slots: int) -> float:
    """Seconds that no order of these nodes can beat: the larger of their total over the slots and of the
    longest chain."""
    order = list(nodes)
    chains = remaining_path(order, seconds.__getitem__)
    return max(sum(seconds[node] for node in order) / slots, max(chains.values(), default=0.0))
