"""What runs next: of the nodes whose parents are done, the one that the longest chain waits for."""

import heapq
from collections.abc import Callable, Hashable, Iterable, Mapping, Set
from typing import Generic, TypeVar

from lottery_ray.experiment.graph import Node, parents
from lottery_ray.scheduling.costs import cost


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
