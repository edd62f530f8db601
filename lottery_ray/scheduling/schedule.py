"""What runs next: of the nodes whose parents are done, the one that the longest chain waits for."""

import heapq
from collections.abc import Callable, Hashable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Generic, TypeVar

from lottery_ray.experiment.nodes import (
    Finetune,
    Magnitude,
    Node,
    NullDraws,
    Pretrain,
    Search,
    Structured,
    Ticket,
    parents,
)

SCORED = 1 / 3
"""The work of scoring an example, in examples trained on: a forward pass without the two backward ones."""
PASSES = 13
"""Dev passes of a search: 6 to 23 in the paper's."""
COMPACTED = 0.7
"""The work of training a structured ticket with its pruned parts cut out, in that of the full model: .57 to
.82 of the operations for the good ones of GLUE."""


@dataclass(frozen=True)
class Rows:
    """How many rows a task has to train on, after `train_limit` and without the held-out ones, and how many
    in its dev set."""

    train: float
    dev: float


@dataclass(frozen=True)
class Examples:
    """How many examples a node reads and tokenises, trains on, scores, and scores with importance; those
    of every pass count."""

    encoded: float
    trained: float = 0.0
    scored: float = 0.0
    with_importance: float = 0.0


def cost(node: Node) -> float:
    """About how many training examples' worth of work a node is; only ratios matter."""
    if isinstance(node, Pretrain):
        return node.steps * node.batch_size
    finetune = node if isinstance(node, Finetune) else node.finetune
    work = examples(node, whole(finetune))
    return work.trained + work.scored * SCORED + work.with_importance * 2 * SCORED


def whole(node: Finetune) -> Rows:
    """Of a task whose data is GLUE's, the embedded study's, or a user's own."""
    task = node.definition
    size = task.train_size
    return Rows(min(node.train_limit or size, size) * (1 - node.held_out), task.dev_size)


def examples(node: Finetune | Search | Ticket | NullDraws, rows: Rows) -> Examples:
    """What a node of a task with so many rows does."""
    match node:
        case Finetune():
            return Examples(rows.train + rows.dev, rows.train * node.recipe.epochs, rows.dev)
        case Search():
            held_out = node.finetune.held_out
            looked_at = rows.train * held_out / (1 - held_out) if node.data == "held_out" else rows.dev
            if isinstance(node.method, Magnitude):
                return Examples(looked_at, scored=PASSES * looked_at)
            return Examples(looked_at, with_importance=PASSES * looked_at)
        case Ticket():
            trained = rows.train * node.recipe.epochs * _share(node)
            return Examples(rows.train + rows.dev, trained, 2 * rows.dev)
        case NullDraws():
            return Examples(rows.dev, scored=(node.draws + 1) * rows.dev)


def _share(node: Ticket) -> float:
    """Of a full model's work that a ticket's retraining takes."""
    structured = isinstance(node.sources[0].method, Structured)
    return COMPACTED if structured and node.recipe.layout == "compacted" else 1.0


def remaining_path(nodes: Iterable[Node], seconds: Callable[[Node], float] = cost) -> dict[Node, float]:
    """{node: cost of the longest chain from it to a leaf}, itself included; parents come first in
    `nodes`."""
    order = list(nodes)
    longest_child = dict.fromkeys(order, 0.0)
    total: dict[Node, float] = {}
    for node in reversed(order):
        total[node] = seconds(node) + longest_child[node]
        for parent in parents(node):
            if parent in longest_child:
                longest_child[parent] = max(longest_child[parent], total[node])
    return total


J = TypeVar("J", bound=Hashable)


class Schedule(Generic[J]):
    """The nodes of a sweep that are not done, handed out in the order in which they should run.

    nodes: parents first. done: those of them, and of their parents, that have a record. priority:
    {node: number}; of the nodes whose parents are done the one with the highest goes first. needs: what
    must be done before a node, its parents.
    """

    def __init__(
        self,
        nodes: Iterable[J],
        done: Set[J],
        priority: Mapping[J, float],
        needs: Callable[[J], Iterable[J]] = parents,  # type: ignore[assignment]
    ) -> None:
        self.priority = priority
        waiting = [node for node in nodes if node not in done]
        self._number = {node: number for number, node in enumerate(waiting)}
        self._missing = {node: set(needs(node)) - done for node in waiting}
        self._children: dict[J, list[J]] = {node: [] for node in waiting}
        for node, missing in self._missing.items():
            for parent in missing:
                self._children[parent].append(node)
        self._ready: list[tuple[float, int, J]] = []
        self._waiting = set(waiting)
        self._out: set[J] = set()
        for node in waiting:
            if not self._missing[node]:
                self._offer(node)

    def _offer(self, node: J) -> None:
        # the number decides between equals, so that nodes are never compared
        heapq.heappush(self._ready, (-self.priority[node], self._number[node], node))

    @property
    def ended(self) -> bool:
        """Nothing waits and nothing is out."""
        return not self._waiting and not self._out

    def peek(self) -> J | None:
        """What `next` would hand out."""
        return self._ready[0][2] if self._ready else None

    def next(self) -> J | None:
        """Hand out a node; None where all that wait need one that is out."""
        if not self._ready:
            return None
        node = heapq.heappop(self._ready)[2]
        self._waiting.remove(node)
        self._out.add(node)
        return node

    def again(self, node: J) -> None:
        """It has to run once more."""
        self._out.remove(node)
        self._waiting.add(node)
        self._offer(node)

    def finished(self, node: J) -> None:
        self._out.remove(node)
        for child in self._children[node]:
            self._missing[child].discard(node)
            if not self._missing[child] and child in self._waiting:
                self._offer(child)

    def failed(self, node: J) -> list[J]:
        """For good: the nodes that need it are dropped, and returned, parents first."""
        self._out.remove(node)
        dropped: set[J] = set()
        frontier = [node]
        while frontier:
            lost = {child for child in self._children[frontier.pop()] if child in self._waiting} - dropped
            dropped |= lost
            frontier += lost
        self._waiting -= dropped
        return sorted(dropped, key=self._number.__getitem__)
