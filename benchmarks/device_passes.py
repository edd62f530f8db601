"""What a trial does on its device, timed from outside: training, scoring, and scoring with importance.

Wall time, with the device synchronised before and after.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from unittest.mock import patch

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification

from benchmarks import measurement
from benchmarks.words import all_words
from lottery_ray.criteria.gradient import predict_with_importance
from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.recipe import Precision, Recipe
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import Task
from lottery_ray.networks import batches as data
from lottery_ray.networks.network import Network
from lottery_ray.networks.packing import PACKED
from lottery_ray.networks.weights import initial_network
from lottery_ray.training.loop import train
from lottery_ray.training.scoring import SCORED_TOGETHER, predict
from lottery_ray.trial.process import prepare

CUDA = torch.cuda.is_available()
SEED = 1


@dataclass(frozen=True)
class Subject:
    """What is trained on what. model: a folder, or a configuration that gets random weights. width: of an
    attention group, in tokens."""

    model: Path | BertConfig
    task: Task
    encoded: Encoded
    precision: Precision = "bf16"
    width: int = data.WIDTH
    compiled: bool = False

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=1, precision=self.precision)


@dataclass(frozen=True)
class Placed:
    """A subject with its network on the device."""

    subject: Subject
    network: Network


def place(subject: Subject) -> Placed:
    accelerator = prepare(subject.recipe, cpu=not CUDA)
    network: Network = accelerator.prepare(_network(subject))
    if subject.compiled:
        network.model.compile(dynamic=True)
    return Placed(subject, network)


def _network(subject: Subject) -> Network:
    if isinstance(subject.model, Path):
        return initial_network(subject.model, subject.task, SEED, "pretrained")
    torch.manual_seed(SEED)
    config = BertConfig.from_dict(subject.model.to_dict(), num_labels=subject.task.labels)
    return Network(BertForSequenceClassification._from_config(config, attn_implementation=PACKED))


def _train(placed: Placed, accelerator: Accelerator) -> None:
    subject = placed.subject
    # as a large training set has them
    with all_words():
        train(placed.network, subject.encoded, subject.task, SEED, subject.recipe, accelerator)


def _score(placed: Placed, accelerator: Accelerator) -> None:
    predict(placed.network, placed.subject.encoded, accelerator)


def _weigh(placed: Placed, accelerator: Accelerator) -> None:
    whole, subject = np.ones(placed.network.shape, bool), placed.subject
    predict_with_importance(
        placed.network, subject.encoded, subject.task, whole, whole[:, 0], accelerator, Structured()
    )


Pass = Callable[[Placed, Accelerator], None]
PASSES: Mapping[str, Pass] = MappingProxyType({"training": _train, "scoring": _score, "importance": _weigh})


def steps(subject: Subject, name: str) -> int:
    """Batches of a pass."""
    return -(-len(subject.encoded) // (subject.recipe.batch_size if name == "training" else SCORED_TOGETHER))


def seconds(name: str, placed: Placed) -> float:
    """Of this pass over the subject's examples."""
    # Accelerate has one precision per process at a time; an importance pass has frozen the weights
    accelerator = prepare(placed.subject.recipe, cpu=not CUDA)
    placed.network.requires_grad_(True)
    with patch.object(data, "WIDTH", placed.subject.width):
        return timed(lambda: PASSES[name](placed, accelerator))


def timed(work: Callable[[], object]) -> float:
    """Wall seconds until the device has done it."""
    synchronise()
    begun = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - begun


def synchronise() -> None:
    if CUDA:
        torch.cuda.synchronize()


def rounds(name: str, subjects: Sequence[Placed], number: int) -> np.ndarray:
    """float (rounds, subjects): seconds of a pass, in turns."""
    return measurement.rounds([partial(seconds, name, placed) for placed in subjects], number)


def flops(name: str, placed: Placed) -> int:
    """Floating-point operations of this pass's matrix products, attention included (on a CPU not that of
    scoring)."""
    with FlopCounterMode(display=False) as counter:
        seconds(name, placed)
    return int(counter.get_total_flops())
