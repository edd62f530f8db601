"""A kind of node in one file: how sure a fine-tuned model is of its dev set. And one that keeps no word."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lottery_ray.experiment.effort import Examples, Rows
from lottery_ray.experiment.nodes import Finetune, OfModel


@dataclass(frozen=True)
class Confidence(OfModel):
    """temperature: that logits are divided by."""

    VERSION = 1
    stage = "confidence"
    runs = f"{__name__}:confidence"
    columns: ClassVar = {"confidence": "mean probability of the predicted class"}

    finetune: Finetune
    temperature: float = 1.0

    def work(self, rows: Rows) -> Examples:
        return Examples(rows.dev, scored=rows.dev)

    def named(self) -> dict[str, Any]:
        return {"task": self.finetune.task, "seed": self.finetune.seed}


@dataclass(frozen=True)
class Careless(Confidence):
    """Declares what its work does not return."""

    stage = "careless"
    columns: ClassVar = {**Confidence.columns, "entropy": "of the prediction"}


def confidence(node: Confidence, work: Any) -> dict[str, Any]:
    """work: `trial.work.Work`."""
    dev = work.scored_on(node.finetune, "dev", node.finetune.recipe)
    logits = dev.logits(work.fine_tuned(node.finetune)) / node.temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return {"confidence": float((odds.max(axis=1) / odds.sum(axis=1)).mean())}
