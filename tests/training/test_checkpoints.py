"""Training nodes that are killed, and go on from their checkpoints to the very same result.

A process is killed by itself, with SIGKILL, right after a step of the optimiser.
"""

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from lottery_ray.experiment import masks
from lottery_ray.experiment.graph import key, node_title
from lottery_ray.experiment.masks import Mask
from lottery_ray.experiment.nodes import Finetune, Pretrain, Search
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.recipe import Layout, Recipe
from lottery_ray.experiment.study import RELEASED, Study
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.language import Language
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks import weights as models
from lottery_ray.networks.network import Network
from lottery_ray.networks.pruning import prunable, prune, weight_mask
from lottery_ray.storage.store import Record, Store
from lottery_ray.training.checkpoints import Checkpoints
from lottery_ray.training.loop import train
from lottery_ray.trial.node import run_node
from lottery_ray.trial.process import prepare
from lottery_ray.trial.settings import TrialSettings
from tests.folders import data_folder, pretrained_folder
from tests.networks.test_families import CONFIGS, HEADS, MLPS

RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=1e-3, warmup=0.3, weight_decay=0.1)
STEPS = 6
NODE = Finetune("similarity", 1, Pretrain(), Language())


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Every kind of training: full, from random weights, frozen, in bf16, and of compacted, gated, magnitude
    and released tickets."""
    folder = tmp_path_factory.mktemp("the inputs")
    pretrained_folder(folder / "a model")
    data_folder(folder / "some data", "mrpc")
    study = Study(
        str(folder / "a model"), str(folder / "some data"), ("mrpc",), (1,), floor=0.5, recipe=RECIPE
    )
    structured = replace(study, methods=("structured",), kinds=("bad",), sizes=(0.5,), down_to=0.5)
    plans = [
        plan(replace(study, kinds=("good",), baselines=("random_start", "frozen"))),
        plan(replace(structured, recipe=replace(RECIPE, layout="gated"))),
        plan(replace(structured, choices=RELEASED)),
        plan(replace(structured, recipe=replace(RECIPE, precision="bf16"))),
    ]
    return Plan(tuple(dict.fromkeys(node for p in plans for node in p.nodes)), plans[0].folders)


def run_until_killed(planned: Plan, root: str, steps: int) -> None:
    """What is missing, without canaries, until the optimiser has made so many steps in this process."""
    made = itertools.count(1)

    def kill(*_: Any) -> None:
        if next(made) == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(kill)
    store = Store.open(root, create=True)
    for node in planned.nodes:
        if not store.read(key(node)):
            run_node(
                node,
                TrialSettings(root, planned.folders, cpu=True, keep_retrained=True, checkpoint_minutes=0),
            )


def kill_and_resume(planned: Plan, root: Path, steps: int) -> tuple[int, int]:
    """One process after the other, until one is not killed; returns how many were, and its exit status."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_checkpoints"])
    for killed in range(100):
        process = context.Process(target=run_until_killed, args=(planned, str(root), steps))
        process.start()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode is not None
            return killed, process.exitcode
    raise AssertionError("killed for ever")


@pytest.mark.full
def test_a_study_killed_every_few_steps_equals_an_undisturbed_one(studied: Plan, tmp_path: Path) -> None:
    Store.open(str(tmp_path / "undisturbed"), create=True)
    expected = {
        node: run_node(
            node, TrialSettings(str(tmp_path / "undisturbed"), studied.folders, cpu=True, keep_retrained=True)
        )
        for node in studied.nodes
    }
    killed, status = kill_and_resume(studied, tmp_path / "killed", STEPS - 1)
    trained = [node for node in studied.nodes if not isinstance(node, Search)]
    assert status == 0
    assert killed > len(trained) == 9
    store = Store.open(str(tmp_path / "killed"))
    for node, record in expected.items():
        found = store.read(key(node))
        assert found is not None
        assert found.result == record.result, node_title(node)
        assert found.artifacts == record.artifacts, "masks, weights and predictions, by their sha256"
        assert bool(found.provenance["resumed_at_step"]) == (node in trained)
        assert len(found.provenance["resumed_from"]) == len(found.provenance["resumed_at_step"])
        assert found.provenance["checkpoint_warnings"] == []
        assert record.provenance["resumed_at_step"] == []
        assert not (tmp_path / "killed" / "nodes" / key(node) / "checkpoint").exists()


