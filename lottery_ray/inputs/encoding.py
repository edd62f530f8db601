"""Tokenised data, made once on a machine and mapped into memory by every trial there.

The files lie in the user's cache folder ($XDG_CACHE_HOME/lottery_ray, or ~/.cache/lottery_ray), five bytes
per token. Nothing but time is lost where they are deleted, or cannot be written.
"""

import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pyarrow as pa
from filelock import FileLock

from lottery_ray.inputs.tasks import Task

# a trial has the threads of its recipe, and the tokenizer's own would come on top
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def made_by() -> list[int | str]:
    """What beside the data and its tokenizer changes tokens and their files: the version of this file, and of
    the packages."""
    return [1, *map(version, ("transformers", "tokenizers"))]


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


def tokenised_once(name: str, make: Callable[[], Encoded]) -> Encoded:
    """What `make` returns, from this machine's cache if it is there, or else left there. name: of all that
    changes it."""
    folder = platformdirs.user_cache_path("lottery_ray") / "tokenised"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.arrow"
    if path.exists():
        return _mapped(path)
    if not os.access(folder, os.W_OK):
        return make()
    with FileLock(f"{path}.lock"):
        if path.exists():
            return _mapped(path)
        encoded = make()
        # a full disk, say
        with suppress(OSError):
            _write(encoded, path)
        return encoded


def _write(encoded: Encoded, path: Path) -> None:
    """Whole or not at all."""
    offsets = pa.array(np.concatenate([[0], encoded.ends]), pa.int32())
    table = pa.table(
        {
            "input_ids": pa.ListArray.from_arrays(offsets, pa.array(encoded.input_ids)),
            "segments": pa.ListArray.from_arrays(offsets, pa.array(encoded.segments)),
            "idx": pa.array(encoded.idx),
            "label": pa.array(encoded.labels),
        }
    )
    with tempfile.TemporaryDirectory(dir=path.parent) as draft:
        with pa.ipc.new_file(Path(draft) / path.name, table.schema) as writer:
            writer.write_table(table)
        (Path(draft) / path.name).replace(path)


def _mapped(path: Path) -> Encoded:
    """Its arrays are views of the file, read-only."""
    with pa.memory_map(str(path)) as source:
        (batch,) = pa.ipc.open_file(source).read_all().to_batches()
    tokens, segments, idx, labels = batch.columns
    return Encoded(
        input_ids=tokens.values.to_numpy(),
        segments=segments.values.to_numpy(),
        ends=tokens.offsets.to_numpy()[1:].astype(np.int64),
        idx=idx.to_numpy(),
        labels=labels.to_numpy(),
    )
