"""What users add from a file or an installed package: tasks, criteria, kinds of ticket, adapters.

An extension calls the functions below when it is imported; all that its file may import is here, too. Tasks
and adapters are data, and part of the nodes themselves; of a function a node has the name and the sha256 of
the source it is in, the file's or that of all .py files of its package.
"""

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from lottery_ray.errors import InputError
from lottery_ray.experiment.extensions import (
    CRITERIA,
    ORIGINS,
    OWN_KINDS,
    WEIGHT_CRITERIA,
    Added,
    origin_of,
    source_sha256,
)
from lottery_ray.experiment.masks import Mask, sizes, structured_mask
from lottery_ray.experiment.nodes import KINDS
from lottery_ray.experiment.search import Importance
from lottery_ray.inputs.architectures import ADAPTERS, OWN, REFUSED, Adapter, Architecture
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import EMBEDDED, GLUE, METRIC_NAMES, TASKS, Metric, Task

if TYPE_CHECKING:
    from lottery_ray.criteria.own import Look, WeightLook
    from lottery_ray.networks.batches import pack
    from lottery_ray.networks.network import full_gates
    from lottery_ray.networks.pruning import prunable, prune
    from lottery_ray.networks.weights import skeleton
    from lottery_ray.training.scoring import predict

__all__ = [
    "ADAPTERS",
    "Adapter",
    "Encoded",
    "Importance",
    "Look",
    "Mask",
    "Task",
    "WeightLook",
    "add_adapter",
    "add_criterion",
    "add_kind",
    "add_task",
    "add_weight_criterion",
    "full_gates",
    "pack",
    "predict",
    "prunable",
    "prune",
    "sizes",
    "skeleton",
    "structured_mask",
]

WITH_TORCH = {
    "Look": "criteria.own",
    "WeightLook": "criteria.own",
    "full_gates": "networks.network",
    "pack": "networks.batches",
    "predict": "training.scoring",
    "prunable": "networks.pruning",
    "prune": "networks.pruning",
    "skeleton": "networks.weights",
}
"""{name: where it is}. A plan imports extensions, too, and must not load torch for them."""


def __getattr__(name: str) -> Any:
    if name not in WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lottery_ray.{WITH_TORCH[name]}"), name)


NAME = re.compile("[a-z][a-z0-9_]*")
RESERVED = {*KINDS, "full", "majority", "random_start", "frozen_encoder"}
"""Kinds that are there, and other networks of a report."""

F = TypeVar("F", bound=Callable[..., Any])


def add_task(task: Task) -> None:
    """Add a task, of which `--data` has <name>/train.parquet and <name>/validation.parquet.

    Raises InputError if its metric does not fit its labels, or if another task has its name.
    """
    _check_name("task", task.name)
    if isinstance(task.text, str) or not 1 <= len(task.text) <= 2:
        raise InputError(f'The task {task.name}: text must be one or two columns, such as ("text",).')
    if task.labels < 1:
        raise InputError(f"The task {task.name}: labels must be at least 1, which is a regression.")
    if task.metric not in METRIC_NAMES:
        raise InputError(
            f"The task {task.name}: no metric {task.metric!r}; choose from {', '.join(METRIC_NAMES)}."
        )
    if task.metric not in (fitting := _metrics(task.labels)):
        raise InputError(
            f"The task {task.name}: {task.metric} does not fit {task.labels} labels"
            f"{' (a regression)' if task.is_regression else ''}; choose from {', '.join(fitting)}."
        )
    low, high = map(float, task.label_range)
    if not low < high or not (task.is_regression or (low, high) == (0, task.labels - 1)):
        right = "(lowest, highest)" if task.is_regression else f"(0, {task.labels - 1})"
        raise InputError(f"The task {task.name}: label_range must be {right}.")
    # equal numbers must give equal keys, however they are spelled
    task = replace(task, text=tuple(task.text), label_range=(low, high))
    if TASKS.get(task.name, task) != task:
        _check_free("task", task.name, GLUE | EMBEDDED)
    if task.name not in GLUE | EMBEDDED:
        TASKS[task.name] = task
    ORIGINS["task", task.name] = origin_of(_caller())


