"""Trainings in two processes: as in one, through Ray as in debug mode, failing, killed and resumed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from transformers import BertForSequenceClassification

from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks import weights as models
from lottery_ray.networks.network import Network
from lottery_ray.networks.packing import PACKED
from lottery_ray.networks.pruning import prunable, prune, weight_mask
from lottery_ray.training.loop import train
from lottery_ray.training.micro_batches import MicroBatch
from lottery_ray.trial import parallel
from tests.folders import bert_config
from tests.places import CHECKOUT
from tests.studies import ONE, assert_equal, command, make_inputs, records, run, wait_for_a_checkpoint
from tests.training.test_checkpoints import checkpoints

BATCHES = {"uneven": 5, "fewer examples than processes": 3}
"""Of seven examples the last step of an epoch has two, or one."""


def trained(encoded: Encoded, folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """The weights after several trainings, in float64, in as many processes as this one is of."""
    found = {}
    accelerator = models.accelerator("fp32", cpu=True)
    torch.set_num_threads(1)
    for masked in (False, True):
        for batches, size in BATCHES.items():
            network = bert(dropout=0.0)
            if masked:
                prune(network, weight_mask(network, kept_weights(network)))
            recipe = Recipe(epochs=2, batch_size=size, learning_rate=1e-2, weight_decay=0.1)
            train(network, encoded, TASKS["mrpc"], 1, recipe, accelerator)
            found[f"{batches}, {'masked' if masked else 'whole'}"] = weights(network)
    network = bert(dropout=0.1)
    kept = checkpoints(folder, minutes=1000)
    # where two processes have two of four examples each, one draws the same dropout in micro-batches of two
    kept.micro_batch = MicroBatch(2 if accelerator.num_processes == 1 else None)
    train(network, encoded, TASKS["mrpc"], 1, Recipe(epochs=2, batch_size=4), accelerator, kept)
    return found | {"dropout": weights(network)}


def bert(dropout: float) -> Network:
    torch.manual_seed(0)
    config = bert_config(dropout=dropout)
    model = BertForSequenceClassification._from_config(config, attn_implementation=PACKED)
    return Network(model.double())


def kept_weights(network: Network) -> np.ndarray:
    total = sum(parameter.numel() for parameter in prunable(network).values())
    kept: np.ndarray = np.random.default_rng(0).random(total) < 0.5
    return kept


def weights(network: Network) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in network.named_parameters()}


def test_two_processes_train_what_one_does(encoded: Encoded, tmp_path: Path) -> None:
    one = trained(encoded, tmp_path / "one")
    two = parallel.run(trained, (encoded, tmp_path / "two"), 2, cpu=True)
    assert len(one) == 5
    for training, expected in one.items():
        for name, value in expected.items():
            assert np.allclose(value, two[training][name], rtol=0, atol=1e-6), (training, name)
            assert ((value == 0) == (two[training][name] == 0)).all(), "pruned weights stay zero"


def end_second(how: str) -> str:
    """The second process raises or dies; the first waits for it."""
    if os.environ["RANK"] == "1":
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise FloatingPointError("of the second")
    torch.distributed.barrier()
    return "done"


def test_a_process_that_raises_ends_all_with_its_own_error() -> None:
    with pytest.raises(FloatingPointError, match="of the second") as raised:
        parallel.run(end_second, ("raised",), 2, cpu=True)
    assert "in end_second" in str(raised.value.__cause__)
    assert multiprocessing.active_children() == []


def test_a_process_that_is_killed_ends_all() -> None:
    with pytest.raises(parallel.ProcessDied):
        parallel.run(end_second, ("killed",), 2, cpu=True)


def wait_for_ever(folder: Path) -> None:
    (folder / f"{os.getpid()}").touch()
    torch.distributed.barrier()
    time.sleep(1000)


def test_no_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from lottery_ray.trial import parallel; from tests.trial.test_parallel import *\n"
        f"if __name__ == '__main__': parallel.run(wait_for_ever, (Path({str(tmp_path)!r}),), 2, cpu=True)"
    )
    root = CHECKOUT
    with subprocess.Popen([sys.executable, "-c", code], cwd=root) as parent:
        while len(found := list(tmp_path.iterdir())) < 2:
            assert parent.poll() is None
            time.sleep(0.1)
        parent.kill()
    started = time.monotonic()
    while any(psutil.pid_exists(int(path.name)) for path in found):
        assert time.monotonic() - started < 30
        time.sleep(0.1)


def ranks(driver: int) -> list[psutil.Process]:
    """The processes of a trial that have been started by a driver's trials."""
    every: list[Any] = psutil.Process(driver).children(recursive=True)
    return [process for process in every if "spawn_main" in " ".join(process.cmdline())]


@pytest.mark.slow
def test_a_study_on_ray_whose_second_process_is_killed_equals_one_in_debug_mode(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path / "the inputs")
    two = (*ONE, "--recipe.epochs", "6", "--recipe.processes", "2", "--checkpoint-minutes", "0")
    with subprocess.Popen(
        command(inputs, tmp_path / "killed", *two),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
    ) as driver:
        wait_for_a_checkpoint(driver, tmp_path / "killed")
        ranks(driver.pid)[1].kill()
        output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, output
    assert "of 2 processes: 2 CPUs and 0 GPUs" in output
    assert "its process died, and it will run again" in output
    run(command(inputs, tmp_path / "undisturbed", *two[:-2], "--debug"))
    assert_equal(tmp_path / "killed", tmp_path / "undisturbed")
    for key, record in records(tmp_path / "killed").items():
        undisturbed = records(tmp_path / "undisturbed")[key]
        assert record.artifacts == undisturbed.artifacts, "weights, masks and predictions"
        resumed = record.labels["stage"] == "finetune"
        assert bool(record.provenance["resumed_at_step"]) == resumed
        assert undisturbed.provenance["resumed_at_step"] == []
