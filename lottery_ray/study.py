"""What a user asks for, and the nodes that answer it. All bad input is refused here, before a trial."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Literal

from lottery_ray import extending, inputs
from lottery_ray.errors import InputError
from lottery_ray.extending import Extension
from lottery_ray.nodes import (
    COMPONENTS,
    KINDS,
    METHODS,
    SUPER,
    Finetune,
    Magnitude,
    Node,
    NullDraws,
    NullKind,
    Recipe,
    Rule,
    Search,
    SearchData,
    Size,
    Start,
    Structured,
    Ticket,
    key,
    stage,
    with_ancestors,
)
from lottery_ray.tasks import EMBEDDED, GLUE, TASKS, Task
from lottery_ray.tickets import PAPER_SEEDS

STAGES = ("pretrain", "finetune", "search", "ticket", "nulls")
BASELINES = ("random_start", "frozen", "random_ticket", "longer_bad")
FEW = 500
"""Held-out rows below which a score on them is flagged: its standard error is above .02 at .8."""


@dataclass(frozen=True)
class Choices:
    """Where the paper's text, its released code and sound practice differ. The defaults are sound."""

    importance: Literal["per_example", "cumulative"] = "per_example"
    """Exact, of every example; or the released sum over batches of the gradient summed so far."""
    layer_norm: Literal["all", "survivors"] = "all"
    """Head scores are divided by their layer's norm over all of its heads, or over survivors."""
    later_phases: Literal["accepted", "released"] = "accepted"
    """The second and third phase start from the accepted mask's scores,
    or from those of the rejected candidate."""
    last_head: Literal["prunable", "kept"] = "prunable"
    """Of a search for heads alone: whether a layer's last head may go."""
    magnitude_step: float = 0.1
    """Share of the remaining weights that a step removes: 0.1 as written, 0.05 as run."""
    magnitude_max_steps: int | None = None
    """The last of so many steps is never kept; 30 as run. None: no limit."""
    random: Literal["exact", "bernoulli"] = "exact"
    """Random structured subnetworks have the good one's size, or have it in expectation."""
    bad_magnitude: Literal["complement", "largest_removed"] = "complement"
    """Bad magnitude subnetworks keep what good does not, or the smallest weights."""
    super_draws: Literal["exact", "released"] = "exact"
    """Random and bad counterparts of super-survivors are drawn per seed, random ones from the whole network;
    or bad ones once, and random ones from what neither super nor bad keeps."""
    removal: Literal["sound", "released"] = "sound"
    """A layer without heads keeps its output bias; or, as released, loses it.
    A retrained network is then scored after a re-load that loses the attention of layers with half their
    heads."""


RELEASED = Choices(
    importance="cumulative",
    later_phases="released",
    last_head="kept",
    magnitude_step=0.05,
    magnitude_max_steps=30,
    random="bernoulli",
    bad_magnitude="largest_removed",
    super_draws="released",
    removal="released",
)


# The docstrings of fields are what --help says, which keeps their line breaks.


