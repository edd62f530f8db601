"""The GPU-hours of the paper's 405 nodes, from measured seconds per example.

Nodes do what `lottery_ray.experiment.effort` says: 13 passes a search, and a structured ticket's retraining
takes .7 of the full model's, which a GPU that waits for its kernels' launches may not keep. A task that was
not measured takes what those that were say of its stages, by cost alone: as if its examples were as long.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lottery_ray.experiment.graph import Node
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.study import PRESETS
from lottery_ray.scheduling.costs import Calibration, full_model
from lottery_ray.scheduling.forecast import Forecast

PARTS = ("load", "encode", "train", "score", "importance")


@dataclass(frozen=True)
class Hours:
    """seconds: of every node. parts: hours of the measured tasks by what they go to; alone: with one trial
    at a time."""

    seconds: Mapping[Node, float]
    parts: Mapping[str, float]

    @property
    def alone(self) -> float:
        return sum(self.seconds.values()) / 3600

    def of(self, task: str) -> float:
        return sum(value for node, value in self.seconds.items() if _task(node) == task) / 3600


def nodes() -> tuple[Node, ...]:
    return plan(PRESETS["paper"].study).nodes


def hours(calibrations: Mapping[str, Calibration]) -> Hours:
    """calibrations: {task: what was measured}."""
    forecast = Forecast()
    for node in nodes():
        if _task(node) in calibrations:
            forecast.learn(node, _seconds(node, calibrations))
    # every task has the same stages, so one that was measured speaks for all
    expected = {node: forecast.seconds(node) or 0.0 for node in nodes()}
    return Hours(expected, {part: _hours_of(part, calibrations) for part in PARTS})


def _hours_of(part: str, calibrations: Mapping[str, Calibration]) -> float:
    zero: dict[str, Any] = {name: 0.0 for name in PARTS if name != part}
    only = {task: replace(found, **zero) for task, found in calibrations.items()}
    return sum(_seconds(node, only) for node in nodes() if _task(node) in only) / 3600


def _seconds(node: Node, calibrations: Mapping[str, Calibration]) -> float:
    return calibrations[_task(node)].seconds(node)


def _task(node: Node) -> str:
    full = full_model(node)
    assert full
    return full.task
