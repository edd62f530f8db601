"""What a user asks for, and the nodes that answer it. All bad input is refused here, before a trial."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lottery_ray.adapters import ADAPTERS
from lottery_ray.errors import InputError
from lottery_ray.language import Language
from lottery_ray.nodes import (
    KINDS,
    METHODS,
    Data,
    Finetune,
    FolderData,
    FolderModel,
    HubData,
    HubModel,
    Kind,
    Model,
    Node,
    Pretrain,
    Recipe,
    Search,
    Ticket,
    key,
    parents,
    stage,
    with_ancestors,
)
from lottery_ray.store import digest, sha256
from lottery_ray.tasks import EMBEDDED, GLUE, TASKS, Task

BERT_BASE = HubModel("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594")
GLUE_DATA = HubData("nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c")
PAPER_SEEDS = (1337, 42, 86, 71, 166)
EMBEDDED_NAME = "embedded"
STAGES = ("pretrain", "finetune", "search", "ticket")


@dataclass(frozen=True)
class Study:
    """What to find out."""

    model: str = f"{BERT_BASE.name}@{BERT_BASE.commit}"
    """A BERT checkpoint: a hub name (optionally name@commit), a local folder, or "embedded"."""
    data: str = "hub"
    """"hub" (nyu-mll/glue at a pinned commit), a folder of <task>/{train,validation}.parquet, or
    "embedded"."""
    tasks: tuple[str, ...] = tuple(GLUE)
    """Tasks, by their names on the hub."""
    seeds: tuple[int, ...] = PAPER_SEEDS
    """Seeds; each is one fine-tuned model per task."""
    methods: tuple[str, ...] = tuple(METHODS)
    """How to search: structured (heads and MLPs), magnitude (weights)."""
    kinds: tuple[str, ...] = KINDS
    """Which subnetworks to compare: good, random, bad."""
    random_draws: int = 1
    """Random subnetworks per good one."""
    train_limit: int | None = None
    """Train on this many examples per task, drawn once. None: on all."""
    floor: float = 0.9
    """Share of the full model's dev score that a good subnetwork must keep; in (0, 1]."""
    random_start: bool = False
    """Also train the full model from random weights: what pre-training is worth."""
    recipe: Recipe = Recipe()
    """How networks are trained."""


@dataclass(frozen=True)
class Site:
    """Where and with what it runs. Nothing here changes a result."""

    root: str = "results"
    """Where results go: a folder or a pyarrow.fs URI (file://, s3://, gs://)."""
    cpus_per_trial: float = 1
    """CPUs that Ray reserves per trial (the recipe's threads are what a trial uses)."""
    gpus_per_trial: float | None = None
    """GPUs per trial; 0.25 packs four trials on one. None: one where the cluster has any."""
    address: str | None = None
    """A running Ray cluster to join. None: $RAY_ADDRESS, or else this machine."""


@dataclass(frozen=True)
class Preset:
    """A study with a place to run it."""

    help: str
    study: Study
    site: Site


PRESETS = {
    "demo": Preset(
        "The embedded study: a small BERT, pre-trained here on a generated language. Needs nothing.",
        Study(
            model=EMBEDDED_NAME,
            data=EMBEDDED_NAME,
            tasks=tuple(EMBEDDED),
            seeds=(1, 2, 3),
            random_start=True,
            recipe=Recipe(epochs=5, learning_rate=1e-3, warmup=0.1),
        ),
        Site(root="results/demo"),
    ),
    "glue": Preset(
        "GLUE with the model and data of your choice; three tasks and three seeds to begin with.",
        Study(tasks=("sst2", "mrpc", "stsb"), seeds=PAPER_SEEDS[:3]),
        Site(root="results/glue"),
    ),
    "paper": Preset(
        "The paper's grid: nine tasks, five seeds, bert-base-uncased, 405 nodes. Wants GPUs.",
        Study(),
        Site(root="results/paper"),
    ),
}


@dataclass(frozen=True)
class Plan:
    """All nodes of a study, parents first, and the folders that their model and data lie in
    ({identity: path}; a path is no part of a node)."""

    nodes: tuple[Node, ...]
    folders: dict[str, str] = field(default_factory=dict)


