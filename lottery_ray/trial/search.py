"""Find the good subnetwork of a fine-tuned model."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lottery_ray.criteria import own
from lottery_ray.criteria.gradient import predict_with_gradients, predict_with_importance
from lottery_ray.criteria.own import own_importance, own_weight_scores
from lottery_ray.experiment import masks, search
from lottery_ray.experiment.masks import Mask
from lottery_ray.experiment.methods import Magnitude, Structured
from lottery_ray.experiment.nodes import Search
from lottery_ray.inputs.tasks import pruning_score
from lottery_ray.networks.network import Network
from lottery_ray.networks.pruning import magnitudes, prune_weights, weight_mask
from lottery_ray.streams import generator
from lottery_ray.training.scoring import DevSet
from lottery_ray.trial.work import Work

Steps = list[dict[str, Any]]


def search_node(node: Search, work: Work) -> dict[str, Any]:
    """The result of `Search.columns`; leaves the good mask, and a structured search's every state."""
    network = work.fine_tuned(node.finetune)
    scored_on = work.scored_on(node.finetune, node.data, node.finetune.recipe)
    if isinstance(node.method, Structured):
        steps, good = _structured(node, node.method, network, scored_on, work)
    else:
        steps, good = _magnitude(node, node.method, network, scored_on, work)
    work.write_mask(good)
    full = steps[0]["score"]
    kept = next(step for step in reversed(steps) if step["accepted"])
    return {
        "full_score": full,
        "floor": node.floor * full,
        "score": kept["score"],
        "examples": len(scored_on.encoded),
        "steps": steps,
        "sizes": masks.sizes(good),
    }


@dataclass
class _StructuredLook:
    """A look at the rows that score a search, under masks of heads and MLPs. steps: how many there were."""

    network: Network
    scored_on: DevSet
    method: Structured
    work: Work
    rng: np.random.Generator
    steps: int = 0

    def __call__(self, heads: np.ndarray, mlps: np.ndarray) -> search.Scored:
        """heads: bool (layers, heads); mlps: bool (layers,)."""
        on, method, accelerator = self.scored_on, self.method, self.work.accelerator
        seen = self.network, on.encoded, on.task, heads, mlps
        if method.criterion is None:
            logits, importance = predict_with_importance(*seen, accelerator, method, on.micro_batch)
        else:
            logits, *gradients = predict_with_gradients(*seen, accelerator, on.micro_batch)
            given = own.Look(*seen, gradients[0], gradients[1], accelerator, self.rng)
            importance = own_importance(method.criterion, method.criterion_sha256, given)
        found = pruning_score(on.task.metric, on.encoded.labels, logits)
        gone = {"heads_sparsity": 1 - float(heads.mean()), "mlps_sparsity": 1 - float(mlps.mean())}
        self.work.run.log({"score": found} | gone, self.steps)
        self.steps += 1
        return search.Scored(found, importance)


def _structured(
    node: Search, method: Structured, network: Network, scored_on: DevSet, work: Work
) -> tuple[Steps, Mask]:
    look = _StructuredLook(network, scored_on, method, work, generator("criterion", node.key))
    steps = search.structured(look, network.shape, method, node.floor, node.down_to)
    work.write_masks("states.arrow", [_mask_of(step) for step in steps], "step")
    said = [
        {
            "phase": step.phase,
            "score": step.scored.score,
            "accepted": step.accepted,
            "kept": {"heads": int(step.heads.sum()), "mlp": int(step.mlps.sum())},
        }
        for step in steps
    ]
    return said, _mask_of(search.last_accepted(steps))


def _mask_of(step: search.StructuredStep) -> Mask:
    importance = step.scored.importance
    return masks.structured_mask(step.heads, step.mlps, importance.heads, importance.mlps)


@dataclass
class _MagnitudeLook:
    """A look at the rows that score a search, under masks of weights. Those of later steps lie within those
    of earlier ones, so that zeroing in place is enough.

    full: the score of the full model, where it is known. steps: how many looks there were.
    """

    network: Network
    scored_on: DevSet
    work: Work
    full: float | None
    steps: int = 0

    def __call__(self, kept: np.ndarray) -> float:
        """kept: bool (weights,)."""
        found = self.full if self.full is not None and kept.all() else self._scored(kept)
        sparsity = 1 - np.count_nonzero(kept) / kept.size
        self.work.run.log({"score": found, "weights_sparsity": sparsity}, self.steps)
        self.steps += 1
        return found

    def _scored(self, kept: np.ndarray) -> float:
        on = self.scored_on
        prune_weights(self.network, weight_mask(self.network, kept))
        return pruning_score(on.task.metric, on.encoded.labels, on.logits(self.network))


def _magnitude(
    node: Search, method: Magnitude, network: Network, scored_on: DevSet, work: Work
) -> tuple[Steps, Mask]:
    # of the same network on the same rows
    full = float(work.inputs[node.finetune].result["pruning_score"]) if node.data == "dev" else None
    scores, own_scores = magnitudes(network), None
    if method.criterion is not None:
        rng, on = generator("criterion", node.key), scored_on
        given = own.WeightLook(network, on.encoded, on.task, work.accelerator, rng, on.micro_batch)
        scores = own_scores = own_weight_scores(method.criterion, method.criterion_sha256, given)
    look = _MagnitudeLook(network, scored_on, work, full)
    steps, good = search.magnitude(scores, look, method, node.floor, node.down_to)
    said = [
        {
            "phase": "weights" if number else "full",
            "score": step.score,
            "accepted": step.accepted,
            "kept": {"weight": step.kept},
            "threshold": step.threshold,
        }
        for number, step in enumerate(steps)
    ]
    return said, weight_mask(network, good, own_scores)
