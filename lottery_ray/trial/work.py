"""What a node works with: its parents' artifacts, pre-trained models and data, and where it leaves its
own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
from accelerate import Accelerator
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lottery_ray.experiment import masks
from lottery_ray.experiment.graph import Node, labels
from lottery_ray.experiment.masks import Mask, read_masks, write_masks
from lottery_ray.experiment.nodes import Finetune, Model, Pretrain, SearchData
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.identity import digest, identity
from lottery_ray.inputs.data import split_table
from lottery_ray.inputs.encoding import Encoded, encode, made_by, tokenised_once
from lottery_ray.inputs.models import pre_trained
from lottery_ray.inputs.tables import held_out, limited, train_subset
from lottery_ray.networks import weights
from lottery_ray.networks.network import Network
from lottery_ray.networks.weights import initial_network, read_saved
from lottery_ray.storage.attempt import Attempt
from lottery_ray.storage.store import Record
from lottery_ray.tracking.trackers import TrackedRun
from lottery_ray.training.checkpoints import Checkpoints
from lottery_ray.training.micro_batches import MicroBatch
from lottery_ray.training.scoring import DevSet
from lottery_ray.trial.settings import TrialSettings

RowsOf = Literal["train"] | SearchData

_last: dict[str, weights.Saved] = {}
"""The fine-tuned model that this process worked with last, by the digest of its artifacts: the nodes of a
warm process often have the same."""


@dataclass(frozen=True)
class Work:
    """What a node works with.

    inputs: records of its parents. scratch: for remote artifacts. checkpoints: those within a training.
    evaluated: the micro-batches that evaluation has come down to. run: as its trackers see it.
    """

    attempt: Attempt
    inputs: dict[Node, Record]
    scratch: Path
    settings: TrialSettings
    accelerator: Accelerator
    checkpoints: Checkpoints
    evaluated: MicroBatch
    run: TrackedRun

    def fetch(self, node: Node, *names: str) -> Path:
        """The folder that holds these artifacts of a parent (all of them, if none is named)."""
        record = self.inputs[node]
        into = self.scratch / record.key
        paths = [self.attempt.store.fetch(record, name, into) for name in names or record.artifacts]
        return paths[0].parent

    def mask(self, node: Node, name: str = "mask.arrow") -> pa.Table:
        """The table of a parent's mask file."""
        return read_masks(self.fetch(node, name) / name)

    def checkpoint(self, model: Model) -> Path:
        """The folder with the pre-trained model and its tokenizer."""
        return self.fetch(model) if isinstance(model, Pretrain) else pre_trained(model, self.settings.folders)

    def initial(self, node: Finetune, start: Literal["pretrained", "random"]) -> Network:
        """The network that fine-tuning and retraining start from, on its device."""
        folder = self.checkpoint(node.model)
        return self._placed(initial_network(folder, node.definition, node.seed, start))

    def fine_tuned(self, node: Finetune) -> Network:
        """The network that fine-tuning left, on its device."""
        made = self.inputs[node].digest
        if made not in _last:
            _last.clear()
            _last[made] = read_saved(self.fetch(node, "config.json", "model.safetensors"))
        return self._placed(weights.restored(_last[made]))

    def _placed(self, network: Network) -> Network:
        """On its device, with its precision."""
        return cast(Network, self.accelerator.prepare_model(network, evaluation_mode=True))

    def tokenizer(self, node: Finetune) -> PreTrainedTokenizerBase:
        """Of the pre-trained model."""
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.checkpoint(node.model))
        return found

    def encoded(self, node: Finetune, rows: RowsOf, recipe: Recipe) -> Encoded:
        """Rows of a fine-tuned model's task, tokenised for it: all that it is trained on, or what a search
        is scored on."""
        return tokenised_once(
            encoded_name(node, rows, recipe),
            lambda: encode(self._table(node, rows), node.definition, self.tokenizer(node), recipe.max_length),
        )

    def scored_on(self, node: Finetune, rows: SearchData, recipe: Recipe) -> DevSet:
        """What its networks are scored on."""
        encoded = self.encoded(node, rows, recipe)
        return DevSet(encoded, node.definition, self.accelerator, self.evaluated)

    def _table(self, node: Finetune, rows: RowsOf) -> pa.Table:
        task, folders = node.definition, self.settings.folders
        if rows == "dev":
            return split_table(node.data, task, "validation", folders)
        table = limited(split_table(node.data, task, "train", folders), task, node.train_limit)
        if node.held_out:
            apart = held_out(table, task, node.held_out)
            table = table.filter(pa.array(apart if rows == "held_out" else ~apart))
        if rows == "train_subset":
            return train_subset(table, task, node.seed, self._table(node, "dev").num_rows)
        return table

    def write_mask(self, mask: Mask) -> None:
        """As mask.arrow."""
        write_masks(self._mask_table(mask), self.attempt.folder / "mask.arrow")

    def write_masks(self, name: str, many: list[Mask], column: str) -> None:
        """Many mask tables one after the other, with their number as a column."""
        numbered = [
            table.append_column(column, pa.array([number] * len(table), pa.int32()))
            for number, table in enumerate(map(self._mask_table, many))
        ]
        write_masks(pa.concat_tables(numbered), self.attempt.folder / name)

    def _mask_table(self, mask: Mask) -> pa.Table:
        flat = labels(self.attempt.node)
        return masks.to_table(mask, self.attempt.node.key, flat | {"size": flat["size"] or "stopping"})

    def write_predictions(self, name: str, dev: Encoded, logits: np.ndarray) -> None:
        """idx, label and logits, float32 (n, classes), of every dev example."""
        columns: dict[str, Any] = {
            "idx": pa.array(dev.idx),
            "label": pa.array(dev.labels),
            "logits": pa.array(list(logits.astype(np.float32)), pa.list_(pa.float32())),
        }
        write_masks(pa.table(columns), self.attempt.folder / name)


def encoded_name(node: Finetune, rows: RowsOf, recipe: Recipe) -> str:
    """Of these rows of a fine-tuned model's task, tokenised for it."""
    return digest(
        {
            "version": made_by(),
            "model": identity(node.model),
            "data": identity(node.data),
            "rows": [node.task, rows, node.train_limit, node.held_out],
            **({"task": identity(node.own_task)} if node.own_task else {}),
            "seed": node.seed if rows == "train_subset" else None,
            "max_length": recipe.max_length,
        }
    )
