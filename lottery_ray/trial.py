"""Run one node: read its parents, do the work, write its artifacts, publish its record.

The same function runs in a Ray trial and in debug mode.
"""

import ctypes
import functools
import gc
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from accelerate import Accelerator
from transformers import AutoTokenizer

import lottery_ray
from lottery_ray import data, masks, models, search, tickets
from lottery_ray.errors import InputError
from lottery_ray.importance import predict, predict_with_importance
from lottery_ray.inputs import MODEL_FILES, model_sha256
from lottery_ray.masks import Mask
from lottery_ray.nodes import (
    Finetune,
    FolderModel,
    HubModel,
    Model,
    Node,
    Pretrain,
    Recipe,
    Search,
    Structured,
    Ticket,
    key,
    labels,
)
from lottery_ray.pretraining import pretrain
from lottery_ray.store import Attempt, Record, Store
from lottery_ray.streams import generator
from lottery_ray.tasks import TASKS, pruning_score, score
from lottery_ray.training import train

PACKAGES = ("torch", "transformers", "accelerate", "numpy", "pyarrow")


@dataclass(frozen=True)
class Work:
    """What a node works with. folders: {identity: path} of the plan; scratch: for remote artifacts."""

    attempt: Attempt
    inputs: dict[Node, Record]
    folders: dict[str, str]
    scratch: Path
    accelerator: Accelerator

    def fetch(self, node: Node, *names: str) -> Path:
        """The folder that holds these artifacts of a parent (all of them, if none is named)."""
        record = self.inputs[node]
        into = self.scratch / record.key
        paths = [self.attempt.store.fetch(record, name, into) for name in names or record.artifacts]
        return paths[0].parent

    def checkpoint(self, model: Model) -> Path:
        """The folder with the pre-trained model and its tokenizer."""
        match model:
            case Pretrain():
                return self.fetch(model)
            case FolderModel():
                return _unchanged(Path(self.folders[model.sha256]), model.sha256)
            case HubModel():
                from huggingface_hub import snapshot_download

                return Path(
                    snapshot_download(model.name, revision=model.commit, allow_patterns=list(MODEL_FILES))
                )

    def initial(self, node: Finetune) -> models.Network:
        """The network that fine-tuning and retraining start from, on its device."""
        folder = self.checkpoint(node.model)
        network = models.initial(folder, TASKS[node.task], node.seed, node.start)
        return cast(models.Network, self.accelerator.prepare(network))

    def fine_tuned(self, node: Finetune) -> models.Network:
        """The network that fine-tuning left, on its device."""
        network = models.load(self.fetch(node, "config.json", "model.safetensors"))
        return cast(models.Network, self.accelerator.prepare(network))

    def encoded(self, node: Finetune, split: data.Split, recipe: Recipe) -> data.Encoded:
        """One split of a fine-tuned model's task, tokenised for it."""
        task = TASKS[node.task]
        rows = data.table(node.data, task, split, self.folders)
        if split == "train":
            rows = data.limited(rows, task, node.train_limit)
        tokenizer = AutoTokenizer.from_pretrained(self.checkpoint(node.model))
        return data.encode(rows, task, tokenizer, recipe.max_length)


@functools.cache
def _unchanged(folder: Path, sha256: str) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist on {platform.node()}; every machine needs it there.")
    if model_sha256(folder) != sha256:
        raise InputError(f"The model in {folder} is not the one that the study was planned on.")
    return folder


def run(node: Node, root: str, folders: dict[str, str], *, cpu: bool) -> Record:
    """Run a node unless it has a record, and return its record.

    folders: {identity: path} of the plan's model and data. cpu: leave a GPU alone. A failure leaves its
    traceback as error.txt in the attempt, and is raised.
    """
    store = Store.open(root)
    if record := store.read(key(node)):
        return record
    attempt = store.begin(node)
    scratch = Path(tempfile.mkdtemp(prefix="lottery_ray_"))
    try:
        return _attempt(attempt, scratch, folders, cpu)
    except Exception as error:
        attempt.fail(error)
        raise
    finally:
        shutil.rmtree(scratch)
        _free_memory()