def test_pretraining_goes_on_too(tmp_path: Path) -> None:
    # so little of it fails on its own score, and leaves its weights
    planned = Plan((Pretrain(Language(corpus_pairs=1_500), layers=1, steps=7, warmup_steps=3),))
    weights = []
    for steps in (3, 100):
        root = tmp_path / str(steps)
        killed, status = kill_and_resume(planned, root, steps)
        assert (killed > 0) == (steps == 3)
        assert status == 1
        (path,) = root.glob("nodes/*/*/model.safetensors")
        weights.append(path.read_bytes())
    assert weights[0] == weights[1]


def test_a_short_node_writes_no_checkpoint_and_starts_again(studied: Plan, tmp_path: Path) -> None:
    node, folders = studied.nodes[0], studied.folders
    Store.open(str(tmp_path / "root"), create=True)
    with stopped_after(3):
        run_node(node, TrialSettings(str(tmp_path / "root"), folders, cpu=True))
    assert Store.open(str(tmp_path / "root")).checkpoints(node) == []
    assert (
        run_node(node, TrialSettings(str(tmp_path / "root"), folders, cpu=True)).provenance["resumed_at_step"]
        == []
    )


class Stopped(Exception):  # noqa: N818
    """Of a run that a test stops."""


@contextmanager
def stopped_after(steps: int) -> Iterator[None]:
    """Stop what trains inside, by an exception after so many steps of the optimiser."""
    made = itertools.count(1)

    def stop(*_: Any) -> None:
        if next(made) == steps:
            raise Stopped

    hook = register_optimizer_step_post_hook(stop)
    try:
        with pytest.raises(Stopped):
            yield
    finally:
        hook.remove()


def stopped_run(studied: Plan, root: str, steps: int) -> tuple[Store, str]:
    """The store, and the one checkpoint in it."""
    store = Store.open(root, create=True)
    with stopped_after(steps):
        run_node(studied.nodes[0], TrialSettings(root, studied.folders, cpu=True, checkpoint_minutes=0))
    (name,) = store.checkpoints(studied.nodes[0])
    return store, name


def finish(studied: Plan, root: str) -> Record:
    return run_node(studied.nodes[0], TrialSettings(root, studied.folders, cpu=True))


@pytest.fixture(scope="module")
def undisturbed(studied: Plan, tmp_path_factory: pytest.TempPathFactory) -> Record:
    root = str(tmp_path_factory.mktemp("undisturbed"))
    Store.open(root, create=True)
    return finish(studied, root)


def test_a_checkpoint_on_object_storage(studied: Plan, undisturbed: Record, s3_root: str) -> None:
    store, _ = stopped_run(studied, s3_root, 4)
    record = finish(studied, s3_root)
    assert (record.result, record.artifacts) == (undisturbed.result, undisturbed.artifacts)
    assert record.provenance["resumed_at_step"] == [3]
    assert store.checkpoints(studied.nodes[0]) == []


@pytest.mark.parametrize("keep", [0, 1000, -1])
def test_a_truncated_checkpoint_is_left_alone(
    studied: Plan, undisturbed: Record, tmp_path: Path, keep: int
) -> None:
    store, name = stopped_run(studied, str(tmp_path), 4)
    store._write(name, store._read(name)[:keep])
    record = finish(studied, str(tmp_path))
    assert (record.result, record.artifacts) == (undisturbed.result, undisturbed.artifacts)
    assert record.provenance["resumed_at_step"] == []
    (warning,) = record.provenance["checkpoint_warnings"]
    assert name in warning
    assert "corrupt" in warning


def test_the_one_before_a_truncated_checkpoint_is_used(
    studied: Plan, undisturbed: Record, tmp_path: Path
) -> None:
    store, name = stopped_run(studied, str(tmp_path), 4)
    store._write(name.replace("000000003", "000000005"), b"half of")
    record = finish(studied, str(tmp_path))
    assert record.artifacts == undisturbed.artifacts
    assert record.provenance["resumed_at_step"] == [3]
    assert len(record.provenance["checkpoint_warnings"]) == 1


def test_a_draft_that_a_kill_left_is_no_checkpoint(
    studied: Plan, undisturbed: Record, tmp_path: Path
) -> None:
    _, name = stopped_run(studied, str(tmp_path), 4)
    (tmp_path / f"{name}.0123abcd").write_bytes(b"half of")
    record = finish(studied, str(tmp_path))
    assert record.artifacts == undisturbed.artifacts
    assert record.provenance["checkpoint_warnings"] == []
    assert not (tmp_path / name).parent.exists()


