"""Roots with planted scores, written through the real store from real nodes, without a trial."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lottery_ray import streams
from lottery_ray.experiment import draws as tickets
from lottery_ray.experiment import masks
from lottery_ray.experiment.draws import draw_mask
from lottery_ray.experiment.graph import Node, key, labels
from lottery_ray.experiment.masks import write_masks
from lottery_ray.experiment.methods import Structured
from lottery_ray.experiment.nodes import SUPER, Finetune, NullDraws, Pretrain, Search, Size, Ticket
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.study import Study
from lottery_ray.inputs.tasks import TASKS, pruning_score, task_score
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.store import Store

DEV = 400
QUALITY = {
    "pretrained start": 0.95,
    "random start": 0.1,
    "frozen start": 0.3,
    "good": 0.85,
    "layer_matched": 0.6,
    "random": 0.4,
    "bad": 0.2,
    "pretrained": 0.7,
    "super": 0.65,
    "super_random": 0.35,
    "super_bad": 0.15,
    "transfer": 0.5,
}
GAIN = {"good": 0.08, "random": 0.3, "bad": 0.4, "layer_matched": 0.2}


def quality(node: Finetune | Ticket | NullDraws, *, retrained: bool = False) -> float:
    """The default share of dev examples that a network knows; the seed moves it a little."""
    moved = float(streams.generator("moved", key(node)).normal(0, 0.02))
    if isinstance(node, Finetune):
        return QUALITY[f"{node.start} start"] + moved
    if retrained and isinstance(node, Ticket) and node.start == "random":
        return 0.1 + moved
    longer = isinstance(node, Ticket) and node.recipe.epochs > node.finetune.recipe.epochs
    gain = GAIN.get(node.kind, 0.1) + (0.05 if longer else 0.0)
    return QUALITY[node.kind] + (gain if retrained else 0.0) + moved


@dataclass(frozen=True)
class Planted:
    """A root under construction. known: the share of dev examples that a network gets from its labels;
    the others it guesses. keep: which nodes are recorded. kept: how large a share searches keep, of
    components that come first more than of others; 0 and 1 are nothing and everything. examples: the rows
    that searches off the dev set were scored on."""

    folder: Path
    known: Callable[..., float] = quality
    keep: Callable[[Node], bool] = lambda node: True
    layers: int = 3
    heads: int = 8
    weights: int = 1_000
    kept: Callable[[Search], float] = lambda search: 0.5
    examples: int = 640
    found: dict[Node, masks.Mask] = field(default_factory=dict)

    def fill(self, study: Study) -> str:
        """Record the study's nodes; returns the root."""
        return self.record(plan(study).nodes)

    def record(self, nodes: Iterable[Node]) -> str:
        """Record nodes, parents first; returns the root."""
        store = Store.open(str(self.folder), create=True)
        for node in nodes:
            if self.keep(node):
                self._record(store, node)
        return str(self.folder)

    def _record(self, store: Store, node: Node) -> None:
        attempt = begin(store, node)
        match node:
            case Pretrain():
                result: dict[str, object] = {"loss": 1.0, "verb_agreement": 0.98}
            case Finetune():
                result = self._finetune(node, attempt.folder)
            case Search():
                result = self._search(node, attempt.folder)
            case Ticket():
                result = self._ticket(node, attempt.folder)
            case NullDraws():
                result = self._nulls(node)
        attempt.publish(result, {"seconds": 1.0}, {})

    def _finetune(self, node: Finetune, folder: Path) -> dict[str, object]:
        scores = self._predict(node, folder / "predictions.arrow", self.known(node))
        return {
            "score": scores[0],
            "pruning_score": scores[1],
            "train_examples": TASKS[node.task].train_size,
            "dev_examples": DEV,
        }

    def _search(self, node: Search, folder: Path) -> dict[str, object]:
        mask = self.good(node)
        self._write_mask(node, mask, folder)
        sizes = masks.sizes(mask)
        phase = {"structured": "heads and MLPs", "heads": "heads", "mlps": "MLPs", "magnitude": "weights"}
        steps: list[dict[str, Any]] = []
        for step in range(5):
            share = min(step / 3, 1)
            kept = {name: round(of + share * (size - of)) for name, size, of in _counts(sizes)}
            steps.append({"phase": phase[node.method.name], "score": 0.95 - 0.03 * step, "kept": kept})
            steps[-1]["accepted"] = step < 4
        steps[0]["phase"] = "full"
        steps[4]["kept"] = {name: max(0, size - 1) for name, size, _ in _counts(sizes)}
        if node.down_to < 1:
            past = {name: min(size, round(node.down_to * of)) for name, size, of in _counts(sizes)}
            steps.append(steps[4] | {"score": 0.5, "kept": past})
        return {
            "full_score": 0.95,
            "floor": 0.855,
            "score": 0.86,
            "examples": self.examples if node.data == "held_out" else DEV,
            "steps": steps,
            "sizes": sizes,
        }

    def good(self, search: Search, size: Size = "stopping") -> masks.Mask:
        """The good mask of a search, or its best share of each kind of component that it prunes."""
        if search not in self.found:
            self.found[search] = self._drawn(search)
        if size == "stopping":
            return self.found[search]
        parts = []
        for part in self.found[search]:
            prunes = part.component in _pruned(search)
            best = np.argsort(~part.kept, kind="stable")[: round(size * part.kept.size)]
            parts.append(replace(part, kept=np.isin(np.arange(part.kept.size), best)) if prunes else part)
        return tuple(parts)

    def _drawn(self, node: Search) -> masks.Mask:
        """Parts that come first survive more often, so that seeds overlap above chance."""
        rng, share = streams.generator("mask", key(node)), self.kept(node)
        if not isinstance(node.method, Structured):
            likely = _likely(np.linspace(0.9, 0.1, self.weights), share)
            return tuple(
                masks.Part("weight", layer, "weight", likely.shape, rng.random(self.weights) < likely)
                for layer in range(self.layers)
            )
        likely = _likely(np.linspace(0.95, 0.1, self.layers * self.heads), share)
        heads = rng.random(likely.size).reshape(self.layers, self.heads) < likely.reshape(self.layers, -1)
        mlps = rng.random(self.layers) < _likely(np.full(self.layers, 0.7), share)
        pruned = _pruned(node)
        return masks.structured_mask(heads | ("heads" not in pruned), mlps | ("mlp" not in pruned))

    def _ticket(self, node: Ticket, folder: Path) -> dict[str, object]:
        goods = [self.good(source, node.size) for source in node.sources]
        mask = self._mask(node, goods)
        self._write_mask(node, mask, folder)
        sizes = masks.sizes(mask)
        each = 1 if "weight" in sizes else 100
        kept, of = (sum(size[name] for size in sizes.values()) * each for name in ("kept", "of"))
        every = draw_mask("super", goods, streams.generator("super"))
        return {
            "pruned": self._predict(node, folder / "pruned.arrow", self.known(node))[0],
            "retrained": self._predict(node, folder / "retrained.arrow", self.known(node, retrained=True))[0],
            "sizes": sizes,
            "weights": {"kept": kept, "of": of},
            "overlap_with_good": tickets.common(mask, every),
            "forced_overlap": tickets.forced_overlap(mask, every),
        }

    def _mask(self, node: Ticket, goods: list[masks.Mask]) -> masks.Mask:
        rng = streams.generator("mask", node.mask_stream)
        if node.rule == "bernoulli":
            return tickets.bernoulli(goods[0], rng)
        kind = "random" if node.kind == "pretrained" else node.kind
        exact = node.kind not in SUPER or node.kind == "super_random"
        return draw_mask(kind, goods, rng, "exact" if exact else node.rule)

    def _nulls(self, node: NullDraws) -> dict[str, object]:
        """The scores of networks that know some of the examples, more or less."""
        rng = streams.generator("null", key(node))
        return {
            "good": QUALITY["good"],
            "scores": [float(QUALITY[node.kind] + 0.1 * rng.normal()) for _ in range(node.draws)],
            "sizes": masks.sizes(self.good(node.source, node.size)),
            "dev_examples": DEV,
        }

    def _write_mask(self, node: Node, mask: masks.Mask, folder: Path) -> None:
        flat = labels(node)
        flat = flat | {"size": flat["size"] or "stopping"}
        write_masks(masks.to_table(mask, key(node), flat), folder / "mask.arrow")

    def _predict(self, node: Finetune | Ticket, path: Path, known: float) -> tuple[float, float]:
        """Write predictions that know that share of the labels; returns the two dev scores."""
        finetune = node if isinstance(node, Finetune) else node.finetune
        task = TASKS[finetune.task]
        labels = dev_labels(finetune.task)
        rng = streams.generator("guess", key(node), path.name)
        if task.is_regression:
            logits = (known * labels + (1 - known) * rng.normal(0, 2, DEV))[:, None]
        else:
            knows = rng.random(DEV) < known
            predicted = np.where(knows, labels, rng.integers(0, task.labels, DEV)).astype(int)
            logits = np.eye(task.labels)[predicted] + rng.normal(0, 0.1, (DEV, task.labels))
        logits = logits.astype(np.float32)
        order = rng.permutation(DEV)
        write_predictions(path, order, labels[order], logits[order])
        return task_score(task.metric, labels, logits), pruning_score(task.metric, labels, logits)


