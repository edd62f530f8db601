"""The experiment is a graph of frozen nodes, and a kind of node is one declaration.

A kind is a frozen dataclass below `Node`. Planner, scheduler, progress, forecast, tracking and the report's
inventory read what it declares; none asks for a node's type. A node holds all that changes its result and
nothing else, so that its key names its result: where data and weights lie, devices and workers are in
`study.Site`.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from lottery_ray.experiment.effort import Examples, Rows
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.identity import digest, identity

LABELS = ("task", "seed", "method", "kind", "draw", "start", "size", "source", "epochs")
"""The flat names a table has columns for.

start: what it is trained from. size: "stopping", or a share such as "0.5". source: the task that a
transferred ticket comes from. epochs: of its training."""
START_WORDS = {"random": "random start", "frozen": "frozen encoder"}


class Node(ABC):
    """What all kinds of node declare.

    VERSION: of what the kind computes; a change to that raises it. stage: the kind, as people name it. runs:
    what does a node's work, "module:function" of (node, trial.work.Work), which leaves artifacts and returns
    the result. columns: {field of its result: what it is}. leaves: the type and the file of an artifact with
    a lineage of its own, if it has one.
    """

    VERSION: ClassVar[int]
    stage: ClassVar[str]
    runs: ClassVar[str]
    columns: ClassVar[Mapping[str, str]]
    leaves: ClassVar[tuple[str, str] | None] = None

    def __init_subclass__(cls) -> None:
        if "stage" in vars(cls):
            NODE_KINDS[cls.stage] = cls

    @functools.cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name a node's folder, trial and run: the sha256 of its canonical
        JSON."""
        return digest(identity(self))[:16]

    @property
    def full(self) -> "Node | None":
        """The fine-tuned model that it is of, itself if it is one; None if it is of none."""
        return None

    @property
    def search(self) -> "Node | None":
        """The search that it is of, itself if it is one; the first where there are several."""
        return None

    @property
    @abstractmethod
    def setting(self) -> Recipe:
        """Whose threads and precision its process has."""

    def reads(self) -> Iterable[Any]:
        """What its work reads: the nodes among it are its parents."""
        return ()

    def outside(self) -> Iterable[Any]:
        """Of what it reads, the models and data from outside the root."""
        return ()

    @abstractmethod
    def work(self, rows: Rows) -> Examples:
        """What it does, for a task with so many rows."""

    @abstractmethod
    def named(self) -> dict[str, Any]:
        """Those of `LABELS` that it has, and others of its own."""

    def as_recorded(self, result: Mapping[str, Any]) -> Self:
        """With what its record's result says that its identity does not."""
        return self


NODE_KINDS: dict[str, type[Node]] = {}
"""{stage: kind of node}, in the order of the graph."""


def key(node: Node) -> str:
    """See `Node.key`."""
    return node.key


def stage(node: Node) -> str:
    """See `Node.stage`."""
    return node.stage


def parents(node: Node) -> tuple[Node, ...]:
    """The nodes whose artifacts this one reads, each once."""
    return tuple(dict.fromkeys(read for read in node.reads() if isinstance(read, Node)))


def labels(node: Node) -> dict[str, Any]:
    """{name: value} of `LABELS`, None where a node has no such thing, and of stage. A fine-tuned model of a
    user's own task has task_title, too."""
    return dict.fromkeys(LABELS) | {"stage": node.stage} | node.named()


def node_title(node: Node) -> str:
    """A short name for people, such as "ticket sst2 seed 42 structured random 0"."""
    flat = labels(node)
    search: Any = node.search
    words = [flat["stage"], flat["task"]]
    words += [None if flat["seed"] is None else f"seed {flat['seed']}", search and search.method.chosen]
    words += [flat["kind"] and flat["kind"].replace("_", " ")]
    words += [flat["draw"] if flat["kind"] in ("random", "layer_matched") else None]
    words += [f"from {flat['source']}" if flat["source"] else None]
    words += [f"size {flat['size']}" if flat["size"] not in (None, "stopping") else None]
    words += [START_WORDS.get(flat["start"])]
    usual = labels(node.full)["epochs"] if node.full else flat["epochs"]
    words += [f"{flat['epochs']} epochs" if flat["epochs"] not in (None, usual) else None]
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


def in_order(nodes: Iterable[Node]) -> list[Node]:
    """These nodes by kind, in the order of the graph."""
    stages = list(NODE_KINDS)
    return sorted(nodes, key=lambda node: stages.index(node.stage))
