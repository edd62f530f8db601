"""What users add from a file or an installed package: tasks, criteria, kinds of ticket, adapters.

An extension calls the functions below when it is imported, which a plan does, and then every process that
runs a node, after a check that it is what was planned. A file's source travels with the plan. Tasks and
adapters are data, and part of the nodes themselves; of a function a node has the name and the sha256 of the
source it is in, the file's or that of all .py files of its package.
"""

import hashlib
import importlib
import json
import linecache
import os
import platform
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from lottery_ray.errors import InputError
from lottery_ray.experiment.masks import Mask, Part, sizes
from lottery_ray.experiment.nodes import KINDS as TICKET_KINDS
from lottery_ray.inputs.architectures import ADAPTERS, OWN, REFUSED, Adapter, Architecture
from lottery_ray.inputs.tasks import EMBEDDED, GLUE, METRIC_NAMES, TASKS, Metric, Task

__all__ = [
    "Adapter",
    "Importance",
    "Mask",
    "Task",
    "add_adapter",
    "add_criterion",
    "add_kind",
    "add_task",
    "add_weight_criterion",
    "sizes",
]

NAME = re.compile("[a-z][a-z0-9_]*")
RESERVED = {*TICKET_KINDS, "full", "majority", "random_start", "frozen_encoder"}
"""Kinds that are there, and other networks of a report."""


@dataclass(frozen=True)
class Importance:
    """What heads and MLPs are worth; the least go first. heads: float (layers, heads); mlps: float (layers,).

    Of the paper's criterion float64, and heads divided by the l2 norm of their layer.
    """

    heads: np.ndarray
    mlps: np.ndarray


@dataclass(frozen=True)
class Added:
    """A function that a user added.

    sha256: of its source. origin: the file or package that it is in. any_size, every_seed: of a kind of
    ticket.
    """

    function: Callable[..., Any]
    sha256: str
    origin: str
    any_size: bool = False
    every_seed: bool = False


CRITERIA: dict[str, Added] = {}
"""Of heads and MLPs, by name."""
WEIGHT_CRITERIA: dict[str, Added] = {}
KINDS: dict[str, Added] = {}
_origins: dict[tuple[str, str], str] = {}
"""{(what, name): the file or package that added it}"""

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
    _origins["task", task.name] = _origin(_caller())


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
    _origins["adapter", model_type] = _origin(_caller())


def _classes_sha256(model_type: str) -> str | None:
    """Of the source of a configuration's class, if it is not one of transformers. A user's own is registered
    there, for which transformers was imported."""
    auto = sys.modules.get("transformers.models.auto.configuration_auto")
    own = getattr(auto, "CONFIG_MAPPING", {})
    if auto is None or model_type not in own:
        return None
    module = own[model_type].__module__
    return None if module.startswith("transformers.") else _source_sha256(module)


def add_criterion(name: str) -> Callable[[F], F]:
    """Decorate a criterion of heads and MLPs: a function of `criteria.Look` that returns their `Importance`.
    It is chosen with --methods structured:NAME (or heads:NAME, mlps:NAME)."""
    return _adding("criterion", CRITERIA, name)