@dataclass(frozen=True)
class Study:
    """What to find out."""

    model: str = f"{inputs.BERT_BASE.name}@{inputs.BERT_BASE.commit}"
    """A checkpoint: a hub name (optionally name@commit), a local folder, or "embedded"."""
    data: str = inputs.HUB
    """"hub" (nyu-mll/glue at a pinned commit), "embedded",
    or a folder of <task>/{train,validation}.parquet."""
    tasks: tuple[str, ...] = tuple(GLUE)
    """Tasks, by their names on the hub, or of your own (--extend)."""
    seeds: tuple[int, ...] = PAPER_SEEDS
    """Seeds; each is one fine-tuned model per task."""
    methods: tuple[str, ...] = ("structured", "magnitude")
    """How to search: structured (heads and MLPs), heads, mlps, magnitude (weights);
    with a criterion of your own METHOD:CRITERION, such as structured:fisher."""
    kinds: tuple[str, ...] = ("good", "random", "bad")
    """Which subnetworks to compare: good; random; bad;
    layer_matched (random, as many in every layer);
    pretrained (the largest weights of the pre-trained model);
    super (kept in every seed), super_random, super_bad;
    transfer (another task's good one);
    or of your own (--extend)."""
    sizes: tuple[Size, ...] = ("stopping",)
    """Of subnetworks: where the search stopped, and fixed shares of each kind of component, such as 0.5."""
    random_draws: int = 1
    """Random and layer-matched subnetworks per good one, each retrained."""
    null_draws: int = 0
    """Random and layer-matched masks per good one that are scored pruned only.
    The good one's percentile among them is the test of being good."""
    baselines: tuple[str, ...] = ()
    """Controls: random_start (the full model from random weights);
    frozen (the classification head alone is trained);
    random_ticket (good and random tickets retrained from random weights);
    longer_bad (bad tickets retrained for twice the epochs)."""
    train_limit: int | None = None
    """Use this many training examples per task, drawn once. None: all."""
    held_out: float = 0.0
    """Share of the training examples that no training sees, for searches to use."""
    search_data: SearchData = "dev"
    """What searches are scored on: the dev set, which then also judges what they find;
    held-out rows; or as many training examples as there are dev ones."""
    floor: float = 0.9
    """Share of the full model's score that a good subnetwork must keep; in (0, 1]."""
    down_to: float = 1.0
    """Searches go on past the floor down to this share, so that smaller sizes can be read from them."""
    choices: Choices = Choices()
    """Where text, code and sound practice differ."""
    recipe: Recipe = Recipe()
    """How networks are trained."""
    parallel_tasks: tuple[str, ...] = ()
    """With --recipe.processes: the tasks whose trainings have several, such as mnli and qqp.
    None named: all."""
    extend: tuple[str, ...] = ()
    """Python files or installed modules of yours (docs/extending.md).
    They add tasks, criteria, kinds of subnetworks or architectures."""


@dataclass(frozen=True)
class Site:
    """Where and with what it runs. Nothing here changes a result."""

    root: str = "results"
    """Where results go: a folder or a pyarrow.fs URI (file://, s3://, gs://)."""
    cpus_per_trial: float = 1
    """CPUs that Ray reserves per process of a trial (the recipe's threads are what it uses)."""
    gpus_per_trial: float | Literal["packed"] | None = None
    """GPUs per trial: 0.25 has four trials share one; packed, as many as its memory and the CPUs allow.
    None: one where the cluster has any, or where an autoscaler is yet to start its machines.
    Memory is known from the records of the root, or else from canaries.
    Trials of several processes have a GPU for each, unless this is 0."""
    keep_retrained: bool = False
    """Keep the retrained weights of subnetworks, so that they can be exported. They take much space."""
    checkpoint_minutes: float = 10
    """Minutes of work that a training may lose when its process is killed.
    It goes on from a checkpoint that is at most this old."""
    budget: float | None = None
    """GPU-hours (CPU-hours, where trials have no GPU) that this command may use.
    What would go beyond them is not started; what runs when they are used up is stopped.
    The same command goes on, with as many again."""
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
        "A small BERT, pre-trained here on a generated language. Needs nothing.",
        Study(
            model=inputs.EMBEDDED,
            data=inputs.EMBEDDED,
            tasks=tuple(EMBEDDED),
            seeds=(1, 2, 3),
            kinds=("good", "random", "layer_matched", "bad", "pretrained"),
            baselines=("random_start",),
            recipe=Recipe(epochs=5, learning_rate=1e-3, warmup=0.1),
        ),
        Site(root="results/demo"),
    ),
    "glue": Preset(
        "GLUE with your model and data; three tasks and three seeds to begin with.",
        Study(
            tasks=("sst2", "mrpc", "stsb"),
            seeds=PAPER_SEEDS[:3],
            kinds=("good", "random", "layer_matched", "bad", "pretrained"),
            held_out=0.1,
            search_data="held_out",
            down_to=0.3,
        ),
        Site(root="results/glue"),
    ),
    "paper": Preset(
        "The paper's grid: nine tasks, five seeds, BERT-base, 405 nodes. Wants GPUs.",
        Study(down_to=0.3),
        Site(root="results/paper"),
    ),
    "paper-as-released": Preset(
        "The same grid with every choice of the released code, errors included.",
        Study(choices=RELEASED),
        Site(root="results/paper-as-released"),
    ),
}


@dataclass(frozen=True)
class Plan:
    """All nodes of a study, parents first, the folders that their model and data lie in
    ({identity: path}; a path is no part of a node), and the extensions that they need."""

    nodes: tuple[Node, ...]
    folders: dict[str, str] = field(default_factory=dict)
    extensions: tuple[Extension, ...] = ()


