"""What a user asks for and where it runs, and what the names in it mean."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Literal

from lottery_ray.experiment.draws import PAPER_SEEDS
from lottery_ray.experiment.extensions import CRITERIA, OWN_KINDS, WEIGHT_CRITERIA
from lottery_ray.experiment.methods import COMPONENTS, METHODS, Magnitude, Structured
from lottery_ray.experiment.nodes import KINDS, SearchData, Size
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.data import HUB, MADE_HERE, sized
from lottery_ray.inputs.models import BERT_BASE
from lottery_ray.inputs.tasks import EMBEDDED, GLUE, TASKS, Task

BASELINES = ("random_start", "frozen", "random_ticket", "longer_bad")


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

    model: str = f"{BERT_BASE.name}@{BERT_BASE.commit}"
    """A checkpoint: a hub name (optionally name@commit), a local folder, or "embedded"."""
    data: str = HUB
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
    extend: tuple[str, ...] = ()
    """Python files or installed modules of yours (docs/extending.md).
    They add tasks, criteria, kinds of subnetworks or architectures."""


@dataclass(frozen=True)
class Site:
    """Where and with what it runs. Nothing here changes a result."""

    root: str = "results"
    """Where results go: a folder or a pyarrow.fs URI (file://, s3://, gs://)."""
    cpus_per_trial: float = 1
    """CPUs that Ray reserves per trial (the recipe's threads are what it uses)."""
    gpus_per_trial: float | Literal["packed"] | None = None
    """GPUs per trial: 0.25 has four trials share one; packed, as many as its memory and the CPUs allow.
    None: one where the cluster has any, or where an autoscaler is yet to start its machines.
    Memory is known from the records of the root, or else from canaries."""
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
            model=MADE_HERE,
            data=MADE_HERE,
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


def flat_choices(study: Study) -> dict[str, object]:
    """Every field of a study by the name of its flag, without the dashes."""
    return dict(_flat("", study))


def _flat(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    for f in fields(value):  # type: ignore[arg-type]
        inner = getattr(value, f.name)
        name = prefix + f.name.replace("_", "-")
        yield from _flat(f"{name}.", inner) if is_dataclass(inner) else [(name, inner)]


def is_own_task(task: str) -> bool:
    """Whether a user added it."""
    return task not in GLUE | EMBEDDED


def task_of(study: Study, name: str) -> Task:
    """A task by its name, one of a user's own with the sizes of its files. Raises InputError if they cannot
    be read."""
    return sized(study.data, TASKS[name]) if is_own_task(name) else TASKS[name]


def known_methods() -> list[str]:
    """All that --methods takes, METHOD or METHOD:CRITERION."""
    structured = [f"{method}:{name}" for method in COMPONENTS for name in CRITERIA]
    return [*METHODS, *structured, *(f"magnitude:{name}" for name in WEIGHT_CRITERIA)]


def chosen_method(words: str, choices: Choices) -> Structured | Magnitude:
    """One of `known_methods`, with these choices where it has them."""
    name, _, criterion = words.partition(":")
    if name == "magnitude":
        own = WEIGHT_CRITERIA[criterion].sha256 if criterion else None
        return Magnitude(choices.magnitude_step, choices.magnitude_max_steps, criterion or None, own)
    method = Structured(
        components=COMPONENTS[name],
        later_phases=choices.later_phases if name == "structured" else "accepted",
        last_head=choices.last_head if name == "heads" else "prunable",
    )
    if criterion:
        return replace(method, criterion=criterion, criterion_sha256=CRITERIA[criterion].sha256)
    layer_norm = choices.layer_norm if name != "mlps" else "all"
    return replace(method, importance=choices.importance, layer_norm=layer_norm)


def known_kinds() -> list[str]:
    """All that --kinds takes."""
    return [*KINDS, *OWN_KINDS]


def is_possible(kind: str, method: Structured | Magnitude) -> bool:
    """Whether there is such a ticket: the pre-trained control is about weights, and MLPs matched layer by
    layer are the good ones."""
    return {"pretrained": method.name == "magnitude", "layer_matched": method.name != "mlps"}.get(kind, True)


def kinds_of(study: Study, method: Structured | Magnitude) -> list[str]:
    """The kinds of ticket that a study draws from the searches of a method."""
    return [kind for kind in known_kinds() if kind in study.kinds and is_possible(kind, method)]