def add_weight_criterion(name: str) -> Callable[[F], F]:
    """Decorate a criterion of weights: a function of `criteria.WeightLook` that returns a score for each,
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
    return _adding("kind", KINDS, name, any_size=any_size, every_seed=every_seed)


def _adding(what: str, table: dict[str, Added], name: str, **options: bool) -> Callable[[F], F]:
    _check_name(what, name)

    def add(function: F) -> F:
        origin, sha256 = _origin(function.__module__), _source_sha256(function.__module__)
        if name in table and table[name].sha256 != sha256:
            _check_free(what, name, (), origin)
        table[name] = Added(function, sha256, origin, **options)
        _origins[what, name] = origin
        return function

    return add


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise InputError(f"The {what} {name!r}: a name has small letters, digits and _, a letter first.")


def _check_free(what: str, name: str, ours: Iterable[str], origin: str | None = None) -> None:
    """A name may be given anew by what gave it before: a file that was edited meanwhile."""
    origin = origin or _origin(_caller())
    before = _origins.get((what, name), "lottery_ray itself")
    if name in ours or before != origin:
        raise InputError(f"The {what} {name}: {before} has one of that name, which is another.")


def added(table: dict[str, Added], name: str, sha256: str | None) -> Added:
    """What a node names. Raises InputError if it is not there, or not what was planned."""
    if name not in table or table[name].sha256 != sha256:
        raise InputError(f"{name} is not what the study was planned with; name its source with --extend.")
    return table[name]


def drawn(name: str, sha256: str, goods: Sequence[Mask], like: Mask, rng: np.random.Generator) -> Mask:
    """The mask that a user's own kind draws. like: one of the right components and size.

    Raises ValueError, in words, if its components are others, or it keeps more or fewer.
    """
    kind = added(KINDS, name, sha256)
    mask = kind.function(goods, rng)
    if not (isinstance(mask, tuple) and all(isinstance(part, Part) for part in mask)):
        raise ValueError(f"The kind {name} returned {type(mask).__name__}; it must return a mask.")

    def shape(mask: Mask) -> list[tuple[object, ...]]:
        return [(p.component, p.layer, p.name, p.shape, p.kept.shape, p.kept.dtype) for p in mask]

    if shape(mask) != shape(like):
        raise ValueError(f"The kind {name} returned a mask of other parts than good's, or not of bool.")
    if not kind.any_size and sizes(mask) != sizes(like):
        own, right = (
            ", ".join(f"{size['kept']} of {size['of']} ({part})" for part, size in sizes(one).items())
            for one in (mask, like)
        )
        raise ValueError(
            f"The kind {name} keeps {own}; good keeps {right}. It must keep as many, or say any_size=True."
        )
    return tuple(replace(part, score=None) for part in mask)


@dataclass(frozen=True)
class Extension:
    """A file or a module with what a user adds, as a study was planned with it.

    name: a file's path where the study was planned, or a module's dotted name. sha256: of its source. source:
    a file's.
    """

    name: str
    sha256: str = ""
    source: str | None = None


def load(names: Iterable[str]) -> tuple[Extension, ...]:
    """Import extensions, files or installed modules, to plan with them.

    Raises InputError, in one line, if one does not exist, fails, or adds nothing.
    """
    found = []
    for name in dict.fromkeys(names):
        extension = _read(name)
        module = _imported(extension, f"--extend {name}")
        if _origin(module) not in _origins.values():
            raise InputError(
                f"--extend {name}: it adds nothing; call add_task, add_adapter, add_criterion,"
                " add_weight_criterion or add_kind of lottery_ray.extending in it."
            )
        found.append(replace(extension, sha256=_source_sha256(module)))
    return tuple(found)


def load_planned(extensions: Iterable[Extension]) -> None:
    """Import the extensions of a plan in a process that runs nodes. Raises InputError if one fails here, or
    is not what the study was planned with."""
    for extension in extensions:
        where = f"{extension.name} on {platform.node()}"
        module = _imported(extension, where)
        if _source_sha256(module) != extension.sha256:
            raise InputError(f"{where} is not what the study was planned with; install the same everywhere.")


def _read(name: str) -> Extension:
    path = Path(name).expanduser()
    if path.suffix != ".py" and os.sep not in name:
        return Extension(name)
    try:
        source = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"--extend {name}: cannot be read ({why}).") from None
    return Extension(str(path.resolve()), source=source)


_files: dict[str, Extension] = {}
"""{module: the file that it is}"""


def _imported(extension: Extension, where: str) -> str:
    """The name of its module, which is imported once in a process. where: it is, in words."""
    try:
        if extension.source is not None:
            return _of_file(extension, extension.source)
        importlib.import_module(extension.name)
        return extension.name
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        # a part of its name, not something that it imports
        if extension.source is None and missing and f"{extension.name}.".startswith(f"{missing}."):
            raise InputError(f"{where}: no such .py file, and no installed module.") from None
        raise _failed(extension, where, error) from error


def _of_file(extension: Extension, source: str) -> str:
    path = Path(extension.name)
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    name = f"{path.stem}_{sha256[:16]}"
    if name not in sys.modules:
        # tracebacks and debuggers show its lines where there is no such file
        lines = source.splitlines(keepends=True)
        linecache.cache[extension.name] = len(source), None, lines, extension.name
        module = ModuleType(name)
        module.__file__ = extension.name
        sys.modules[name], _files[name] = module, replace(extension, sha256=sha256)
        try:
            exec(compile(source, extension.name, "exec", dont_inherit=True), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
    return name


def _failed(extension: Extension, where: str, error: BaseException) -> InputError:
    """What it raised, and the file and line that it came from, in a line."""
    what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        line = f"{error.filename}, line {error.lineno}"
        what = f"{type(error).__name__}: {error.msg}"
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
        last = [frame for frame in frames if frame.filename == extension.name] or frames
        line = f"{last[-1].filename}, line {last[-1].lineno}"
    return InputError(f"{where}: {' '.join(what.split())} ({line})")


def _caller() -> str:
    """The module that called what is public here."""
    return next(module for module in _callers() if module != __name__)


def _callers() -> Iterator[str]:
    frame = sys._getframe(1)
    while frame.f_back:
        frame = frame.f_back
        yield frame.f_globals.get("__name__", "")


def _origin(module: str) -> str:
    """The file or the package that a module is of."""
    return _files[module].name if module in _files else module.partition(".")[0]


def _source_sha256(module: str) -> str:
    """Of the extension's file, or of all .py files of the package that a module is in."""
    if module in _files:
        return _files[module].sha256
    top = sys.modules[module.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(top, "__path__", [])]
    files = {path.relative_to(folder).as_posix(): path for folder in folders for path in folder.rglob("*.py")}
    if not files:
        if not getattr(top, "__file__", None):
            raise InputError(f"A function of {module} is in no file; write it into one, and name that.")
        files = {"": Path(str(top.__file__))}
    content = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