def _metrics(labels: int) -> list[Metric]:
    """Those that fit so many labels."""
    if labels == 1:
        return ["pearson"]
    return ["accuracy", "matthews", "f1", "macro_f1"] if labels == 2 else ["accuracy", "macro_f1"]


def add_adapter(model_type: str, adapter: Adapter) -> None:
    """Add an architecture: the model_type of its configurations, and where it keeps what pruning needs.

    Where its classes are your own, register them with transformers first (AutoConfig.register,
    AutoModelForSequenceClassification.register); their source is then part of the model's identity. Raises
    InputError if there is an adapter already, or if there can be none.
    """
    if model_type in REFUSED:
        raise InputError(f"The architecture {model_type} cannot have an adapter: {REFUSED[model_type]}.")
    architecture = Architecture(model_type, adapter, _classes_sha256(model_type))
    if model_type in ADAPTERS and OWN.get(model_type) != architecture:
        _check_free("adapter", model_type, ADAPTERS.keys() - OWN.keys())
    ADAPTERS[model_type], OWN[model_type] = adapter, architecture
    ORIGINS["adapter", model_type] = origin_of(_caller())


def _classes_sha256(model_type: str) -> str | None:
    """Of the source of a configuration's class, if it is not one of transformers. A user's own is registered
    there, for which transformers was imported."""
    auto = sys.modules.get("transformers.models.auto.configuration_auto")
    own = getattr(auto, "CONFIG_MAPPING", {})
    if auto is None or model_type not in own:
        return None
    module = own[model_type].__module__
    return None if module.startswith("transformers.") else source_sha256(module)


def add_criterion(name: str) -> Callable[[F], F]:
    """Decorate a criterion of heads and MLPs: a function of `Look` that returns their `Importance`.
    It is chosen with --methods structured:NAME (or heads:NAME, mlps:NAME)."""
    return _adding("criterion", CRITERIA, name)


def add_weight_criterion(name: str) -> Callable[[F], F]:
    """Decorate a criterion of weights: a function of `WeightLook` that returns a score for each,
    float32 (weights,). It is chosen with --methods magnitude:NAME."""
    return _adding("criterion of weights", WEIGHT_CRITERIA, name)


def add_kind(name: str, *, any_size: bool = False, every_seed: bool = False) -> Callable[[F], F]:
    """Decorate a kind of ticket: a function of good masks and a random stream that returns a mask,
    (goods: Sequence[Mask], rng: np.random.Generator) -> Mask. It is chosen with --kinds NAME.

    goods: the good mask of the search; with every_seed, those of every seed. The mask keeps as many heads,
    MLPs and weights as the good one (or as all of them keep together), unless any_size.
    """
    if name in RESERVED:
        raise InputError(f"The kind {name}: there is one of that name already.")
    return _adding("kind", OWN_KINDS, name, any_size=any_size, every_seed=every_seed)


def _adding(what: str, table: dict[str, Added], name: str, **options: bool) -> Callable[[F], F]:
    _check_name(what, name)

    def add(function: F) -> F:
        origin, sha256 = origin_of(function.__module__), source_sha256(function.__module__)
        if name in table and table[name].sha256 != sha256:
            _check_free(what, name, (), origin)
        table[name] = Added(function, sha256, origin, **options)
        ORIGINS[what, name] = origin
        return function

    return add


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise InputError(f"The {what} {name!r}: a name has small letters, digits and _, a letter first.")


def _check_free(what: str, name: str, ours: Iterable[str], origin: str | None = None) -> None:
    """A name may be given anew by what gave it before: a file that was edited meanwhile."""
    origin = origin or origin_of(_caller())
    before = ORIGINS.get((what, name), "lottery_ray itself")
    if name in ours or before != origin:
        raise InputError(f"The {what} {name}: {before} has one of that name, which is another.")


def _caller() -> str:
    """The module that called what is public here."""
    return next(module for module in _callers() if module != __name__)


def _callers() -> Iterator[str]:
    frame = sys._getframe(1)
    while frame.f_back:
        frame = frame.f_back
        yield frame.f_globals.get("__name__", "")
