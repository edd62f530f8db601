"""What a study costs before it runs: seconds of its nodes from measured ones, GPU-hours and makespan."""

import heapq
from collections.abc import Iterable, Mapping

from lottery_ray.nodes import Node, parents
from lottery_ray.schedule import Schedule, remaining_path


def makespan(
    nodes: Iterable[Node], seconds: Mapping[Node, float], slots: int, between: float = 0.0
) -> float:
    """Seconds until the last of these nodes is done, on so many slots, in the order of a sweep.

    nodes: those to run, parents first; what they need beside them is done. seconds: of every one. between:
    from a trial's end until its slot has the next one, and until its children may start.
    """
    order = list(nodes)
    done = {parent for node in order for parent in parents(node)} - set(order)
    schedule = Schedule(order, done, remaining_path(order))
    running: list[tuple[float, int, Node]] = []
    now, started = 0.0, 0
    while not schedule.ended:
        while len(running) < slots and (node := schedule.next()):
            # the number decides between equals, so that nodes are never compared
            heapq.heappush(running, (now + seconds[node] + between, started, node))
            started += 1
        now, _, node = heapq.heappop(running)
        schedule.finished(node)
    return max(0.0, now - between)


def lower_bound(nodes: Iterable[Node], seconds: Mapping[Node, float], slots: int) -> float:
    """Seconds that no order of these nodes can beat: the larger of their total over the slots and of the
    longest chain."""
    order = list(nodes)
    chains = remaining_path(order, seconds.__getitem__)
    return max(sum(seconds[node] for node in order) / slots, max(chains.values(), default=0.0))