def plan(study: Study) -> Plan:
    """The nodes of a study.

    Raises InputError, saying what was wrong, where, and what would be right, for anything that can be
    known before a trial runs.
    """
    _check_choices(study)
    folders: dict[str, str] = {}
    model = _model(study, folders)
    leaves: list[Node] = []
    for name in study.tasks:
        data = _data(study, TASKS[name], folders)
        for seed in study.seeds:
            full = Finetune(name, seed, model, data, study.recipe, study.train_limit)
            leaves += _branch(study, full)
            if study.random_start:
                leaves.append(
                    Finetune(name, seed, model, data, study.recipe, study.train_limit, start="random")
                )
    return Plan(with_ancestors(leaves), folders)


def _branch(study: Study, full: Finetune) -> list[Node]:
    """A fine-tuned model with its searches and tickets."""
    nodes: list[Node] = [full]
    for method in study.methods:
        search = Search(full, METHODS[method], study.floor)
        nodes.append(search)
        for kind in study.kinds:
            draws = study.random_draws if kind == "random" else 1
            nodes += [Ticket(full, (search,), _kind(kind), study.recipe, draw) for draw in range(draws)]
    return nodes


def _kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind == name)


def _check_choices(study: Study) -> None:
    tasks = EMBEDDED if study.data == EMBEDDED_NAME else GLUE
    for flag, chosen, known in (
        ("--tasks", study.tasks, tasks),
        ("--methods", study.methods, METHODS),
        ("--kinds", study.kinds, KINDS),
    ):
        for name in chosen:
            if name not in known:
                raise InputError(f"{flag} {name}: unknown; choose from {', '.join(known)}.")
    _check_once("--tasks", study.tasks)
    _check_once("--seeds", study.seeds)
    if not 0 < study.floor <= 1:
        raise InputError(f"--floor {study.floor}: must be above 0 and at most 1.")
    for flag, value in (
        ("--train-limit", study.train_limit),
        ("--random-draws", study.random_draws),
        ("--recipe.epochs", study.recipe.epochs),
        ("--recipe.batch-size", study.recipe.batch_size),
        ("--recipe.threads", study.recipe.threads),
    ):
        if value is not None and value < 1:
            raise InputError(f"{flag} {value}: must be at least 1.")
    if (study.model == EMBEDDED_NAME) != (study.data == EMBEDDED_NAME):
        raise InputError("The embedded model knows only the embedded data: give both, or neither.")


def _check_once(flag: str, values: tuple[object, ...]) -> None:
    if not values:
        raise InputError(f"{flag}: none given; name at least one.")
    for value, count in Counter(values).items():
        if count > 1:
            raise InputError(f"{flag}: {value} is given {count} times; name each once.")


def _model(study: Study, folders: dict[str, str]) -> Model:
    if study.model == EMBEDDED_NAME:
        return Pretrain(threads=study.recipe.threads)
    folder = Path(study.model).expanduser()
    if folder.is_dir():
        _check_architecture(study.model, folder / "config.json")
        found = FolderModel(model_sha256(folder))
        folders[found.sha256] = str(folder.resolve())
        return found
    name, _, commit = study.model.partition("@")
    if study.model.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"--model {study.model}: no such folder.")
    return HubModel(name, commit or _hub_commit(name))


def _hub_commit(name: str) -> str:
    """The newest commit of a hub model. A preset's commit is pinned, so that a plan needs no network."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return str(HfApi().model_info(name).sha)
    except (HfHubHTTPError, HFValidationError) as error:
        raise InputError(f"--model {name}: no such folder, nor such a model on the hub ({error}).") from None
    except (httpx.HTTPError, OSError) as error:
        raise InputError(
            f"--model {name}: no such folder, and the hub cannot be reached to look for it ({error})."
        ) from None


def _check_architecture(name: str, config: Path) -> None:
    try:
        content = json.loads(config.read_text())
        family = content["model_type"]
    except FileNotFoundError:
        raise InputError(f"--model {name}: {config} does not exist; it is no model folder.") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"--model {name}: {config} is corrupt, or names no model_type.") from None
    if family not in ADAPTERS:
        raise InputError(
            f"--model {name}: no adapter for the architecture {family!r}; these work: {', '.join(ADAPTERS)}."
        )


def check_hub_model(model: HubModel) -> None:
    """Fetch the config of a hub model and refuse an architecture without an adapter. Needs the hub, or
    its cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        config = hf_hub_download(model.name, "config.json", revision=model.commit)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"--model {model.name}@{model.commit} cannot be had from the hub ({reason}). Name a model that"
            " exists, go online once, or name a local folder."
        ) from None
    _check_architecture(model.name, Path(config))


