"""What a user asks for, and the nodes that answer it. All bad input is refused here, before a trial."""

from collections import Counter
from dataclasses import dataclass, field, replace

from lottery_ray import inputs
from lottery_ray.errors import InputError
from lottery_ray.nodes import (
    KINDS,
    METHODS,
    Finetune,
    Kind,
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
from lottery_ray.tasks import EMBEDDED, GLUE, TASKS

PAPER_SEEDS = (1337, 42, 86, 71, 166)
STAGES = ("pretrain", "finetune", "search", "ticket")


@dataclass(frozen=True)
class Study:
    """What to find out."""

    model: str = f"{inputs.BERT_BASE.name}@{inputs.BERT_BASE.commit}"
    """A BERT checkpoint: a hub name (optionally name@commit), a local folder, or "embedded"."""
    data: str = inputs.HUB
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
            model=inputs.EMBEDDED,
            data=inputs.EMBEDDED,
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
    model = inputs.model(study.model, study.recipe.threads, folders)
    # the layout changes how structured tickets are retrained, and nothing else
    recipe = replace(study.recipe, layout=Recipe().layout)
    leaves: list[Node] = []
    for name in study.tasks:
        data = inputs.data(study.data, TASKS[name], folders)
        for seed in study.seeds:
            full = Finetune(name, seed, model, data, recipe, study.train_limit)
            leaves += _branch(study, full)
            if study.random_start:
                leaves.append(Finetune(name, seed, model, data, recipe, study.train_limit, start="random"))
    return Plan(with_ancestors(leaves), folders)


def _branch(study: Study, full: Finetune) -> list[Node]:
    """A fine-tuned model with its searches and tickets."""
    nodes: list[Node] = [full]
    for method in study.methods:
        search = Search(full, METHODS[method], study.floor)
        recipe = study.recipe if method == "structured" else full.recipe
        nodes.append(search)
        for kind in study.kinds:
            draws = study.random_draws if kind == "random" else 1
            nodes += [Ticket(full, (search,), _kind(kind), recipe, draw) for draw in range(draws)]
    return nodes


def _kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind == name)


def _check_choices(study: Study) -> None:
    if (study.model == inputs.EMBEDDED) != (study.data == inputs.EMBEDDED):
        raise InputError("The embedded model knows only the embedded data: give both, or neither.")
    tasks = EMBEDDED if study.data == inputs.EMBEDDED else GLUE
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


def _check_once(flag: str, values: tuple[object, ...]) -> None:
    if not values:
        raise InputError(f"{flag}: none given; name at least one.")
    for value, count in Counter(values).items():
        if count > 1:
            raise InputError(f"{flag}: {value} is given {count} times; name each once.")


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