def plan(study: Study) -> Plan:
    """The nodes of a study.

    Raises InputError, saying what was wrong, where, and what would be right, for anything that can be
    known before a trial runs.
    """
    extensions = extending.load(study.extend)
    _check_choices(study)
    folders: dict[str, str] = {}
    model = inputs.model(study.model, study.recipe, folders)
    grid: Grid = {}
    leaves: list[Node] = []
    for name in study.tasks:
        task, recipe = _task(study, name), _recipe(study, name)
        data = inputs.data(study.data, task, folders)
        for seed in study.seeds:
            full = Finetune(name, seed, model, data, recipe, study.train_limit, held_out=study.held_out)
            full = replace(full, own_task=task if _is_own(name) else None)
            leaves.append(full)
            starts: dict[str, Start] = {"random_start": "random", "frozen": "frozen"}
            leaves += [replace(full, start=starts[name]) for name in starts if name in study.baselines]
            for method in study.methods:
                found = Search(
                    full, _method(method, study.choices), study.floor, study.search_data, study.down_to
                )
                grid[name, seed, method] = found
                leaves.append(found)
    for place in grid:
        leaves += _tickets(study, grid, place)
    return Plan(with_ancestors(leaves), folders, extensions)


def _is_own(task: str) -> bool:
    return task not in GLUE | EMBEDDED


def _task(study: Study, name: str) -> Task:
    return inputs.sized(study.data, TASKS[name]) if _is_own(name) else TASKS[name]


def _recipe(study: Study, task: str) -> Recipe:
    """Of a task's full models, and but for the layout of its tickets: it changes how structured ones are
    retrained, and nothing else."""
    one = study.parallel_tasks and task not in study.parallel_tasks
    processes = 1 if one else study.recipe.processes
    return replace(study.recipe, layout=Recipe().layout, processes=processes)


Grid = dict[tuple[str, int, str], Search]
"""{(task, seed, method): search}"""


def _base(method: str) -> str:
    """The method of METHOD or METHOD:CRITERION."""
    return method.partition(":")[0]


def _method(chosen: str, choices: Choices) -> Structured | Magnitude:
    name, _, criterion = chosen.partition(":")
    own = _criteria(name)[criterion].sha256 if criterion else None
    if name == "magnitude":
        return Magnitude(choices.magnitude_step, choices.magnitude_max_steps, criterion or None, own)
    method = Structured(
        components=COMPONENTS[name],
        later_phases=choices.later_phases if name == "structured" else "accepted",
        last_head=choices.last_head if name == "heads" else "prunable",
    )
    if criterion:
        return replace(method, criterion=criterion, criterion_sha256=own)
    layer_norm = choices.layer_norm if name != "mlps" else "all"
    return replace(method, importance=choices.importance, layer_norm=layer_norm)


def _criteria(method: str) -> dict[str, extending.Added]:
    return extending.WEIGHT_CRITERIA if method == "magnitude" else extending.CRITERIA


def _known_methods() -> list[str]:
    return [*METHODS, *(f"{method}:{name}" for method in METHODS for name in _criteria(method))]


def _tickets(study: Study, grid: Grid, place: tuple[str, int, str]) -> list[Node]:
    """What is drawn from one search, or for super-survivors and transfer beside it from others."""
    task, seed, method = place
    search = grid[place]
    # the released re-load error is younger than the heads-only results (protocol 6.2)
    removal = study.choices.removal if _base(method) == "structured" else "sound"
    gated = _base(method) != "magnitude" and removal == "sound"
    layout = study.recipe.layout if gated else Recipe().layout
    every_seed = tuple(grid[task, other, method] for other in sorted(study.seeds))
    elsewhere = [(grid[other, seed, method],) for other in study.tasks if other != task]
    nodes: list[Node] = []
    for size in study.sizes:
        for kind in _kinds(study, method):
            own = extending.KINDS.get(kind)
            of_all = kind in SUPER or (own is not None and own.every_seed)
            sources = [every_seed] if of_all else elsewhere if kind == "transfer" else [(search,)]
            for draw in range(study.random_draws if kind in ("random", "layer_matched") else 1):
                nodes += [
                    Ticket(
                        search.finetune,
                        source,
                        kind,
                        replace(search.finetune.recipe, layout=layout),
                        draw,
                        size,
                        _rule(kind, method, study.choices),
                        removal=removal,
                        kind_sha256=own.sha256 if own else None,
                    )
                    for source in sources
                ]
        if study.null_draws:
            by_layer = _possible("layer_matched", method)
            kinds: tuple[NullKind, ...] = ("random", "layer_matched") if by_layer else ("random",)
            nodes += [NullDraws(search.finetune, search, kind, study.null_draws, size) for kind in kinds]
    return nodes + _baselines(study, nodes)


