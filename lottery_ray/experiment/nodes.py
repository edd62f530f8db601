"""The experiment as a graph of frozen nodes.

    Pretrain                      only in the embedded study: makes its small model
      Finetune                    weights, dev score and predictions
        Search                    the state after every step, component scores, the good mask
          Ticket                  a mask, its pruned score and its retrained score
          NullDraws               the pruned scores of many random masks of the good one's size

A node holds all that changes its result and nothing else, so that its key names its result: where
data and weights lie, devices and workers are in `study.Site`.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from lottery_ray.inputs.architectures import Architecture
from lottery_ray.inputs.language import Language
from lottery_ray.inputs.tasks import TASKS, Task

Kind = Literal[
    "good",
    "random",
    "layer_matched",
    "bad",
    "pretrained",
    "super",
    "super_random",
    "super_bad",
    "transfer",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
NullKind = Literal["random", "layer_matched"]
SUPER: tuple[Kind, ...] = ("super", "super_random", "super_bad")
Start = Literal["pretrained", "random", "frozen"]
Size = Literal["stopping"] | float
Components = Literal["both", "heads", "mlps"]
Layout = Literal["compacted", "gated"]
SearchData = Literal["dev", "held_out", "train_subset"]
Rule = Literal["exact", "bernoulli", "largest_removed", "released"]
Precision = Literal["fp32", "bf16"]


def before(value: Any) -> Any:
    """A field that came later: `value` means the old behaviour and stays out of the identity, so that
    keys from before the field live on."""
    return field(default=value, metadata={"before": value})


@dataclass(frozen=True)
class HubModel:
    """A checkpoint on the Hugging Face hub: its commit. The name is where to find it."""

    name: str = field(metadata={"identity": False})
    commit: str
    architecture: Architecture | None = before(None)
    """One that a user added; None: one of ours."""


@dataclass(frozen=True)
class FolderModel:
    """A checkpoint in a local folder: the sha256 of its config, weights and tokenizer files."""

    sha256: str
    architecture: Architecture | None = before(None)
    """Likewise."""


@dataclass(frozen=True)
class HubData:
    """A data set on the Hugging Face hub, at a commit."""

    name: str
    commit: str


@dataclass(frozen=True)
class FolderData:
    """One task of a local folder: the sha256 of its training and validation files."""

    sha256: str


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults are the paper's (section 3; train.sh and run_glue.py)."""

    epochs: int = 3
    """Passes over the training set."""
    learning_rate: float = 2e-5
    """Highest learning rate of AdamW; it falls linearly to 0."""
    batch_size: int = 32
    """Examples per step."""
    warmup: float = 0.0
    """Share of the steps over which the learning rate rises first."""
    weight_decay: float = 0.0
    """Of AdamW, decoupled."""
    clip: float = 1.0
    """Largest l2 norm of the gradient."""
    max_length: int = 128
    """Tokens per example; longer ones are cut."""
    precision: Precision = "fp32"
    """Of training and evaluation; bf16 is faster, not equivalent."""
    layout: Layout = "compacted"
    """Retrain structured tickets with their pruned parts cut out, or multiplied by zero.
    With dropout the two draw different random numbers."""
    threads: int = 1
    """CPU threads of a process; results differ in their last bits between numbers of threads."""
    processes: int = before(1)
    """Processes, each with a GPU, that share every batch of a training.
    With dropout their number changes the random numbers drawn."""


@dataclass(frozen=True)
class Pretrain:
    """Make the embedded study's small BERT: masked-language modelling on its own corpus.

    masked_verbs, masked_others: share of verbs and of other words that are masked. Verbs are masked more
    often, or agreement emerges late or never.
    """

    VERSION: ClassVar[int] = 1

    language: Language = Language()
    seed: int = 0
    layers: int = 3
    heads: int = 8
    hidden: int = 64
    intermediate: int = 128
    initializer_range: float = 0.08
    steps: int = 900
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    masked_verbs: float = 0.5
    masked_others: float = 0.2
    threads: int = 1


