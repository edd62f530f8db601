"""Canaries, which go before the nodes of a model and task, and what they say of the seconds of these."""

from collections.abc import Iterable, Set
from dataclasses import dataclass

from lottery_ray.experiment.nodes import Finetune, Model, Node, NullDraws, Pretrain, Search, Ticket, processes
from lottery_ray.scheduling.schedule import Rows, examples


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

    def seconds(self, node: Finetune | Search | Ticket | NullDraws) -> float:
        work = examples(node, Rows(self.train_rows, self.dev_rows))
        return (
            self.load * (2 if isinstance(node, Ticket) else 1)
            + self.encode * work.encoded
            + self.train * work.trained / processes(node)
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
