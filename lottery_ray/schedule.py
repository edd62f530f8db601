"""What runs next: of the nodes whose parents are done, the one that the longest chain waits for."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Set

from lottery_ray.nodes import (
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
from lottery_ray.tasks import TASKS

SCORED = 1 / 3
"""The work of scoring an example, in examples trained on: a forward pass without the two backward ones."""
PASSES = 13
"""Dev passes of a search: 6 to 23 in the paper's."""
COMPACTED = 0.7
"""The work of training a structured ticket with its pruned parts cut out, in that of the full model: .57 to
.82 of the operations for the good ones of GLUE."""


def cost(node: Node) -> float:
    """About how many training examples' worth of work a node is; only ratios matter."""
    match node:
        case Pretrain():
            return node.steps * node.batch_size
        case Finetune():
            return _train_rows(node) * node.recipe.epochs + TASKS[node.task].dev_size * SCORED
        case Search():
            one = SCORED if isinstance(node.method, Magnitude) else 2 * SCORED
            return PASSES * _search_rows(node) * one
        case Ticket():
            trained = _train_rows(node.finetune) * node.recipe.epochs * _share(node)
            return trained + 2 * TASKS[node.finetune.task].dev_size * SCORED
        case NullDraws():
            return (node.draws + 1) * TASKS[node.finetune.task].dev_size * SCORED


def _share(node: Ticket) -> float:
    """Of a full model's work that a ticket's retraining takes."""
    structured = isinstance(node.sources[0].method, Structured)
    return COMPACTED if structured and node.recipe.layout == "compacted" else 1.0


def _train_rows(node: Finetune) -> float:
    size = TASKS[node.task].train_size
    return min(node.train_limit or size, size) * (1 - node.held_out)


def _search_rows(node: Search) -> float:
    if node.data != "held_out":
        return TASKS[node.finetune.task].dev_size
    return _train_rows(node.finetune) * node.finetune.held_out / (1 - node.finetune.held_out)


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


class Schedule:
    """The nodes of a sweep that are not done, handed out in the order in which they should run.

    nodes: parents first. done: those of them, and of their parents, that have a record. priority:
    {node: number}; of the nodes whose parents are done the one with the highest goes first.
    """

    def __init__(self, nodes: Iterable[Node], done: Set[Node], priority: Mapping[Node, float]) -> None:
        self.priority = priority
        waiting = [node for node in nodes if node not in done]
        self._number = {node: number for number, node in enumerate(waiting)}
        self._missing = {node: set(parents(node)) - done for node in waiting}
        self._children: dict[Node, list[Node]] = {node: [] for node in waiting}
        for node, missing in self._missing.items():
            for parent in missing:
                self._children[parent].append(node)
        self._ready: list[tuple[float, int, Node]] = []
        self._waiting = set(waiting)
        self._out: set[Node] = set()
        for node in waiting:
            if not self._missing[node]:
                self._offer(node)

    def _offer(self, node: Node) -> None:
        # the number decides between equals, so that nodes are never compared
        heapq.heappush(self._ready, (-self.priority[node], self._number[node], node))

    @property
    def ended(self) -> bool:
        """Nothing waits and nothing is out."""
        return not self._waiting and not self._out

    def peek(self) -> Node | None:
        """What `next` would hand out."""
        return self._ready[0][2] if self._ready else None

    def next(self) -> Node | None:
        """Hand out a node; None where all that wait need one that is out."""
        if not self._ready:
            return None
        node = heapq.heappop(self._ready)[2]
        self._waiting.remove(node)
        self._out.add(node)
        return node

    def again(self, node: Node) -> None:
        """It has to run once more."""
        self._out.remove(node)
        self._waiting.add(node)
        self._offer(node)

    def finished(self, node: Node) -> None:
        self._out.remove(node)
        for child in self._children[node]:
            self._missing[child].discard(node)
            if not self._missing[child] and child in self._waiting:
                self._offer(child)

    def failed(self, node: Node) -> list[Node]:
        """For good: the nodes that need it are dropped, and returned, parents first."""
        self._out.remove(node)
        dropped: set[Node] = set()
        frontier = [node]
        while frontier:
            lost = {child for child in self._children[frontier.pop()] if child in self._waiting} - dropped
            dropped |= lost
            frontier += lost
        self._waiting -= dropped
        return sorted(dropped, key=self._number.__getitem__)
