"""Tokenised data, and batches packed into one row without padding."""

import functools
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lottery_ray.errors import InputError
from lottery_ray.experiment.nodes import Data, FolderData, HubData
from lottery_ray.inputs import language
from lottery_ray.inputs.sources import data_files, data_sha256
from lottery_ray.inputs.tasks import Task

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")

# a trial has the threads of its recipe, and the tokenizer's own would come on top
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

WIDTH = 16
"""Attention works on groups of examples of similar length, one for so many tokens between the shortest and
the longest: fewer have more padding, and more cost more than the padding they save."""


@dataclass(frozen=True)
class Encoded:
    """A tokenised split of n examples.

    input_ids: int32 (tokens,); segments: int8 (tokens,); all examples one after the other. ends: int64 (n,),
    where each example ends. idx: int64 (n,). labels: float64 (n,).
    """

    input_ids: np.ndarray
    segments: np.ndarray
    ends: np.ndarray
    idx: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 (n,): tokens of each example."""
        return np.diff(self.ends, prepend=0)


@dataclass(frozen=True)
class Packed:
    """A batch of B examples with T tokens in all, concatenated to one row.

    input_ids, token_type_ids, position_ids: int64 (1, T). example: int64 (T,), which example a token
    belongs to. starts: int64 (B,), where each example's first token is. labels: float64 (B,).
    group_index, group_mask: for each group of b examples of similar length, the token at each place,
    int64 (b, L), and which places are filled, bool (b, 1, 1, L). ungroup: int64 (T,), where each token
    is in the groups laid out one after the other.
    """

    input_ids: torch.Tensor
    token_type_ids: torch.Tensor
    position_ids: torch.Tensor
    example: torch.Tensor
    starts: torch.Tensor
    labels: torch.Tensor
    group_index: tuple[torch.Tensor, ...]
    group_mask: tuple[torch.Tensor, ...]
    ungroup: torch.Tensor

    def to(self, device: torch.device) -> "Packed":
        def move(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(move, value))
            # from other memory than pinned, a copy to a GPU may wait for all that the GPU has yet to do
            pinned = value.pin_memory() if device.type == "cuda" else value
            return pinned.to(device, non_blocking=True)

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})


def pack(encoded: Encoded, rows: np.ndarray) -> Packed:
    """The batch of these rows (int64 (B,)), in this order."""
    lengths = encoded.lengths[rows]
    starts = np.cumsum(lengths) - lengths
    example = np.repeat(np.arange(len(rows)), lengths)
    position = np.arange(lengths.sum()) - starts[example]
    source = (encoded.ends - encoded.lengths)[rows][example] + position
    group_index, group_mask, ungroup = _groups(lengths, starts)
    return Packed(
        input_ids=torch.from_numpy(encoded.input_ids[source].astype(np.int64))[None],
        token_type_ids=torch.from_numpy(encoded.segments[source].astype(np.int64))[None],
        position_ids=torch.from_numpy(position)[None],
        example=torch.from_numpy(example),
        starts=torch.from_numpy(starts),
        labels=torch.from_numpy(encoded.labels[rows]),
        group_index=group_index,
        group_mask=group_mask,
        ungroup=ungroup,
    )


def _groups(
    lengths: np.ndarray, starts: np.ndarray
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], torch.Tensor]:
    by_length = np.argsort(lengths, kind="stable")
    count = int(np.clip((lengths.max() - lengths.min()) // WIDTH, 1, len(lengths)))
    ungroup = np.empty(lengths.sum(), np.int64)
    index, masks, laid_out = [], [], 0
    for members in np.array_split(by_length, count):
        places = np.arange(lengths[members].max())
        filled = places < lengths[members][:, None]
        token = np.where(filled, starts[members][:, None] + places, 0)
        ungroup[token[filled]] = laid_out + np.flatnonzero(filled)
        laid_out += filled.size
        index.append(torch.from_numpy(token))
        masks.append(torch.from_numpy(filled)[:, None, None])
    return tuple(index), tuple(masks), torch.from_numpy(ungroup)


def batches_by_length(encoded: Encoded, size: int) -> list[np.ndarray]:
    """Rows in batches of similar length, for evaluation, where order does not matter."""
    order = np.argsort(encoded.lengths, kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def table(data: Data, task: Task, split: Split, folders: dict[str, str]) -> pa.Table:
    """One split of a task: its text columns, `label` and `idx`.

    folders: {identity: path} of the plan. Raises InputError if a folder's files are not those of the
    plan.
    """
    if isinstance(data, language.Language):
        return language.table(data, task.name, split)
    if isinstance(data, HubData):
        return _hub_table(data, task, split)
    folder = Path(folders[data.sha256])
    _check_unchanged(folder, task, data)
    found = pq.read_table(data_files(folder, task)[split])
    if "idx" not in found.column_names:
        found = found.append_column("idx", pa.array(range(found.num_rows), pa.int32()))
    return found


@functools.cache
def _check_unchanged(folder: Path, task: Task, data: FolderData) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist on {platform.node()}; every machine needs it there.")
    if data_sha256(folder, task) != data.sha256:
        raise InputError(
            f"The files of {task.title} in {folder} are not those that the study was planned on."
        )


def _hub_table(data: HubData, task: Task, split: Split) -> pa.Table:
    import datasets

    name = task.validation if split == "validation" else split
    loaded = datasets.load_dataset(data.name, task.name, revision=data.commit, split=name)
    return loaded.with_format("arrow")[:]


def encode(rows: pa.Table, task: Task, tokenizer: Any, max_length: int) -> Encoded:
    """Tokenise a split; examples longer than max_length are cut, the longer text first."""
    texts = [rows[column].to_pylist() for column in task.text]
    tokens = tokenizer(*texts, truncation=True, max_length=max_length, return_token_type_ids=True)
    return Encoded(
        input_ids=_concatenated(tokens["input_ids"], np.int32),
        segments=_concatenated(tokens["token_type_ids"], np.int8),
        ends=np.cumsum([len(ids) for ids in tokens["input_ids"]]),
        idx=rows["idx"].to_numpy().astype(np.int64),
        labels=rows["label"].to_numpy().astype(np.float64),
    )


def _concatenated(rows: Sequence[Sequence[int]], dtype: type) -> np.ndarray:
    return np.concatenate([np.asarray(row, dtype) for row in rows])