MODEL_FILES = (
    "config.json",
    "*.safetensors",
    "tokenizer*",
    "vocab*",
    "special_tokens_map.json",
    "merges.txt",
)


def model_sha256(folder: Path) -> str:
    """The identity of a checkpoint in a folder: of its config, weights and tokenizer files."""
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            f"--model {folder}: it has no .safetensors weights (pickled ones are not read; save the model"
            " again with save_pretrained)."
        )
    files = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})
    return digest({path.name: sha256(path) for path in files})


def data_files(folder: Path, task: Task) -> dict[str, Path]:
    """{split: file} of one task of a local folder."""
    return {
        "train": folder / task.name / "train.parquet",
        "validation": folder / task.name / f"{task.validation}.parquet",
    }


def data_sha256(folder: Path, task: Task) -> str:
    """The identity of one task of a local folder."""
    return digest({split: sha256(path) for split, path in data_files(folder, task).items()})


def _data(study: Study, task: Task, folders: dict[str, str]) -> Data:
    if study.data == EMBEDDED_NAME:
        return Language()
    if study.data == "hub":
        return GLUE_DATA
    folder = Path(study.data).expanduser()
    if not folder.is_dir():
        raise InputError(f'--data {study.data}: no such folder; name one, or "hub".')
    for path in data_files(folder, task).values():
        _check_table(path, task)
    found = FolderData(data_sha256(folder, task))
    folders[found.sha256] = str(folder.resolve())
    return found


def _check_table(path: Path, task: Task) -> None:
    columns = [*task.text, "label"]
    where = f"--data: {path}"
    if not path.is_file():
        raise InputError(f"{where} does not exist; {task.title} needs it, with columns {', '.join(columns)}.")
    try:
        names = pq.read_schema(path).names
        if missing := [name for name in columns if name not in names]:
            raise InputError(f"{where} has no column {', '.join(missing)}; it has {', '.join(names)}.")
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{where} is not a whole Parquet file ({error}).") from None
    if not table.num_rows:
        raise InputError(f"{where} is empty.")
    for name in task.text:
        kind = table.schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)) or table[name].null_count:
            raise InputError(f"{where}: column {name} must be text without nulls; it is {kind}.")
    _check_labels(where, task, table["label"])


def _check_labels(where: str, task: Task, label: pa.ChunkedArray) -> None:
    low, high = task.label_range
    kind = "numbers" if task.is_regression else "whole numbers"
    whole = pa.types.is_integer(label.type)
    if label.null_count or not (whole or (task.is_regression and pa.types.is_floating(label.type))):
        raise InputError(f"{where}: labels must be {kind} without nulls; they are {label.type}.")
    bounds = pc.min_max(label).as_py()
    for value in (bounds["min"], bounds["max"]):
        if not low <= value <= high:
            raise InputError(f"{where}: label {value} is outside {low} to {high}, the range of {task.title}.")


def cost(node: Node) -> float:
    """About how many training examples' worth of work a node is; only ratios matter."""
    match node:
        case Pretrain():
            return node.steps * node.batch_size
        case Finetune() | Search():
            finetune = node.finetune if isinstance(node, Search) else node
            size = TASKS[finetune.task].train_size
            rows = min(finetune.train_limit or size, size)
            return rows * finetune.recipe.epochs * (0.5 if isinstance(node, Search) else 1)
        case Ticket():
            return cost(node.finetune)


def remaining_path(nodes: tuple[Node, ...]) -> dict[Node, float]:
    """{node: cost of the longest chain from it to a leaf}, itself included; parents come first in
    `nodes`."""
    longest_child = dict.fromkeys(nodes, 0.0)
    total: dict[Node, float] = {}
    for node in reversed(nodes):
        total[node] = cost(node) + longest_child[node]
        for parent in parents(node):
            longest_child[parent] = max(longest_child[parent], total[node])
    return total


def count_by_stage(nodes: tuple[Node, ...], done: set[str]) -> dict[str, tuple[int, int]]:
    """{stage: (done, all)}, in the order of the graph. done: keys."""
    counts: dict[str, tuple[int, int]] = {}
    for node in sorted(nodes, key=lambda node: STAGES.index(stage(node))):
        finished, total = counts.get(stage(node), (0, 0))
        counts[stage(node)] = finished + (key(node) in done), total + 1
    return counts
