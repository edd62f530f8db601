"""A kind of node in one file: how sure a fine-tuned model is of its dev set. And one that keeps no word."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lottery_ray.experiment.effort import Examples, Rows
from lottery_ray.experiment.graph import Node
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.experiment.recipe import Recipe


@dataclass(frozen=True)
class Confidence(Node):
    """temperature: that logits are divided by."""

    VERSION: ClassVar[int] = 1
    stage: ClassVar[str] = "confidence"
    runs: ClassVar[str] = f"{__name__}:confidence"
    columns: ClassVar[Mapping[str, str]] = {"confidence": "mean probability of the predicted class"}

    finetune: Finetune
    temperature: float = 1.0

    @property
    def full(self) -> Finetune:
        return self.finetune

    @property
    def setting(self) -> Recipe:
        return self.finetune.recipe

    def reads(self) -> Iterable[Any]:
        return self.finetune, self.finetune.model

    def work(self, rows: Rows) -> Examples:
        return Examples(rows.dev, scored=rows.dev)

    def named(self) -> dict[str, Any]:
        return {"task": self.finetune.task, "seed": self.finetune.seed}


@dataclass(frozen=True)
class Careless(Confidence):
    """Declares what its work does not return."""

    stage: ClassVar[str] = "careless"
    columns: ClassVar[Mapping[str, str]] = {**Confidence.columns, "entropy": "of the prediction"}


def confidence(node: Confidence, work: Any) -> dict[str, Any]:
    """work: `trial.work.Work`."""
    dev = work.scored_on(node.finetune, "dev", node.finetune.recipe)
    logits = dev.logits(work.fine_tuned(node.finetune)) / node.temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return {"confidence": float((odds.max(axis=1) / odds.sum(axis=1)).mean())}
