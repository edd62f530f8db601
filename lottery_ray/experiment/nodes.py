"""The kinds of node of the experiment, each declared here and nowhere else.

Pretrain                      only in the embedded study: makes its small model
  Finetune                    weights, dev score and predictions
    Search                    the state after every step, component scores, the good mask
      Ticket                  a mask, its pruned score and its retrained score
      NullDraws               the pruned scores of many random masks of the good one's size
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, get_args

from lottery_ray.experiment.effort import COMPACTED, PASSES, Examples, Rows
from lottery_ray.experiment.graph import Node, labels
from lottery_ray.experiment.methods import Magnitude, Structured
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.identity import before
from lottery_ray.inputs.data import Data
from lottery_ray.inputs.language import Language
from lottery_ray.inputs.models import FolderModel, HubModel
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
SearchData = Literal["dev", "held_out", "train_subset"]
Rule = Literal["exact", "bernoulli", "largest_removed", "released"]


@dataclass(frozen=True)
class Pretrain(Node):
    """Make the embedded study's small BERT: masked-language modelling on its own corpus.

    masked_verbs, masked_others: share of verbs and of other words that are masked. Verbs are masked more
    often, or agreement emerges late or never.
    """

    VERSION = 1
    stage = "pretrain"
    runs = "lottery_ray.trial.pretrain:pretrain_node"
    columns: ClassVar = {
        "loss": "masked-language-modelling loss of the last batch",
        "verb_agreement": "share of held-out verbs whose agreement class comes first",
    }
    leaves = ("base-model", "model.safetensors")

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

    @property
    def setting(self) -> Recipe:
        return Recipe(threads=self.threads)

    def work(self, rows: Rows) -> Examples:
        return Examples(trained=self.steps * self.batch_size)

    def named(self) -> dict[str, Any]:
        return {"seed": self.seed}


Model = HubModel | FolderModel | Pretrain


@dataclass(frozen=True)
class Finetune(Node):
    """Train the full model on a task.

    start: the weights it starts from: pre-trained, or random (the control that shows what
    pre-training is worth), or pre-trained and frozen, so that the classification head alone is trained.
    train_limit: this many training rows, drawn once per task; None is all of them.
    held_out: share of these rows that neither fine-tuning nor retraining sees, for a search to use.
    own_task: what the task is, if a user added it; None: one of ours.
    """

    VERSION = 2
    stage = "finetune"
    runs = "lottery_ray.trial.finetune:finetune_node"
    columns: ClassVar = {
        "score": "dev score",
        "pruning_score": "dev score that drives searches",
        "train_examples": "rows trained on",
        "dev_examples": "rows of the dev set",
        "dev_tokens": "tokens of a dev example, on average",
        "architecture": "sizes of the network, in components and weights",
    }
    leaves = ("model", "model.safetensors")

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

    @property
    def full(self) -> "Finetune":
        return self

    @property
    def setting(self) -> Recipe:
        return self.recipe

    def reads(self) -> Iterable[Any]:
        return (self.model,)

    def outside(self) -> Iterable[Model | Data]:
        return self.model, self.data

    def work(self, rows: Rows) -> Examples:
        return Examples(rows.train + rows.dev, rows.train * self.recipe.epochs, rows.dev)

    def named(self) -> dict[str, Any]:
        flat = {"task": self.task, "seed": self.seed, "start": self.start, "epochs": self.recipe.epochs}
        return flat | ({"task_title": self.own_task.title} if self.own_task else {})

    def as_recorded(self, result: Mapping[str, Any]) -> Self:
        """With the sizes of a user's own task, which what it costs is told from."""
        if self.own_task is None:
            return self
        sizes = {
            "train_size": round(result["train_examples"] / (1 - self.held_out)),
            "dev_size": result["dev_examples"],
        }
        return replace(self, own_task=replace(self.own_task, **sizes))

    @property
    def rows(self) -> Rows:
        """Of a task whose data is GLUE's, the embedded study's, or a user's own."""
        size = self.definition.train_size
        limited = min(self.train_limit or size, size)
        return Rows(limited * (1 - self.held_out), self.definition.dev_size)


class OfModel(Node):
    """A kind of node that is of a fine-tuned model."""

    finetune: Finetune

    @property
    def full(self) -> Finetune:
        return self.finetune

    @property
    def setting(self) -> Recipe:
        return self.finetune.recipe

    def reads(self) -> Iterable[Any]:
        return self.finetune, self.finetune.model


