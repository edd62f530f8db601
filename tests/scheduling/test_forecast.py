"""What a study costs: seconds from planted records and canaries, makespans by hand and on random graphs."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_ray.experiment.graph import Node, key, parents
from lottery_ray.experiment.methods import Magnitude, Structured
from lottery_ray.experiment.nodes import Finetune, Pretrain, Search, Ticket
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.study import PRESETS
from lottery_ray.inputs.data import GLUE_DATA
from lottery_ray.inputs.language import Language
from lottery_ray.inputs.models import BERT_BASE
from lottery_ray.scheduling.budget import Budget
from lottery_ray.scheduling.costs import Calibration, canaries, cost, full_model
from lottery_ray.scheduling.forecast import Forecast, Memory, from_records, lower_bound, makespan
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.recorded import nodes_of
from lottery_ray.storage.store import Store
from tests.scheduling.test_schedule import nodes

PAPER = plan(PRESETS["paper"].study).nodes
CALIBRATION = Calibration(2_000, 300, 1.0, 0.001, 0.1, 0.02, 0.05, "a GPU", 3e3, 8e3, 8e4)


def publish(root: Path, seconds: dict[Node, float]) -> Store:
    """Records of these nodes, which took so many seconds."""
    store = Store.open(str(root), create=True)
    for node, took in seconds.items():
        provenance = {"seconds": took, "device": "cpu", "peak_gpu_memory_mib": None}
        begin(store, node).publish({}, provenance, {})
    return store


@pytest.mark.parametrize("preset", ["paper", "paper-as-released", "demo", "glue"])
def test_a_record_says_which_node_it_is_of(preset: str, tmp_path: Path) -> None:
    study = PRESETS[preset].study
    many = plan(
        replace(study, seeds=study.seeds[:2], null_draws=3, sizes=("stopping", 0.5), down_to=0.5)
    ).nodes
    store = publish(tmp_path, dict.fromkeys(many, 1.0))
    found = nodes_of(store.records())
    assert {key(node): record.key for node, record in found.items()} == {
        key(node): key(node) for node in many
    }


def test_a_record_without_its_parents_or_of_another_version_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = next(node for node in PAPER if isinstance(node, Search))
    other = next(node for node in PAPER if isinstance(node, Finetune) and node != orphan.finetune)
    store = publish(tmp_path, {orphan: 1.0, other: 1.0})
    assert [*map(key, nodes_of(store.records()))] == [key(other)]
    monkeypatch.setattr(Finetune, "VERSION", Finetune.VERSION + 1)
    assert not nodes_of(store.records())


def test_the_most_specific_rate_with_records_counts(tmp_path: Path) -> None:
    """Planted seconds per unit of cost, by task and kind of node, come back exactly."""
    rates = {"finetune": 1e-3, "search": 2e-3, "good": 3e-3, "random": 4e-3, "bad": 5e-3}
    tasks = {"mrpc": 1.0, "rte": 10.0}

    def took(node: Node) -> float:
        kind = node.kind if isinstance(node, Ticket) else type(node).__name__.lower()
        return cost(node) * rates[kind] * tasks[_task(node)]

    own = [node for node in PAPER if _task(node) in tasks]
    first = [node for node in own if _seed(node) == 42]
    forecast = from_records(publish(tmp_path, {node: took(node) for node in first}).records())
    for node in own:
        assert forecast.seconds(node) == pytest.approx(took(node))
    assert all(forecast.range(node) == pytest.approx((took(node), took(node))) for node in own)
    assert f"{len(first)} records (cpu)" in forecast.basis(own)


def test_a_task_without_records_takes_the_rates_of_others_and_a_wider_range() -> None:
    forecast = Forecast()
    mrpc, rte, sst2 = (
        next(node for node in PAPER if _task(node) == task) for task in ("mrpc", "rte", "sst2")
    )
    forecast.learn(mrpc, 10.0)
    assert forecast.seconds(rte) == pytest.approx(10.0 * cost(rte) / cost(mrpc))
    forecast.learn(rte, 50.0)
    expected = 60.0 * cost(sst2) / (cost(mrpc) + cost(rte))
    assert forecast.seconds(sst2) == pytest.approx(expected)
    low, high = forecast.range(sst2)
    assert low < expected / 2
    assert high > expected * 2
    assert forecast.basis([sst2, mrpc]).startswith("1 node ")


def test_nothing_measured_is_no_forecast() -> None:
    assert Forecast().seconds(PAPER[0]) is None


def test_a_canary_speaks_for_the_nodes_of_its_task_alone() -> None:
    full = Finetune("rte", 1, BERT_BASE, GLUE_DATA)
    search = Search(full, Structured())
    magnitude = Search(full, Magnitude())
    forecast = Forecast()
    forecast.calibrate(full, CALIBRATION)
    assert forecast.seconds(full) == pytest.approx(1 + 2.3 + 3 * 2_000 * 0.1 + 300 * 0.02)
    assert forecast.seconds(search) == pytest.approx(1 + 0.3 + 13 * 300 * 0.05)
    assert forecast.seconds(magnitude) == pytest.approx(1 + 0.3 + 13 * 300 * 0.02)
    assert forecast.seconds(Ticket(full, (search,), "good")) == pytest.approx(
        2 + 2.3 + 0.7 * 600 + 600 * 0.02
    )
    assert forecast.seconds(replace(full, task="mrpc")) is None
    assert forecast.gpu


def test_the_most_memory_that_was_measured_says_how_many_trials_fit_on_a_gpu() -> None:
    memory = Memory()
    assert memory.trials_per_gpu == 0
    memory.add({"peak_memory_mib": 900.0, "peak_gpu_memory_mib": None, "gpu_memory_mib": None})
    assert (memory.host, memory.trials_per_gpu) == (900 * 2**20, 0)
    # 1.1 times 8,000 and a context of 1,024 go 8 times into 80,000
    memory.add({"peak_memory_mib": 3_000.0, "peak_gpu_memory_mib": 8_000.0, "gpu_memory_mib": 80_000.0})
    assert (memory.host, memory.trials_per_gpu) == (3_000 * 2**20, 8)
    # less of a smaller GPU is more of it
    memory.add({"peak_memory_mib": 2_000.0, "peak_gpu_memory_mib": 7_000.0, "gpu_memory_mib": 16_000.0})
    assert (memory.host, memory.trials_per_gpu) == (3_000 * 2**20, 1)
    memory.add({"peak_memory_mib": 2_000.0, "peak_gpu_memory_mib": 15_990.0, "gpu_memory_mib": 16_000.0})
    assert memory.trials_per_gpu == 1


def test_finished_nodes_correct_a_canary() -> None:
    full = Finetune("rte", 1, BERT_BASE, GLUE_DATA)
    forecast = Forecast()
    forecast.calibrate(full, CALIBRATION)
    foreseen = forecast.seconds(full)
    assert foreseen
    forecast.learn(full, 2 * foreseen)
    assert forecast.seconds(replace(full, seed=2)) == pytest.approx(2 * foreseen)


def test_makespans_by_hand() -> None:
    """Two searches of ten seconds after a fine-tuning of five; another fine-tuning of one."""
    full, alone = (Finetune(task, 1, BERT_BASE, GLUE_DATA) for task in ("mnli", "wnli"))
    both = Search(full, Structured()), Search(full, Magnitude())
    every: list[Node] = [full, alone, *both]
    seconds: dict[Node, float] = {full: 5, alone: 1, both[0]: 10, both[1]: 10}
    assert [makespan(every, seconds, slots) for slots in (1, 2, 3)] == [26, 15, 15]
    assert [lower_bound(every, seconds, slots) for slots in (1, 2, 3)] == [26, 15, 15]
    assert makespan(every, seconds, 1, between=0.5) == 26 + 3 * 0.5
    assert makespan(every, seconds, 2, between=0.5) == 15.5
    # what is done is no part of it
    assert makespan(both, seconds, 2) == 10
    assert makespan([], {}, 2) == lower_bound([], {}, 2) == 0


@given(st.integers(), st.integers(1, 9))
def test_no_makespan_is_below_the_lower_bound(chosen: int, slots: int) -> None:
    chance = random.Random(chosen)
    every = nodes()
    seconds = {node: chance.choice([0.0, 1.0, chance.random()]) for node in every}
    found, bound = makespan(every, seconds, slots), lower_bound(every, seconds, slots)
    assert found >= bound - 1e-9
    # Graham's bound for any list schedule
    assert found <= sum(seconds.values()) / slots + lower_bound(every, seconds, 10**6) + 1e-9
    # longer trials may end sooner altogether (Graham again), but never below this
    assert makespan(every, seconds, slots, between=0.1) >= bound - 1e-9


def test_every_task_without_a_finished_model_has_one_canary() -> None:
    before = canaries(PAPER, {node for node in PAPER if _task(node) == "mrpc" and _seed(node) == 42})
    finetunes = [node for node in PAPER if isinstance(node, Finetune)]
    assert set(before) == {node for node in finetunes if node.task != "mrpc"}
    assert len(set(before.values())) == 8
    assert all(canary.finetune.task == _task(node) for node, canary in before.items())
    made_here = Finetune("acceptability", 1, Pretrain(), Language())
    assert not canaries([made_here], set())
    assert parents(made_here)


def test_a_budget_counts_what_runs_and_what_is_expected() -> None:
    budget = Budget(1.0, "GPU")
    assert budget.fits(1_800, 2)
    assert not budget.fits(1_801, 2)
    budget.handed_out("a", 1_000, 2)
    assert budget.fits(1_600, 1)
    assert not budget.fits(1_601, 1)
    budget.handed_out("b", 0.0, 2)
    budget.running["b"] = time.monotonic() - 900
    assert not budget.fits(0, 1)
    assert budget.used == pytest.approx(0.5, abs=1e-3)
    assert not budget.used_up
    budget.ended("a")
    assert budget.used == pytest.approx(0.5, abs=1e-3), "it never started"
    budget.running["b"] -= 900
    assert budget.used_up
    budget.ended("b")
    assert budget.used_up
    assert Budget(None, "GPU").fits(1e9, 8)


def test_a_trial_that_is_started_again_has_used_what_it_had() -> None:
    budget = Budget(1.0, "GPU")
    budget.handed_out("a", 1_800, 2)
    budget.running["a"] = time.monotonic() - 900
    budget.stopped("a")
    assert budget.used == pytest.approx(0.5, abs=1e-3)
    budget.started("a")
    assert budget.used == pytest.approx(0.5, abs=1e-3)
    budget.running["a"] -= 900
    budget.ended("a")
    assert budget.used == pytest.approx(1.0, abs=1e-3)


def _task(node: Node) -> str:
    full = full_model(node)
    assert full
    return full.task


def _seed(node: Node) -> int:
    full = full_model(node)
    assert full
    return full.seed
