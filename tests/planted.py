"""Roots with planted scores, written through the real store from real nodes, without a trial."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from lottery_ray import masks, streams, tickets
from lottery_ray.nodes import Finetune, Node, Pretrain, Search, Ticket, key, labels
from lottery_ray.store import Store
from lottery_ray.study import Study, plan
from lottery_ray.tasks import TASKS, pruning_score, score

DEV = 400
QUALITY = {"full": 0.95, "random start": 0.1, "good": 0.85, "random": 0.4, "bad": 0.2}
GAIN = {"good": 0.08, "random": 0.3, "bad": 0.4}


def quality(node: Finetune | Ticket, *, retrained: bool = False) -> float:
    """The default share of dev examples that a network knows; the seed moves it a little."""
    name = node.kind if isinstance(node, Ticket) else "full" if node.start == "pretrained" else "random start"
    moved = streams.generator("moved", key(node)).normal(0, 0.02)
    return QUALITY[name] + (GAIN[name] if retrained else 0.0) + float(moved)


@dataclass(frozen=True)
class Planted:
    """A root under construction. known: the share of dev examples that a network gets from its labels;
    the others it guesses. keep: which nodes are recorded."""

    folder: Path
    known: Callable[..., float] = quality
    keep: Callable[[Node], bool] = lambda node: True
    layers: int = 3
    heads: int = 8
    weights: int = 1_000
    found: dict[Node, masks.Mask] = field(default_factory=dict)

    def fill(self, study: Study) -> str:
        """Record the study's nodes; returns the root."""
        store = Store.open(str(self.folder), create=True)
        for node in plan(study).nodes:
            if self.keep(node):
                self._record(store, node)
        return str(self.folder)

    def _record(self, store: Store, node: Node) -> None:
        attempt = store.begin(node)
        match node:
            case Pretrain():
                result: dict[str, object] = {"loss": 1.0, "verb_agreement": 0.98}
            case Finetune():
                result = self._finetune(node, attempt.folder)
            case Search():
                result = self._search(node, attempt.folder)
            case Ticket():
                result = self._ticket(node, attempt.folder)
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
        rng = streams.generator("mask", key(node))
        mask = self._mask(node, rng)
        self.found[node] = mask
        self._write_mask(node, mask, folder)
        sizes = masks.sizes(mask)
        whole = {name: size["of"] for name, size in sizes.items()}
        steps = []
        for step in range(5):
            share = step / 3
            kept = {name: round(whole[name] + share * (sizes[name]["kept"] - whole[name])) for name in sizes}
            steps.append(
                {"phase": "heads and MLPs", "score": 0.95 - 0.03 * step, "accepted": step < 4, "kept": kept}
            )
        steps[4]["kept"] = {name: max(0, size["kept"] - 1) for name, size in sizes.items()}
        return {"full_score": 0.95, "floor": 0.855, "score": 0.86, "steps": steps, "sizes": sizes}

    def _mask(self, node: Search, rng: np.random.Generator) -> masks.Mask:
        """Parts that come first survive more often, so that seeds overlap above chance."""
        if node.method.name == "magnitude":
            shares = np.linspace(0.9, 0.1, self.weights)
            return tuple(
                masks.Part("weight", layer, "weight", shares.shape, rng.random(self.weights) < shares)
                for layer in range(self.layers)
            )
        likely = np.linspace(0.95, 0.1, self.layers * self.heads).reshape(self.layers, self.heads)
        mlps = rng.random(self.layers) < 0.7
        return masks.structured_mask(rng.random(likely.shape) < likely, mlps)

    def _ticket(self, node: Ticket, folder: Path) -> dict[str, object]:
        mask = tickets.draw(node.kind, (self.found[node.sources[0]],), streams.generator("mask", key(node)))
        self._write_mask(node, mask, folder)
        sizes = masks.sizes(mask)
        each = 1 if "weight" in sizes else 100
        kept, of = (sum(size[name] for size in sizes.values()) * each for name in ("kept", "of"))
        return {
            "pruned": self._predict(node, folder / "pruned.arrow", self.known(node))[0],
            "retrained": self._predict(node, folder / "retrained.arrow", self.known(node, retrained=True))[0],
            "sizes": sizes,
            "weights": {"kept": kept, "of": of},
            "overlap_with_good": dict.fromkeys(sizes, 0),
        }

    def _write_mask(self, node: Node, mask: masks.Mask, folder: Path) -> None:
        flat = labels(node) | {"size": "good"}
        masks.write(masks.to_table(mask, key(node), flat), folder / "mask.arrow")

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
        return score(task.metric, labels, logits), pruning_score(task.metric, labels, logits)


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