def _baselines(study: Study, nodes: list[Node]) -> list[Node]:
    """The same tickets from random weights, or trained for longer."""
    first = [node for node in nodes if isinstance(node, Ticket) and node.draw == 0]
    found: list[Node] = []
    if "random_ticket" in study.baselines:
        found += [replace(node, start="random") for node in first if node.kind in ("good", "random")]
    if "longer_bad" in study.baselines:
        longer = {node: replace(node.recipe, epochs=2 * node.recipe.epochs) for node in first}
        found += [replace(node, recipe=longer[node]) for node in first if node.kind == "bad"]
    return found


def _known_kinds() -> list[str]:
    return [*KINDS, *extending.KINDS]


def _kinds(study: Study, method: str) -> list[str]:
    return [kind for kind in _known_kinds() if kind in study.kinds and _possible(kind, method)]


def _possible(kind: str, method: str) -> bool:
    """The pre-trained control is about weights, and MLPs matched layer by layer are the good ones."""
    base = _base(method)
    return {"pretrained": base == "magnitude", "layer_matched": base != "mlps"}.get(kind, True)


def _rule(kind: str, method: str, choices: Choices) -> Rule:
    if kind == "random" and _base(method) != "magnitude":
        return choices.random
    if kind == "bad" and _base(method) == "magnitude" and choices.bad_magnitude == "largest_removed":
        return "largest_removed"
    return choices.super_draws if kind in ("super_random", "super_bad") else "exact"


def _check_names(study: Study) -> None:
    """Of tasks, methods, kinds and baselines."""
    embedded = study.data == inputs.EMBEDDED
    tasks = [name for name in TASKS if (name in EMBEDDED) == embedded]
    for flag, chosen, known in (
        ("--tasks", study.tasks, tasks),
        ("--parallel-tasks", study.parallel_tasks, study.tasks),
        ("--methods", study.methods, _known_methods()),
        ("--kinds", study.kinds, _known_kinds()),
        ("--baselines", study.baselines, BASELINES),
    ):
        for name in chosen:
            if name not in known:
                raise InputError(f"{flag} {name}: unknown; choose from {', '.join(known)}.")
    if study.data == inputs.HUB and (own := [name for name in study.tasks if _is_own(name)]):
        raise InputError(f"--tasks {own[0]}: its data is not on the hub; name its folder with --data.")


def _check_choices(study: Study) -> None:
    if (study.model == inputs.EMBEDDED) != (study.data == inputs.EMBEDDED):
        raise InputError("The embedded model knows only the embedded data: give both, or neither.")
    _check_names(study)
    _check_once("--tasks", study.tasks)
    _check_once("--seeds", study.seeds)
    _check_once("--sizes", study.sizes)
    for flag, share in (
        ("--floor", study.floor),
        ("--down-to", study.down_to),
        ("--choices.magnitude-step", study.choices.magnitude_step),
    ):
        if not 0 < share <= 1:
            raise InputError(f"{flag} {share}: must be above 0 and at most 1.")
    for flag, value in (
        ("--train-limit", study.train_limit),
        ("--random-draws", study.random_draws),
        ("--choices.magnitude-max-steps", study.choices.magnitude_max_steps),
        ("--recipe.epochs", study.recipe.epochs),
        ("--recipe.batch-size", study.recipe.batch_size),
        ("--recipe.threads", study.recipe.threads),
        ("--recipe.processes", study.recipe.processes),
    ):
        if value is not None and value < 1:
            raise InputError(f"{flag} {value}: must be at least 1.")
    if study.null_draws < 0:
        raise InputError(f"--null-draws {study.null_draws}: must be at least 0.")
    _check_processes(study.recipe, study.parallel_tasks)
    _check_search_data(study)
    _check_sizes(study)
    _check_kinds(study)