@dataclass(frozen=True)
class Search(OfModel):
    """Find the good subnetwork of a fine-tuned model.

    floor: share of the full model's score that it must keep.
    data: what scores it: the dev set, as in the paper; the rows that fine-tuning held out; or, as
    released beside the paper, as many rows as the dev set has of those that it was trained on.
    down_to: the first phase goes on past the floor until no more than this share is left, so that
    smaller sizes can be read from its states. 1: it stops at the floor.
    """

    VERSION = 1
    stage = "search"
    runs = "lottery_ray.trial.search:search_node"
    columns: ClassVar = {
        "full_score": "the full model's score on the rows that it is scored on",
        "floor": "the score that a good subnetwork must reach",
        "score": "the good subnetwork's",
        "examples": "rows that it is scored on",
        "steps": "each candidate: phase, score, accepted, kept, and of weights the threshold",
        "sizes": "{component: kept and of} of the good mask",
    }
    leaves = ("mask", "mask.arrow")

    finetune: Finetune
    method: Structured | Magnitude
    floor: float = 0.9
    data: SearchData = before("dev")
    down_to: float = before(1.0)

    @property
    def search(self) -> "Search":
        return self

    def work(self, rows: Rows) -> Examples:
        share = self.finetune.held_out
        looked_at = rows.train * share / (1 - share) if self.data == "held_out" else rows.dev
        if isinstance(self.method, Magnitude):
            return Examples(looked_at, scored=PASSES * looked_at)
        return Examples(looked_at, with_importance=PASSES * looked_at)

    def named(self) -> dict[str, Any]:
        of = labels(self.finetune)
        return {name: of[name] for name in ("task", "seed", "start", "epochs")} | {"method": self.method.name}


def _drawn_from(full: Finetune, sources: Iterable[Search], size: Size) -> Iterable[Any]:
    """What is read to draw masks from searches, and to score them. A magnitude mask of another size than the
    stopping one is read from the weights themselves."""
    weights = [source.finetune for source in sources if isinstance(source.method, Magnitude)]
    return full, full.model, *sources, *(weights if size != "stopping" else [])


@dataclass(frozen=True)
class Ticket(OfModel):
    """A subnetwork: its mask, scored pruned (on the fine-tuned weights) and retrained (from the
    weights that fine-tuning started from, by the recipe).

    finetune: the fine-tuned model it is scored on.
    sources: the searches its mask is drawn from: one, or for super-survivors every seed's.
    draw: which of several random draws.
    recipe: of the retraining.
    size: the search's stopping size, or this share of each kind of component, read from its states.
    rule: how the mask is drawn (see `draws`): exactly, or in one of the released ways.
    start: what retraining starts from.
    removal: as released, a layer without heads loses its output bias, and a retrained network is scored
    after a re-load that loses the attention of layers with half their heads (protocol 2.4, 6.2).
    kind_sha256: of the source that draws it, if a user added its kind; None: one of ours.
    """

    VERSION = 1
    stage = "ticket"
    runs = "lottery_ray.trial.ticket:ticket_node"
    columns: ClassVar = {
        "pruned": "dev score of the mask on the fine-tuned weights",
        "retrained": "dev score after retraining",
        "sizes": "{component: kept and of} of its mask",
        "weights": "kept and of, prunable encoder weights",
        "overlap_with_good": "{component: how many it shares with the good mask, or with super's}",
        "forced_overlap": "{component: how many masks of these sizes must share}",
    }
    leaves = ("mask", "mask.arrow")

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
        return replace(self, recipe=recipe, start="pretrained", removal="sound").key

    @property
    def search(self) -> Search:
        return self.sources[0]

    @property
    def setting(self) -> Recipe:
        return self.recipe

    def reads(self) -> Iterable[Any]:
        return _drawn_from(self.finetune, self.sources, self.size)

    def work(self, rows: Rows) -> Examples:
        cut = isinstance(self.search.method, Structured) and self.recipe.layout == "compacted"
        trained = rows.train * self.recipe.epochs * (COMPACTED if cut else 1.0)
        return Examples(rows.train + rows.dev, trained, 2 * rows.dev, networks=2)

    def named(self) -> dict[str, Any]:
        return _named_by_search(self.search, self.finetune, self.kind, self.size) | {
            "draw": self.draw,
            "start": self.start,
            "epochs": self.recipe.epochs,
            "source": self.search.finetune.task if self.kind == "transfer" else None,
        }


def _named_by_search(search: Search, full: Finetune, kind: str, size: Size) -> dict[str, Any]:
    """The labels of what is drawn from a search and scored on a fine-tuned model."""
    return search.named() | {"task": full.task, "seed": full.seed, "kind": kind, "size": str(size)}


@dataclass(frozen=True)
class NullDraws(OfModel):
    """The pruned scores of many random masks of a good mask's size, without any training: among them
    the good one's percentile is the test of being good.

    kind: random, or layer_matched. draws: how many.
    """

    VERSION = 1
    stage = "nulls"
    runs = "lottery_ray.trial.null_draws:null_draws_node"
    columns: ClassVar = {
        "good": "dev score of the good mask, pruned",
        "scores": "of every draw, pruned",
        "sizes": "{component: kept and of} of the good mask",
        "dev_examples": "rows of the dev set",
    }

    finetune: Finetune
    source: Search
    kind: NullKind
    draws: int
    size: Size = "stopping"

    @property
    def search(self) -> Search:
        return self.source

    def reads(self) -> Iterable[Any]:
        return _drawn_from(self.finetune, (self.source,), self.size)

    def work(self, rows: Rows) -> Examples:
        return Examples(rows.dev, scored=(self.draws + 1) * rows.dev)

    def named(self) -> dict[str, Any]:
        return _named_by_search(self.source, self.finetune, self.kind, self.size)