def _attempt(attempt: Attempt, scratch: Path, folders: dict[str, str], cpu: bool) -> Record:
    if not cpu and not torch.cuda.is_available():
        raise RuntimeError("This trial was given a GPU, but torch sees none: is it a CPU build?")
    started = time.time()
    inputs = attempt.store.inputs(attempt.node)
    recipe = _recipe(attempt.node)
    torch.set_num_threads(recipe.threads)
    _glibc()
    accelerator = models.accelerator(recipe.precision, cpu=cpu)
    result = execute(attempt.node, Work(attempt, inputs, folders, scratch, accelerator))
    return attempt.publish(result, _provenance(started, accelerator), inputs)


@functools.cache
def _glibc() -> Any:
    """The C library with its allocator set for training on a CPU; None where it is another.

    Large blocks, such as the gradient of the embeddings, are reused instead of returned to the kernel,
    which would clear their pages again at every step. One arena for all threads, since
    Tune runs each trial in a thread of its own, and each would keep its memory.
    """
    if platform.libc_ver()[0] != "glibc":
        return None
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8
    libc.mallopt(mmap_threshold, 2**30)
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(arena_max, 1)
    return libc


def _free_memory() -> None:
    """A network and its hooks refer to each other, and a warm process must not pile them up."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if _glibc():
        _glibc().malloc_trim(0)


def _recipe(node: Node) -> Recipe:
    """Whose threads and precision a node runs with."""
    match node:
        case Pretrain():
            return Recipe(threads=node.threads)
        case Search():
            return node.finetune.recipe
        case Finetune() | Ticket():
            return node.recipe


@functools.singledispatch
def execute(node: Node, work: Work) -> dict[str, Any]:
    """Do a node's work, leave its artifacts in the attempt, and return its result."""
    raise TypeError(type(node))


@execute.register
def _pretrain(node: Pretrain, work: Work) -> dict[str, Any]:
    return dict(pretrain(node, work.attempt.folder, work.accelerator))


@execute.register
def _finetune(node: Finetune, work: Work) -> dict[str, Any]:
    task = TASKS[node.task]
    train_set, dev = (work.encoded(node, split, node.recipe) for split in data.SPLITS)
    network = work.initial(node)
    train(network, train_set, task, node.seed, node.recipe, work.accelerator)
    logits = predict(network, dev, work.accelerator)
    if node.start == "pretrained":
        network.save(work.attempt.folder)
    _write_predictions(work.attempt.folder / "predictions.arrow", dev, logits)
    return {
        "score": score(task.metric, dev.labels, logits),
        "pruning_score": pruning_score(task.metric, dev.labels, logits),
        "train_examples": len(train_set),
        "dev_examples": len(dev),
    }


@execute.register
def _search(node: Search, work: Work) -> dict[str, Any]:
    network = work.fine_tuned(node.finetune)
    dev = work.encoded(node.finetune, "validation", node.finetune.recipe)
    finder = _search_structured if isinstance(node.method, Structured) else _search_magnitude
    steps, good = finder(node, network, dev, work)
    _write_mask(work.attempt.folder / "mask.arrow", node, good)
    full = steps[0]["score"]
    kept = next(step for step in reversed(steps) if step["accepted"])
    return {
        "full_score": full,
        "floor": node.floor * full,
        "score": kept["score"],
        "steps": steps,
        "sizes": masks.sizes(good),
    }


def _search_structured(
    node: Search, network: models.Network, dev: data.Encoded, work: Work
) -> tuple[list[dict[str, Any]], Mask]:
    task = TASKS[node.finetune.task]

    def look(heads: np.ndarray, mlps: np.ndarray) -> search.Scored:
        logits, importance = predict_with_importance(network, dev, task, heads, mlps, work.accelerator)
        return search.Scored(pruning_score(task.metric, dev.labels, logits), importance)

    steps = search.structured(look, network.shape, node.method.step, node.floor)
    _write_states(work.attempt.folder / "states.arrow", node, [_mask_of(step) for step in steps])
    return [
        {
            "phase": step.phase,
            "score": step.scored.score,
            "accepted": step.accepted,
            "kept": {"heads": int(step.heads.sum()), "mlp": int(step.mlps.sum())},
        }
        for step in steps
    ], _mask_of(search.last_accepted(steps))


def _mask_of(step: search.StructuredStep) -> Mask:
    importance = step.scored.importance
    return masks.structured_mask(step.heads, step.mlps, importance.heads, importance.mlps)