Model = HubModel | FolderModel | Pretrain
Data = HubData | FolderData | Language


@dataclass(frozen=True)
class Finetune:
    """Train the full model on a task.

    start: the weights it starts from: pre-trained, or random (the control that shows what
    pre-training is worth), or pre-trained and frozen, so that the classification head alone is trained.
    train_limit: this many training rows, drawn once per task; None is all of them.
    held_out: share of these rows that neither fine-tuning nor retraining sees, for a search to use.
    own_task: what the task is, if a user added it; None: one of ours.
    """

    VERSION: ClassVar[int] = 2

    task: str
    seed: int
    model: Model
    data: Data
    recipe: Recipe = Recipe()
    train_limit: int | None = None
    start: Start = "pretrained"
    held_out: float = before(0.0)
    own_task: Task | None = before(None)

    @property
    def definition(self) -> Task:
        """What its task is."""
        return self.own_task or TASKS[self.task]


@dataclass(frozen=True)
class Structured:
    """Iterative pruning of heads and MLPs by gradient importance (section 3.2 of the paper).

    step: share of all heads that the first phase removes at a time, beside one MLP; the second phase
    removes half as many heads alone, the third one MLP alone.
    components: both, in these three phases; or heads alone, or MLPs alone, in one phase.
    importance: exact and per example, or, as released, cumulative: the magnitude of the gradient summed
    over all batches so far, summed over batches (protocol 2.1, 6.5).
    layer_norm: what the heads of a layer are normalised over: all of them, as published, or survivors.
    later_phases: what phases 2 and 3 start from: the accepted mask's scores; or, as released, those of
    the last candidate, usually rejected. In the released loop the first phase also ends where MLPs run
    out, and where heads do, MLPs fall back to those of the step before (protocol 2.2).
    last_head: whether a layer's last head may go. The released masks of heads alone keep it (2.3).
    criterion, criterion_sha256: of a user's own, in place of gradient importance and its normalisation: its
    name, and the sha256 of its source.
    """

    step: float = 0.1
    components: Components = before("both")
    importance: Literal["per_example", "cumulative"] = before("per_example")
    layer_norm: Literal["all", "survivors"] = before("all")
    later_phases: Literal["accepted", "released"] = before("accepted")
    last_head: Literal["prunable", "kept"] = before("prunable")
    criterion: str | None = before(None)
    criterion_sha256: str | None = before(None)

    @property
    def name(self) -> str:
        return next(name for name, components in COMPONENTS.items() if components == self.components)


@dataclass(frozen=True)
class Magnitude:
    """Iterative pruning of the smallest weights of the encoder, over all layers (section 3.1).

    step: share of the remaining weights that a step removes: 10% as written, 5% as run (protocol 6.3).
    max_steps: None for no limit. As released, the last of them is looked at and never kept.
    criterion, criterion_sha256: of a user's own, in place of a weight's magnitude.
    """

    step: float = 0.1
    max_steps: int | None = before(None)
    criterion: str | None = before(None)
    criterion_sha256: str | None = before(None)

    @property
    def name(self) -> str:
        return "magnitude"


COMPONENTS: dict[str, Components] = {"structured": "both", "heads": "heads", "mlps": "mlps"}
METHODS = (*COMPONENTS, "magnitude")


@dataclass(frozen=True)
class Search:
    """Find the good subnetwork of a fine-tuned model.

    floor: share of the full model's score that it must keep.
    data: what scores it: the dev set, as in the paper; the rows that fine-tuning held out; or, as
    released beside the paper, as many rows as the dev set has of those that it was trained on.
    down_to: the first phase goes on past the floor until no more than this share is left, so that
    smaller sizes can be read from its states. 1: it stops at the floor.
    """

    VERSION: ClassVar[int] = 1

    finetune: Finetune
    method: Structured | Magnitude
    floor: float = 0.9
    data: SearchData = before("dev")
    down_to: float = before(1.0)