def _counts(sizes: dict[str, dict[str, int]]) -> list[tuple[str, int, int]]:
    return [(name, size["kept"], size["of"]) for name, size in sizes.items()]


def _pruned(search: Search) -> tuple[str, ...]:
    parts = {"structured": ("heads", "mlp"), "heads": ("heads",), "mlps": ("mlp",)}
    return parts.get(search.method.name, ("weight",))


def _likely(shares: np.ndarray, kept: float) -> np.ndarray:
    """Nothing where 0 is kept, everything where 1 is."""
    return shares if 0 < kept < 1 else np.full(shares.shape, kept)


def dev_labels(name: str) -> np.ndarray:
    """float (DEV,): about two thirds of the examples have the first class."""
    rng = streams.generator("dev", name)
    task = TASKS[name]
    if task.is_regression:
        return rng.normal(0, 1.5, DEV).clip(*task.label_range)
    return np.asarray(np.where(rng.random(DEV) < 0.65, 0, rng.integers(0, task.labels, DEV)), np.float64)


def write_predictions(path: Path, idx: np.ndarray, label: np.ndarray, logits: np.ndarray) -> None:
    """A predictions file as a trial writes it."""
    columns = {
        "idx": pa.array(idx, pa.int64()),
        "label": pa.array(label, pa.float64()),
        "logits": pa.array(list(logits), pa.list_(pa.float32())),
    }
    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
