"""What benchmarks/gpu.py found, as tables and as ratios."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import measurement
from benchmarks.packed_trials import Packed
from benchmarks.paper_hours import PARTS, Hours
from benchmarks.roofline import Device, Roofline
from lottery_ray.experiment.recipe import Precision, Recipe
from lottery_ray.inputs.tasks import GLUE, Task
from lottery_ray.scheduling.costs import Calibration

GOAL = 2.0
"""GPU-hours of the paper's nodes."""
WIDTH = 120


@dataclass(frozen=True)
class Measured:
    """Of a task in one precision. batches: {pass: seconds of a batch (rounds,)}. rooflines: {pass: of a
    batch}."""

    calibration: Calibration
    batches: Mapping[str, np.ndarray]
    rooflines: Mapping[str, Roofline]


@dataclass(frozen=True)
class Report:
    """gpu: its name, or nothing. task: the one that trials were packed of, and variants tried on. tokens: the
    mean of every task. variants: training in bf16, {what is changed: seconds (rounds,)}; "": nothing."""

    gpu: str
    device: Device
    task: Task
    tokens: Mapping[str, float]
    tasks: Mapping[str, Mapping[Precision, Measured]]
    packed: Mapping[Precision, Sequence[Packed]]
    variants: Mapping[str, np.ndarray]
    hours: Mapping[Precision, Hours]

    def gain(self, precision: Precision) -> float:
        """How many times the steps per second of one trial the best number of them reaches."""
        return best(self.packed[precision]).rate / self.packed[precision][0].rate


def best(packed: Sequence[Packed]) -> Packed:
    return max(packed, key=lambda each: each.rate)


def show(report: Report) -> None:
    for table in (_rooflines(report), _packed(report), _hours(report)):
        Console(width=WIDTH).print(table)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("task", "pass", "precision") else "right")
    return table


def _rooflines(report: Report) -> Table:
    rates = ", ".join(f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in report.device.rates.items())
    table = _table(
        f"{measurement.machine(report.gpu)}: {rates}, {report.device.bandwidth / 1e9:.4g} GB/s",
        *("task", "tokens", "pass", "precision", "ms a batch", "GFLOP", "GB", "ms at least"),
        *("times that", "utilisation"),
    )
    for task, measured in report.tasks.items():
        for precision, found in measured.items():
            for name, roofline in found.rooflines.items():
                needed = roofline.flops / 1e9, roofline.bytes / 1e9, roofline.floor * 1e3
                numbers = roofline.seconds * 1e3, *needed, roofline.distance, roofline.utilisation
                table.add_row(
                    GLUE[task].title,
                    f"{report.tokens[task]:.0f}",
                    name,
                    precision,
                    *(f"{number:.3g}" for number in numbers),
                )
    return table


def _packed(report: Report) -> Table:
    """A trial is a fine-tuning as the paper has it, whose steps alone are counted."""
    task, recipe = report.task, Recipe()
    trial = recipe.epochs * -(-task.train_size // recipe.batch_size)
    table = _table(
        f"Trials at a time: fine-tuning {task.title}, {trial} steps each",
        *("precision", "trials", "steps/s", "trials/hour", "times one", "peak MiB", "MiB of the device each"),
    )
    for precision, packed in report.packed.items():
        for each in packed:
            numbers = each.rate, each.rate * 3600 / trial, each.rate / packed[0].rate
            memory = each.peak / 2**20, each.occupied / 2**20
            table.add_row(
                precision,
                str(each.trials),
                *(f"{number:.3g}" for number in numbers),
                *(f"{number:.0f}" for number in memory),
            )
    return table


def _hours(report: Report) -> Table:
    """Of each task, all together, and of the measured ones by what they go to."""
    table = _table(f"Hours of the paper's nodes (goal: {GOAL:g} on a GPU)", "task", *report.hours)
    for task in GLUE:
        name = GLUE[task].title + ("" if task in report.tasks else ", by cost alone")
        table.add_row(name, *(f"{hours.of(task):.3g}" for hours in report.hours.values()))
    table.add_section()
    table.add_row("all, alone", *(f"{hours.alone:.3g}" for hours in report.hours.values()))
    packed = [f"{hours.alone / report.gain(name):.3g}" for name, hours in report.hours.items()]
    table.add_row("all, packed", *packed)
    table.add_section()
    for part in PARTS:
        of_part = [f"{hours.parts[part]:.3g}" for hours in report.hours.values()]
        table.add_row(f"measured tasks: {part}", *of_part)
    return table


def ratios(report: Report) -> list[measurement.Ratio]:
    """Those of the passes are of the report's task."""
    found = []
    measured = report.tasks[report.task.name]

    def add(name: str, against: str, ours: np.ndarray, theirs: np.ndarray, at_least: float = 0.0) -> None:
        found.append(measurement.ratio(name, against, ours, theirs, at_least, report.gpu))

    for precision, each in measured.items():
        for name, seconds in each.batches.items():
            floor = np.full_like(seconds, each.rooflines[name].floor)
            add(f"{name}, {precision}", "the roofline of the device", seconds, floor)
    for name in measured["bf16"].batches:
        bf16, fp32 = measured["bf16"].batches[name], measured["fp32"].batches[name]
        add(f"{name}, bf16", f"{name}, fp32", bf16, fp32)
    own = report.variants[""]
    for name, seconds in report.variants.items():
        if name:
            add(f"training, bf16, {name}", "training, bf16, as it is", seconds, own)
    for precision, hours in report.hours.items():
        packed = best(report.packed[precision])
        one, several = (np.array([1 / each.rate]) for each in (report.packed[precision][0], packed))
        add(f"training, {precision}, {packed.trials} trials at a time", "one at a time", several, one)
        for how, gain in (("alone", 1.0), ("packed", report.gain(precision))):
            taken = np.array([hours.alone / gain])
            add(f"the paper's nodes, {precision}, {how}", "2 GPU-hours", taken, np.array([GOAL]), 1.0)
    return found