@dataclass(frozen=True)
class Ticket:
    """A subnetwork: its mask, scored pruned (on the fine-tuned weights) and retrained (from the
    weights that fine-tuning started from, by the recipe).

    finetune: the fine-tuned model it is scored on.
    sources: the searches its mask is drawn from: one, or for super-survivors every seed's.
    draw: which of several random draws.
    recipe: of the retraining.
    size: the search's stopping size, or this share of each kind of component, read from its states.
    rule: how the mask is drawn (see `tickets`): exactly, or in one of the released ways.
    start: what retraining starts from.
    removal: as released, a layer without heads loses its output bias, and a retrained network is scored
    after a re-load that loses the attention of layers with half their heads (protocol 2.4, 6.2).
    kind_sha256: of the source that draws it, if a user added its kind; None: one of ours.
    """

    VERSION: ClassVar[int] = 1

    finetune: Finetune
    sources: tuple[Search, ...]
    kind: str
    recipe: Recipe = Recipe()
    draw: int = 0
    size: Size = before("stopping")
    rule: Rule = before("exact")
    start: Literal["pretrained", "random"] = before("pretrained")
    removal: Literal["sound", "released"] = before("sound")
    kind_sha256: str | None = before(None)

    @property
    def mask_stream(self) -> str:
        """The name of the stream its mask is drawn from: the key of the ticket as it would be retrained
        like its fine-tuned model, so that every retraining of a ticket in one layout has the same mask."""
        recipe = replace(self.finetune.recipe, layout=self.recipe.layout)
        return key(replace(self, recipe=recipe, start="pretrained", removal="sound"))


@dataclass(frozen=True)
class NullDraws:
    """The pruned scores of many random masks of a good mask's size, without any training: among them
    the good one's percentile is the test of being good.

    kind: random, or layer_matched. draws: how many.
    """

    VERSION: ClassVar[int] = 1

    finetune: Finetune
    source: Search
    kind: NullKind
    draws: int
    size: Size = "stopping"


@dataclass(frozen=True)
class Published:
    """A mask, or the scores of one network over seeds, that others have published. Nothing runs it:
    `published` reads it from their files.

    file: sha256 of what it was read from. name: of the mask's family, or the scores' setting, in there.
    seed: None for scores over seeds. method, network: by the names that the report has for them.
    """

    VERSION: ClassVar[int] = 1

    file: str
    name: str
    task: str
    seed: int | None
    method: str
    network: str


Node = Pretrain | Finetune | Search | Ticket | NullDraws
NODE_TYPES = (Pretrain, Finetune, Search, Ticket, NullDraws)


def _canonical(value: Any) -> Any:
    if isinstance(value, NODE_TYPES):
        return key(value)
    if is_dataclass(value):
        return identity(value)
    if isinstance(value, tuple):
        return [_canonical(item) for item in value]
    return value


def identity(value: Any) -> dict[str, Any]:
    """What is hashed: every field with its default, the class and its VERSION, the parents' keys."""
    content = {
        # 1 and 1.0 are equal, so nodes with them are; their keys must be too
        f.name: float(getattr(value, f.name)) if f.type is float else _canonical(getattr(value, f.name))
        for f in fields(value)
        if f.metadata.get("identity", True)
        and ("before" not in f.metadata or getattr(value, f.name) != f.metadata["before"])
    }
    version = {"version": value.VERSION} if hasattr(value, "VERSION") else {}
    return {"type": type(value).__name__} | version | content