def test_a_node_that_raised_goes_on_from_its_checkpoint(
    studied: Plan, undisturbed: Record, tmp_path: Path
) -> None:
    for steps in (2, 3, 2):
        stopped_run(studied, str(tmp_path), steps)
    record = finish(studied, str(tmp_path))
    assert record.artifacts == undisturbed.artifacts
    assert record.provenance["resumed_at_step"] == [1, 3, 4]


def checkpoints(root: Path, minutes: float = 0, **made_with: str) -> Checkpoints:
    return Checkpoints(Store.open(str(root), create=True), NODE, minutes, made_with, "a CPU")


def small() -> tuple[nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    network.weight = nn.Parameter(torch.randn(3, 2).t())
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    step(network, optimizer)
    return network, optimizer


def step(network: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
    (network(torch.tensor([1.0, 2.0, 3.0])) ** 2).sum().backward()
    optimizer.step()


def test_moments_lie_in_memory_as_their_weights_do(tmp_path: Path) -> None:
    network, optimizer = small()
    checkpoints(tmp_path).keep(1, network, optimizer)
    other, other_optimizer = small()
    step(other, other_optimizer)
    other.zero_grad()
    checkpoints(tmp_path).restore(other, other_optimizer)
    network.zero_grad()
    for resumed in ((network, optimizer), (other, other_optimizer)):
        step(*resumed)
    assert not network.weight.is_contiguous()
    assert torch.equal(network.weight, other.weight)


def test_a_checkpoint_of_other_parents_or_packages_is_left_alone(tmp_path: Path) -> None:
    checkpoints(tmp_path, parents="some").keep(7, *small())
    assert checkpoints(tmp_path, parents="some").restore(*small()) == 7
    other = checkpoints(tmp_path, parents="others")
    network, optimizer = small()
    before = network.weight.clone()
    assert other.restore(network, optimizer) == 0
    assert torch.equal(network.weight, before)
    assert "other parents or packages" in other.warnings[0]


def test_checkpoints_are_as_far_apart_as_they_may_be(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path, minutes=0.3 / 60)
    written = set()
    for number in range(20):
        time.sleep(0.05)
        kept.keep(number, *small())
        written |= set(kept.store.checkpoints(NODE))
    # a loaded machine sleeps for longer, and writes more of them
    assert 2 <= len(written) <= 7
    assert kept.warnings == []


def test_a_checkpoint_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    (tmp_path / "nodes" / key(NODE)).mkdir(parents=True)
    (tmp_path / "nodes" / key(NODE) / "checkpoint").write_text("in the way")
    kept.keep(3, *small())
    assert "No checkpoint before step 3" in kept.warnings[0]


# Every architecture, and every way in which a network is pruned


def mask_of(network: Network, kind: str) -> Mask | None:
    if kind == "whole":
        return None
    if kind == "magnitude":
        total = sum(parameter.numel() for parameter in prunable(network).values())
        return weight_mask(network, np.random.default_rng(0).random(total) < 0.5)
    return masks.structured_mask(HEADS, MLPS)


@pytest.mark.parametrize("kind", ["whole", "compacted", "gated", "magnitude"])
@pytest.mark.parametrize("family", CONFIGS)
def test_every_architecture_goes_on_bit_by_bit(
    family: str, kind: str, encoded: Encoded, tmp_path: Path, make: Callable[[str], Network]
) -> None:
    layout: Layout = "gated" if kind == "gated" else "compacted"
    accelerator = prepare(Recipe(), cpu=True)
    recipe = Recipe(epochs=2, batch_size=3, learning_rate=1e-2)

    def trained(kept: Checkpoints | None) -> Network:
        network = make(family)
        if mask := mask_of(network, kind):
            prune(network, mask, layout)
        train(network, encoded, TASKS["mrpc"], 1, recipe, accelerator, kept)
        return network

    expected = trained(None)
    with stopped_after(5):
        trained(checkpoints(tmp_path))
    resumed = checkpoints(tmp_path)
    found = trained(resumed)
    assert resumed.resumed_at_step == [4]
    for (name, ours), theirs in zip(found.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.fixture
def make() -> Callable[[str], Network]:
    """Makes equal networks of a family, with dropout."""

    def made(family: str) -> Network:
        torch.manual_seed(0)
        network = models.skeleton(CONFIGS[family]())
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.1
        return network

    return made