def _check_processes(recipe: Recipe, parallel_tasks: tuple[str, ...]) -> None:
    if recipe.processes > recipe.batch_size:
        raise InputError(
            f"--recipe.processes {recipe.processes}: must be at most --recipe.batch-size {recipe.batch_size},"
            " which they share."
        )
    if parallel_tasks and recipe.processes == 1:
        raise InputError(f"--parallel-tasks {' '.join(parallel_tasks)}: needs --recipe.processes 2 or more.")


def _check_search_data(study: Study) -> None:
    if not 0 <= study.held_out < 1:
        raise InputError(f"--held-out {study.held_out}: must be at least 0 and below 1.")
    if study.search_data == "held_out" and not study.held_out:
        raise InputError("--search-data held_out: no rows are held out; add --held-out 0.1, or use dev.")
    for task in study.tasks if study.held_out else ():
        apart = round(study.held_out * _rows(study, task))
        if not 1 < apart < _rows(study, task) - 1:
            raise InputError(
                f"--held-out {study.held_out}: holds {apart} of {task}'s {_rows(study, task)} rows out; leave"
                " some on either side."
            )


def _check_sizes(study: Study) -> None:
    shares = [size for size in study.sizes if not isinstance(size, str)]
    for share in shares:
        if not 0 < share < 1:
            raise InputError(f"--sizes {share}: must be stopping, or a share above 0 and below 1.")
    structured = [name for name in study.methods if _base(name) != "magnitude"]
    if structured and shares and min(shares) < study.down_to:
        raise InputError(
            f"--sizes {min(shares)}: searches stop at {'the floor' if study.down_to == 1 else study.down_to};"
            f" add --down-to {min(shares)}."
        )


def _check_kinds(study: Study) -> None:
    """Every kind and baseline must have something to be made of."""
    made: dict[str, tuple[object, str]] = {}
    several = len(study.seeds) > 1, "at least two --seeds"
    every_seed = [kind for kind, own in extending.KINDS.items() if own.every_seed]
    made |= dict.fromkeys((*SUPER, *every_seed), several)
    made["transfer"] = len(study.tasks) > 1, "at least two --tasks"
    # a preset's kinds may go beyond some of the methods, but not all of them
    if not any(_kinds(study, method) for method in study.methods) and study.kinds:
        kind = next(kind for kind in _known_kinds() if kind in study.kinds)
        methods = [method for method in METHODS if _possible(kind, method)]
        made[kind] = False, f"--methods {' or '.join(methods)}"
    for name in study.kinds:
        possible, needs = made.get(name, (True, ""))
        if not possible:
            raise InputError(f"--kinds {name}: needs {needs}.")
    for name, kinds in (("longer_bad", {"bad"}), ("random_ticket", {"good", "random"})):
        if name in study.baselines and not kinds & set(study.kinds):
            raise InputError(f"--baselines {name}: needs --kinds {' or '.join(sorted(kinds))}.")


def _check_once(flag: str, values: tuple[object, ...]) -> None:
    if not values:
        raise InputError(f"{flag}: none given; name at least one.")
    for value, count in Counter(values).items():
        if count > 1:
            raise InputError(f"{flag}: {value} is given {count} times; name each once.")


def count_by_stage(nodes: tuple[Node, ...], done: set[str]) -> dict[str, tuple[int, int]]:
    """{stage: (done, all)}, in the order of the graph. done: keys."""
    counts: dict[str, tuple[int, int]] = {}
    for node in sorted(nodes, key=lambda node: STAGES.index(stage(node))):
        finished, total = counts.get(stage(node), (0, 0))
        counts[stage(node)] = finished + (key(node) in done), total + 1
    return counts


def chosen(study: Study) -> dict[str, object]:
    """Every field of a study by the name of its flag, without the dashes."""
    return dict(_flat("", study))


def _flat(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    for f in fields(value):  # type: ignore[arg-type]
        inner = getattr(value, f.name)
        name = prefix + f.name.replace("_", "-")
        yield from _flat(f"{name}.", inner) if is_dataclass(inner) else [(name, inner)]


def few_held_out(study: Study) -> dict[str, int]:
    """{task: held-out rows} where a search has so few of them that its score says little."""
    rows = {name: int(_rows(study, name) * study.held_out) for name in study.tasks}
    return {name: count for name, count in rows.items() if study.search_data == "held_out" and count < FEW}


def _rows(study: Study, task: str) -> int:
    size = _task(study, task).train_size
    return min(study.train_limit or size, size)
