"""The experiment as a graph of frozen nodes.

    Pretrain                      only in the embedded study: makes its small model
      Finetune                    weights, dev score and predictions
        Search                    the state after every step, component scores, the good mask
          Ticket                  a mask, its pruned score and its retrained score

A node holds all that changes its result and nothing else, so that its key names its result: where
data and weights lie, devices and workers are in `study.Site`.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal

from lottery_ray.language import Language

Kind = Literal["good", "random", "bad"]
KINDS: tuple[Kind, ...] = ("good", "random", "bad")
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


@dataclass(frozen=True)
class FolderModel:
    """A checkpoint in a local folder: the sha256 of its config, weights and tokenizer files."""

    sha256: str


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
    layout: Literal["compacted", "gated"] = "compacted"
    """Retrain structured tickets with their pruned parts cut out, or multiplied by zero. With dropout
    the two draw different random numbers."""
    threads: int = 1
    """CPU threads of a trial; results differ in their last bits between numbers of threads."""


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
    pre-training is worth).
    train_limit: this many training rows, drawn once per task; None is all of them.
    """

    VERSION: ClassVar[int] = 1

    task: str
    seed: int
    model: Model
    data: Data
    recipe: Recipe = Recipe()
    train_limit: int | None = None
    start: Literal["pretrained", "random"] = "pretrained"


@dataclass(frozen=True)
class Structured:
    """Iterative pruning of heads and MLPs by gradient importance (section 3.2 of the paper).

    step: share of all heads that the first phase removes at a time, beside one MLP; the second phase
    removes half as many heads alone, the third one MLP alone.
    """

    name: ClassVar[str] = "structured"
    step: float = 0.1


@dataclass(frozen=True)
class Magnitude:
    """Iterative pruning of the smallest weights of the encoder, over all layers (section 3.1).

    step: share of the remaining weights that a step removes.
    """

    name: ClassVar[str] = "magnitude"
    step: float = 0.1


METHODS: dict[str, Structured | Magnitude] = {"structured": Structured(), "magnitude": Magnitude()}


@dataclass(frozen=True)
class Search:
    """Find the good subnetwork of a fine-tuned model on the dev set.

    floor: share of the full model's dev score that it must keep.
    """

    VERSION: ClassVar[int] = 1

    finetune: Finetune
    method: Structured | Magnitude
    floor: float = 0.9


@dataclass(frozen=True)
class Ticket:
    """A subnetwork: its mask, scored pruned (on the fine-tuned weights) and retrained (from the
    weights that fine-tuning started from, by the recipe).

    finetune: the fine-tuned model it is scored on.
    sources: the searches its mask is drawn from.
    draw: which of several random draws.
    recipe: of the retraining.
    """

    VERSION: ClassVar[int] = 1

    finetune: Finetune
    sources: tuple[Search, ...]
    kind: Kind
    recipe: Recipe = Recipe()
    draw: int = 0


Node = Pretrain | Finetune | Search | Ticket
NODE_TYPES = (Pretrain, Finetune, Search, Ticket)


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
def key(node: Node) -> str:
    """16 hexadecimal digits that name a node's folder, trial and run: the sha256 of its canonical
    JSON."""
    canonical = json.dumps(identity(node), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def parents(node: Node) -> tuple[Node, ...]:
    """The nodes whose artifacts this one reads, each once."""
    match node:
        case Pretrain():
            found: Iterable[Any] = ()
        case Finetune():
            found = (node.model,)
        case Search():
            found = (node.finetune, node.finetune.model)
        case Ticket():
            found = (node.finetune, node.finetune.model, *node.sources)
    return tuple(dict.fromkeys(n for n in found if isinstance(n, NODE_TYPES)))


def stage(node: Node) -> str:
    """The kind of node, as people name it: pretrain, finetune, search or ticket."""
    return type(node).__name__.lower()


def labels(node: Node) -> dict[str, Any]:
    """The flat names a table has columns for; None where a node has no such thing."""
    flat: dict[str, Any] = dict.fromkeys(("task", "seed", "method", "kind", "draw", "start"))
    flat["stage"] = stage(node)
    match node:
        case Pretrain():
            flat["seed"] = node.seed
        case Finetune():
            flat |= {"task": node.task, "seed": node.seed, "start": node.start}
        case Search():
            flat |= labels(node.finetune) | {"stage": "search", "method": node.method.name}
        case Ticket():
            flat |= labels(node.sources[0])
            flat |= {"task": node.finetune.task, "seed": node.finetune.seed}
            flat |= {"stage": "ticket", "kind": node.kind, "draw": node.draw}
    return flat


def title(node: Node) -> str:
    """A short name for people, such as "ticket sst2 seed 42 structured random 0"."""
    flat = labels(node)
    words = [flat["stage"], flat["task"]]
    words += [f"seed {flat['seed']}", flat["method"], flat["kind"]]
    words += [flat["draw"] if flat["kind"] == "random" else None]
    words += ["random start" if flat["start"] == "random" else None]
    return " ".join(str(word) for word in words if word is not None)


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
