"""What a node reads: its parents' artifacts, pre-trained models and data."""

import functools
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow as pa
from accelerate import Accelerator
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lottery_ray.errors import InputError
from lottery_ray.experiment.nodes import (
    Finetune,
    FolderModel,
    HubModel,
    Model,
    Node,
    Pretrain,
    Recipe,
    SearchData,
)
from lottery_ray.experiment.plan import Plan
from lottery_ray.extending import load_planned
from lottery_ray.inputs import tokenised
from lottery_ray.inputs.rows import held_out, limited, train_subset
from lottery_ray.inputs.sources import MODEL_FILES, model_sha256
from lottery_ray.networks import batches as data
from lottery_ray.networks import weights as models
from lottery_ray.storage.store import Attempt, Record
from lottery_ray.tracking.trackers import Run
from lottery_ray.training.checkpoints import Checkpoints
from lottery_ray.training.micro_batches import MicroBatch

Rows = Literal["train"] | SearchData

_last: dict[str, models.Saved] = {}
"""The fine-tuned model that this process worked with last, by the digest of its artifacts: the nodes of a
warm process often have the same."""


@dataclass(frozen=True)
class Work:
    """What a node works with.

    folders: {identity: path} of the plan. scratch: for remote artifacts. keep_retrained: whether tickets
    leave their retrained weights. checkpoints: those within a training. evaluated: the micro-batches that
    evaluation has come down to. run: as its trackers see it.
    """

    attempt: Attempt
    inputs: dict[Node, Record]
    folders: dict[str, str]
    scratch: Path
    accelerator: Accelerator
    keep_retrained: bool
    checkpoints: Checkpoints
    evaluated: MicroBatch
    run: Run

    def fetch(self, node: Node, *names: str) -> Path:
        """The folder that holds these artifacts of a parent (all of them, if none is named)."""
        record = self.inputs[node]
        into = self.scratch / record.key
        paths = [self.attempt.store.fetch(record, name, into) for name in names or record.artifacts]
        return paths[0].parent

    def checkpoint(self, model: Model) -> Path:
        """The folder with the pre-trained model and its tokenizer."""
        return self.fetch(model) if isinstance(model, Pretrain) else pre_trained(model, self.folders)

    def initial(self, node: Finetune, start: Literal["pretrained", "random"]) -> models.Network:
        """The network that fine-tuning and retraining start from, on its device."""
        folder = self.checkpoint(node.model)
        return self._placed(models.initial(folder, node.definition, node.seed, start))

    def fine_tuned(self, node: Finetune) -> models.Network:
        """The network that fine-tuning left, on its device."""
        made_by = self.inputs[node].digest
        if made_by not in _last:
            _last.clear()
            _last[made_by] = models.read(self.fetch(node, "config.json", "model.safetensors"))
        return self._placed(models.restored(_last[made_by]))

    def _placed(self, network: models.Network) -> models.Network:
        """With its precision, and as it is: Accelerate would wrap it where a trial has several processes
        (`gradients` says what is done instead)."""
        return cast(models.Network, self.accelerator.prepare_model(network, evaluation_mode=True))

    def tokenizer(self, node: Finetune) -> PreTrainedTokenizerBase:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.checkpoint(node.model))
        return found

    def encoded(self, node: Finetune, rows: Rows, recipe: Recipe) -> data.Encoded:
        """Rows of a fine-tuned model's task, tokenised for it: all that it is trained on, or what a search
        is scored on."""
        return tokenised.once(
            tokenised.name(node, rows, recipe),
            lambda: data.encode(
                self._table(node, rows), node.definition, self.tokenizer(node), recipe.max_length
            ),
        )

    def _table(self, node: Finetune, rows: Rows) -> pa.Table:
        task = node.definition
        if rows == "dev":
            return data.table(node.data, task, "validation", self.folders)
        table = limited(data.table(node.data, task, "train", self.folders), task, node.train_limit)
        if node.held_out:
            apart = held_out(table, task, node.held_out)
            table = table.filter(pa.array(apart if rows == "held_out" else ~apart))
        if rows == "train_subset":
            return train_subset(table, task, node.seed, self._table(node, "dev").num_rows)
        return table


def pre_trained(model: FolderModel | HubModel, folders: dict[str, str]) -> Path:
    """The folder on this machine with a pre-trained model and its tokenizer.

    Raises InputError if a folder is not there, or is not what it was when the study was planned.
    """
    if isinstance(model, FolderModel):
        return _unchanged(Path(folders[model.sha256]), model.sha256)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model.name, revision=model.commit, allow_patterns=list(MODEL_FILES)))


def read_inputs(plan: Plan, say: Callable[[str], Any] = lambda words: None) -> None:
    """Read all that a plan's trials read from outside the root, as they do, extensions too; what is on the
    hub is fetched unless it is in this machine's cache. say: is told of each step.

    Raises InputError, or an OSError of the hub, if something cannot be read.
    """
    load_planned(plan.extensions)
    first = {node.task: node for node in reversed(plan.nodes) if isinstance(node, Finetune)}
    for number, (task, node) in enumerate(reversed(first.items()), 1):
        say(f"reading the model and {task}, {number} of {len(first)} tasks")
        if not isinstance(node.model, Pretrain):
            pre_trained(node.model, plan.folders)
        for split in data.SPLITS:
            data.table(node.data, node.definition, split, plan.folders)


@functools.cache
def _unchanged(folder: Path, sha256: str) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist on {platform.node()}; every machine needs it there.")
    if model_sha256(folder) != sha256:
        raise InputError(f"The model in {folder} is not the one that the study was planned on.")
    return folder
