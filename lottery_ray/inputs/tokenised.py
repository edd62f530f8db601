"""Tokenised data, made once on a machine and mapped into memory by every trial there.

The files lie in the user's cache folder ($XDG_CACHE_HOME/lottery_ray, or ~/.cache/lottery_ray), five bytes
per token. Nothing but time is lost where they are deleted, or cannot be written.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import platformdirs
import pyarrow as pa
from filelock import FileLock

from lottery_ray.experiment.nodes import Finetune, Recipe, SearchData, identity
from lottery_ray.networks.batches import Encoded
from lottery_ray.storage.store import digest

VERSION = 1
"""Of what `data.encode` makes, and of these files."""


def once(name: str, make: Callable[[], Encoded]) -> Encoded:
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


def name(node: Finetune, rows: Literal["train"] | SearchData, recipe: Recipe) -> str:
    """Of these rows of a fine-tuned model's task, tokenised for it."""
    return digest(
        {
            "version": [VERSION, *map(version, ("transformers", "tokenizers"))],
            "model": identity(node.model),
            "data": identity(node.data),
            "rows": [node.task, rows, node.train_limit, node.held_out],
            **({"task": identity(node.own_task)} if node.own_task else {}),
            "seed": node.seed if rows == "train_subset" else None,
            "max_length": recipe.max_length,
        }
    )


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