@functools.cache
def key(node: Node | Published) -> str:
    """16 hexadecimal digits that name a node's folder, trial and run: the sha256 of its canonical
    JSON."""
    canonical = json.dumps(identity(node), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def parents(node: Node | Published) -> tuple[Node, ...]:
    """The nodes whose artifacts this one reads, each once."""
    match node:
        case Pretrain() | Published():
            found: Iterable[Any] = ()
        case Finetune():
            found = (node.model,)
        case Search():
            found = (node.finetune, node.finetune.model)
        case Ticket() | NullDraws():
            sources = sources_of(node)
            # a magnitude mask of another size is read from the weights themselves
            weights = [source.finetune for source in sources if isinstance(source.method, Magnitude)]
            read = weights if node.size != "stopping" else []
            found = (node.finetune, node.finetune.model, *sources, *read)
    return tuple(dict.fromkeys(n for n in found if isinstance(n, NODE_TYPES)))


def sources_of(node: Ticket | NullDraws) -> tuple[Search, ...]:
    return node.sources if isinstance(node, Ticket) else (node.source,)


def processes(node: Node | Published) -> int:
    """In how many processes it runs: trainings may have several."""
    return node.recipe.processes if isinstance(node, Finetune | Ticket) else 1


def stage(node: Node | Published) -> str:
    """The kind of node, as people name it: pretrain, finetune, search, ticket, nulls or published."""
    return "nulls" if isinstance(node, NullDraws) else type(node).__name__.lower()


def labels(node: Node | Published) -> dict[str, Any]:
    """The flat names a table has columns for; None where a node has no such thing.

    start: what it is trained from. size: "stopping", or a share such as "0.5". source: the task that a
    transferred ticket comes from. epochs: of its training. A fine-tuned model of a user's own task has
    task_title, too.
    """
    names = ("task", "seed", "method", "kind", "draw", "start", "size", "source", "epochs")
    flat: dict[str, Any] = dict.fromkeys(names)
    flat["stage"] = stage(node)
    match node:
        case Pretrain():
            flat["seed"] = node.seed
        case Published():
            flat |= {"task": node.task, "seed": node.seed, "method": node.method, "kind": node.network}
            flat |= {"draw": 0, "size": "stopping"}
        case Finetune():
            flat |= {"task": node.task, "seed": node.seed, "start": node.start, "epochs": node.recipe.epochs}
            flat |= {"task_title": node.own_task.title} if node.own_task else {}
        case Search():
            flat |= {name: value for name, value in labels(node.finetune).items() if name in names}
            flat |= {"stage": "search", "method": node.method.name}
        case Ticket() | NullDraws():
            source = sources_of(node)[0]
            flat |= labels(source)
            flat |= {"task": node.finetune.task, "seed": node.finetune.seed, "stage": stage(node)}
            flat |= {"kind": node.kind, "size": str(node.size)}
            if isinstance(node, Ticket):
                flat |= {"draw": node.draw, "start": node.start, "epochs": node.recipe.epochs}
                flat["source"] = source.finetune.task if node.kind == "transfer" else None
    return flat


def title(node: Node) -> str:
    """A short name for people, such as "ticket sst2 seed 42 structured random 0"."""
    flat = labels(node)
    words = [flat["stage"], flat["task"]]
    words += [f"seed {flat['seed']}", _method(node), flat["kind"] and flat["kind"].replace("_", " ")]
    words += [flat["draw"] if flat["kind"] in ("random", "layer_matched") else None]
    words += [f"from {flat['source']}" if flat["source"] else None]
    words += [f"size {flat['size']}" if flat["size"] not in (None, "stopping") else None]
    words += [START_WORDS.get(flat["start"])]
    if isinstance(node, Ticket) and node.recipe.epochs != node.finetune.recipe.epochs:
        words += [f"{node.recipe.epochs} epochs"]
    return " ".join(str(word) for word in words if word is not None)


def _method(node: Node) -> str | None:
    """As it is chosen: METHOD, or METHOD:CRITERION."""
    match node:
        case Search():
            return ":".join(filter(None, (node.method.name, node.method.criterion)))
        case Ticket() | NullDraws():
            return _method(sources_of(node)[0])
    return None


START_WORDS = {"random": "random start", "frozen": "frozen encoder"}


def with_ancestors(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """These nodes and all they need, each once, parents first."""
    ordered: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node not in ordered:
            for parent in parents(node):
                visit(parent)
            ordered[node] = None

    for node in nodes:
        visit(node)
    return tuple(ordered)
