"""What a node costs: in examples, whose ratios alone matter, and in seconds, from what canaries have
measured."""

from collections.abc import Iterable, Set
from dataclasses import dataclass

from lottery_ray.experiment.effort import Rows
from lottery_ray.experiment.graph import Node
from lottery_ray.experiment.nodes import Finetune, Model, Pretrain

NO_ROWS = Rows(0, 0)
"""Of a node that is of no task."""


def full_model(node: Node) -> Finetune | None:
    """The fine-tuned model that a node is of, itself if it is one."""
    return node.full if isinstance(node.full, Finetune) else None


def cost(node: Node) -> float:
    """About how many training examples' worth of work a node is; only ratios matter."""
    full = full_model(node)
    return node.work(full.rows if full else NO_ROWS).cost


@dataclass(frozen=True)
class Canary:
    """A trial that is the first steps of this fine-tuning, in place of all that share its model and task."""

    finetune: Finetune


@dataclass(frozen=True)
class Calibration:
    """What a canary measured.

    load: seconds to load a network. encode, train, score, importance: seconds per example tokenised, trained
    on, scored, and scored with importance. train_rows, dev_rows: of the task as it is. device: its name.
    peak_memory_mib, peak_gpu_memory_mib: of a batch of its longest examples; None, as the GPU's own memory,
    where there is no GPU.
    """

    train_rows: float
    dev_rows: float
    load: float
    encode: float
    train: float
    score: float
    importance: float
    device: str
    peak_memory_mib: float | None
    peak_gpu_memory_mib: float | None
    gpu_memory_mib: float | None

    def seconds(self, node: Node) -> float:
        """Of a node of this model and task."""
        work = node.work(Rows(self.train_rows, self.dev_rows))
        return (
            self.load * work.networks
            + self.encode * work.encoded
            + self.train * work.trained
            + self.score * work.scored
            + self.importance * work.with_importance
        )


def canaries(nodes: Iterable[Node], done: Set[Node]) -> dict[Node, Canary]:
    """{fine-tuning: its canary} of the models and tasks of which no fine-tuning is done. A model that is yet
    to be made has none."""
    found: dict[Node, Canary] = {}
    of: dict[tuple[Model, str], Canary] = {}
    finetunes = [node for node in nodes if isinstance(node, Finetune)]
    shown = {(node.model, node.task) for node in finetunes if node in done}
    for node in finetunes:
        place = node.model, node.task
        if place not in shown and not isinstance(node.model, Pretrain):
            found[node] = of.setdefault(place, Canary(node))
    return found
