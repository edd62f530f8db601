"""The benchmarks of sweeps run, and what they simulate agrees with itself. No times."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import BertConfig

from benchmarks import gpu, gpu_tables
from benchmarks.compaction import MEAN
from benchmarks.makespan import durations, interval_bound, simulate
from benchmarks.measurement import Ratio, keep
from benchmarks.roofline import device
from benchmarks.small_nodes import shares
from benchmarks.stand_in import nodes
from benchmarks.texts import drawn
from lottery_ray.experiment.graph import Node, labels, stage
from lottery_ray.experiment.nodes import Finetune, Pretrain
from lottery_ray.inputs.tasks import GLUE
from lottery_ray.scheduling.costs import cost
from lottery_ray.scheduling.forecast import lower_bound, makespan
from tests.places import CHECKOUT

ROOT = CHECKOUT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("sweep_overhead", ("--nodes", "12", "--slots", "2", "--seconds", "0.1", "--sizes")),
        ("makespan", ("--nodes", "18", "--slots", "2", "--simulate-slots", "4", "--total", "4")),
    ],
)
def test_a_benchmark_runs_and_writes_its_numbers(script: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    output = tmp_path / "numbers.json"
    arguments = [sys.executable, "-m", f"benchmarks.{script}", "--output", str(output), *flags]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(output.read_text())
    assert rows
    assert all(0 < row["low"] <= row["ratio"] <= row["high"] for row in rows)
    # sleeping cannot be faster than asked, nor any order than the bound
    real = [row for row in rows if "makespan" in row["name"] and "simulated" not in row["name"]]
    assert [float(row["against"].split()[-1]) / row["ratio"] > 1 for row in real] == [True]


def test_numbers_are_kept_by_name_and_machine(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    first = Ratio("ours", "theirs", 2.0, 1.5, 2.5, 1.0, "a laptop")
    keep([first, replace(first, machine="a server")], path)
    keep([replace(first, ratio=3.0), replace(first, name="another")], path)
    rows = json.loads(path.read_text())
    assert [(row["name"], row["machine"], row["ratio"]) for row in rows] == [
        ("ours", "a laptop", 3.0),
        ("ours", "a server", 2.0),
        ("another", "a laptop", 2.0),
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_the_time_of_slots_is_of_nodes_or_between_them_or_at_the_end() -> None:
    found = shares(10.0, [[(10.0, 12.0), (13.0, 20.0)], [(11.0, 18.0)]])
    assert (found.own, found.between, found.tail) == pytest.approx((16 / 20, 2 / 20, 2 / 20))


def uneven(count: int, chance: random.Random) -> dict[Node, float]:
    """Nodes that cost the same take the same time, so that it does not matter which of them goes first."""
    work = nodes(count)
    kinds = {node: (cost(node), stage(node)) for node in work}
    lengths = {
        kind: chance.choice((0.0, 1.0, 100.0)) + chance.random() for kind in sorted(set(kinds.values()))
    }
    return {node: lengths[kinds[node]] for node in work}


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_the_searcher_keeps_the_order_of_the_schedule_though_it_hands_out_ahead(slots: int) -> None:
    for chosen in range(5):
        seconds = uneven(162, random.Random(chosen))
        ours = simulate(tuple(seconds), seconds, slots, 0.1)
        assert ours == pytest.approx(makespan(seconds, seconds, slots, 0.1))


@pytest.mark.parametrize("slots", [1, 5, 20, 60])
def test_no_order_beats_the_bounds(slots: int) -> None:
    seconds = uneven(162, random.Random(slots))
    lower, interval = (bound(tuple(seconds), seconds, slots) for bound in (lower_bound, interval_bound))
    assert lower <= interval <= simulate(tuple(seconds), seconds, slots, 0.0) * (1 + 1e-9)


def test_one_slot_does_one_node_after_the_other() -> None:
    seconds = durations(nodes(45), 10.0)
    assert simulate(tuple(seconds), seconds, 1, 0.0) == pytest.approx(10.0)
    assert interval_bound(tuple(seconds), seconds, 1) == pytest.approx(10.0)


def test_an_interval_that_is_too_full_raises_the_bound() -> None:
    # two chains that begin with a second of one node each leave two of four slots idle that long
    every = nodes(162)
    roots = [node for node in every if isinstance(node, Finetune)][:2]
    work = [node for node in every if getattr(node, "finetune", node) in roots]
    seconds = dict.fromkeys(work, 1.0)
    lower, interval = (bound(work, seconds, 4) for bound in (lower_bound, interval_bound))
    assert interval > lower


@pytest.fixture(scope="module")
def tiny() -> gpu_tables.Report:
    """What the benchmark of GPUs says of a tiny network, on whatever is here."""
    config = BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    given = drawn({"mrpc": MEAN, "mnli": 20.0}, 40)
    return gpu.measure(config, given, device(256, 2**22), trials=2, number=1)


@pytest.mark.slow
def test_a_pass_and_its_roofline_agree(tiny: gpu_tables.Report) -> None:
    found = {
        (task, precision, name): each
        for task, measured in tiny.tasks.items()
        for precision, of_passes in measured.items()
        for name, each in of_passes.rooflines.items()
    }
    assert len(found) == 12
    for each in found.values():
        assert each.flops > 0
        assert each.bytes > 0
        assert 0 < each.utilisation < 1
        assert each.distance > 0
        assert each.distance * each.utilisation < 1 + 1e-9
    # longer examples, and a backward pass
    for name in ("training", "scoring", "importance"):
        assert found["mrpc", "fp32", name].flops == found["mrpc", "bf16", name].flops
        assert found["mrpc", "fp32", name].flops > found["mnli", "fp32", name].flops
    assert found["mrpc", "fp32", "importance"].flops > found["mrpc", "fp32", "scoring"].flops


@pytest.mark.slow
def test_the_papers_hours_are_those_of_its_nodes(tiny: gpu_tables.Report) -> None:
    for precision, hours in tiny.hours.items():
        assert len(hours.seconds) == 405
        assert min(hours.seconds.values()) > 0
        assert hours.alone == pytest.approx(sum(hours.of(task) for task in GLUE))
        assert sum(hours.parts.values()) == pytest.approx(hours.of("mrpc") + hours.of("mnli"))
        for task, measured in tiny.tasks.items():
            calibration = measured[precision].calibration
            of_task = [node for node in hours.seconds if labels(node)["task"] == task]
            expected = [calibration.seconds(node) for node in of_task if not isinstance(node, Pretrain)]
            assert [hours.seconds[node] for node in of_task] == pytest.approx(expected)


@pytest.mark.slow
def test_what_a_device_does_becomes_ratios(tiny: gpu_tables.Report) -> None:
    assert [packed.trials for packed in tiny.packed["bf16"]] == [1, 2]
    assert all(each.rate > 0 and each.peak > 0 for packed in tiny.packed.values() for each in packed)
    gpu_tables.show(tiny)
    found = gpu_tables.ratios(tiny)
    assert len({(row.name, row.against) for row in found}) == len(found)
    assert all(0 < row.low <= row.ratio <= row.high for row in found)