def _search_magnitude(
    node: Search, network: models.Network, dev: data.Encoded, work: Work
) -> tuple[list[dict[str, Any]], Mask]:
    task = TASKS[node.finetune.task]
    weights = [parameter.detach() for parameter in models.prunable(network).values()]
    magnitudes = torch.cat([weight.flatten() for weight in weights]).abs().cpu().numpy()

    def look(kept: np.ndarray) -> float:
        # masks of later steps lie within those of earlier ones, so zeroing in place is enough
        models.prune_weights(network, models.weight_mask(network, kept))
        return pruning_score(task.metric, dev.labels, predict(network, dev, work.accelerator))

    steps, good = search.magnitude(magnitudes, look, node.method.step, node.floor)
    return [
        {
            "phase": "weights" if number else "full",
            "score": step.score,
            "accepted": step.accepted,
            "kept": {"weight": step.kept},
            "threshold": step.threshold,
        }
        for number, step in enumerate(steps)
    ], models.weight_mask(network, good)


@execute.register
def _ticket(node: Ticket, work: Work) -> dict[str, Any]:
    task, full = TASKS[node.finetune.task], node.finetune
    (source,) = node.sources
    good = masks.from_table(masks.read(work.fetch(source, "mask.arrow") / "mask.arrow"))
    mask = tickets.draw(node.kind, good, generator("mask", key(node)))
    _write_mask(work.attempt.folder / "mask.arrow", node, mask)

    train_set, dev = (work.encoded(full, split, node.recipe) for split in data.SPLITS)
    network = work.fine_tuned(full)
    weights = models.weights_kept(network, mask)
    models.prune(network, mask)
    pruned = predict(network, dev, work.accelerator)
    _write_predictions(work.attempt.folder / "pruned.arrow", dev, pruned)

    work.accelerator.free_memory()
    network = work.initial(full)
    models.prune(network, mask, node.recipe.layout)
    train(network, train_set, task, full.seed, node.recipe, work.accelerator)
    retrained = predict(network, dev, work.accelerator)
    _write_predictions(work.attempt.folder / "retrained.arrow", dev, retrained)
    return {
        "pruned": score(task.metric, dev.labels, pruned),
        "retrained": score(task.metric, dev.labels, retrained),
        "sizes": masks.sizes(mask),
        "weights": weights,
        "overlap_with_good": _common(mask, good),
    }


def _common(mask: Mask, good: Mask) -> dict[str, int]:
    common: dict[str, int] = {}
    for part, other in zip(mask, good, strict=True):
        common[part.component] = common.get(part.component, 0) + int((part.kept & other.kept).sum())
    return common


def _mask_identity(node: Node) -> dict[str, Any]:
    return labels(node) | {"size": "stopping"}


def _write_mask(path: Path, node: Node, mask: Mask) -> None:
    masks.write(masks.to_table(mask, key(node), _mask_identity(node)), path)


def _write_states(path: Path, node: Node, states: list[Mask]) -> None:
    """The mask tables of all steps, one after the other, with the step's number as a column."""
    tables = [masks.to_table(state, key(node), _mask_identity(node)) for state in states]
    numbered = [
        table.append_column("step", pa.array([number] * len(table), pa.int32()))
        for number, table in enumerate(tables)
    ]
    masks.write(pa.concat_tables(numbered), path)


def _write_predictions(path: Path, dev: data.Encoded, logits: np.ndarray) -> None:
    columns = {
        "idx": pa.array(dev.idx),
        "label": pa.array(dev.labels),
        "logits": pa.array(list(logits.astype(np.float32)), pa.list_(pa.float32())),
    }
    masks.write(pa.table(columns), path)


def _provenance(started: float, accelerator: Accelerator) -> dict[str, Any]:
    cuda = accelerator.device.type == "cuda"
    device = torch.cuda.get_device_name(accelerator.device) if cuda else platform.processor() or "cpu"
    return {
        "started": started,
        "seconds": time.time() - started,
        # of the warm process so far, not of this node alone
        "process_peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_gpu_memory_mib": torch.cuda.max_memory_allocated() / 2**20 if cuda else None,
        "device": device,
        "host": platform.node(),
        "commit": _commit(),
        "packages": {"lottery-ray": lottery_ray.__version__} | {name: version(name) for name in PACKAGES},
    }


@functools.cache
def _commit() -> str | None:
    """The commit of this checkout, with "+" where files were changed; None outside one."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:  # git is not installed
        return None
    return done.stdout.strip() or None
